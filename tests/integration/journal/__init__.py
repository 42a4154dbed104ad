"""The SQLite journal against real files and processes."""
