"""What MLflow will hold of a trace, worked out from its spans: the same for every destination."""
