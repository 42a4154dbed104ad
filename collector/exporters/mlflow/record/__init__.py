"""The record of a trace: what MLflow will hold of it, worked out from its spans, the same for every destination."""
