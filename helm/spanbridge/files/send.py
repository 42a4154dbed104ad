# noqa: INP001  travels in a pod of its own
"""Sends one span to URL, with OTEL_EXPORTER_OTLP_HEADERS; ends with an error unless it is acknowledged."""

import json
import os
import secrets
import sys
import time
import urllib.parse
import urllib.request

now = time.time_ns()
span = {
    "traceId": secrets.token_hex(16),
    "spanId": secrets.token_hex(8),
    "name": "helm test",
    "startTimeUnixNano": str(now - 1_000_000),
    "endTimeUnixNano": str(now),
}
service = {"key": "service.name", "value": {"stringValue": "helm-test"}}
body = {"resourceSpans": [{"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [span]}]}]}
given = [pair.partition("=") for pair in os.environ.get("OTEL_EXPORTER_OTLP_HEADERS", "").split(",") if pair]
headers = {name.strip(): urllib.parse.unquote(value.strip()) for name, _, value in given}
request = urllib.request.Request(  # noqa: S310  the chart says where
    os.environ["URL"], json.dumps(body).encode(), {**headers, "content-type": "application/json"}
)
with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
    sys.stdout.write(f"{answer.status} trace {span['traceId']}\n")
