"""Who sends: bearer tokens, and users with passwords."""
