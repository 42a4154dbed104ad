"""The protocol, pure: requests, JSON, compression, and the wire format where decoding would be too slow."""
