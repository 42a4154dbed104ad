"""Traces to an MLflow tracking server: OTLP for spans, REST for what OTLP can't carry."""
