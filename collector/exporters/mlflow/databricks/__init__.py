"""Traces to Databricks: MLflow experiments, or tables of Unity Catalog."""
