"""The commands: `spanbridge` itself, `up`, `check`, `journal` and the small ones."""
