"""From YAML to one frozen, typed `Config`, or to everything that is wrong with it at once."""
