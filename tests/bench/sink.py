"""A tracking server that takes everything and keeps nothing, so that the bridge alone is measured.

Run as a process: `python -m tests.bench.sink PORT`. Counts bytes and requests of /v1/traces; `GET /count` tells them.
"""

from __future__ import annotations

import json
import sys

import uvicorn

COUNT = {"requests": 0, "bytes": 0}


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    size, more = 0, True
    while more:
        message = await receive()
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
    if scope["path"].endswith("/v1/traces"):
        COUNT["requests"] += 1
        COUNT["bytes"] += size
        body = b""
    elif scope["path"] == "/count":
        body = json.dumps(COUNT).encode()
    elif scope["path"] == "/version":
        body = b"3.17.2"
    elif "experiments" in scope["path"]:
        body = json.dumps({"experiment": {"experiment_id": "1", "name": "x", "lifecycle_stage": "active"}, "experiment_id": "1"})
        body = body.encode()
    else:
        body = b"{}"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
