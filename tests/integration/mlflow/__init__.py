"""The mlflow exporter against real MLflow stores and servers."""
