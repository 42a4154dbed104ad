"""OTLP over gRPC and HTTP: bytes from a socket in, a request out."""
