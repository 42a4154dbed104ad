"""Programs that tests start: the bridge itself, MLflow servers, databases, certificates and ports for them."""
