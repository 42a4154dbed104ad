"""Whole traces to another OTLP receiver, over gRPC or HTTP."""
