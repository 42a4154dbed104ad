"""The writer of rows in bulk, against real databases and beside MLflow's own store."""
