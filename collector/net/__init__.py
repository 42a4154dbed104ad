"""Sockets: TLS, listening, HTTP connections and the HTTP client."""
