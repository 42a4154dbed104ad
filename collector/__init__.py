"""The program: takes OTLP spans in, writes whole traces to MLflow."""
