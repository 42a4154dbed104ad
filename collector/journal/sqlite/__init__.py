"""The journal as a SQLite file: what is acknowledged survives the process and the machine."""
