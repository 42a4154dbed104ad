"""Spans, traces and requests that tests send, and readers of what became of them."""
