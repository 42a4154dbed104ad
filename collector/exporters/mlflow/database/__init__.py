"""Straight into a tracking database: new traces as rows in bulk, what MLflow has already through its own store."""
