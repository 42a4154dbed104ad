"""CORS as the Collector answers it: which browser pages may send, with which headers."""

from __future__ import annotations

import re
from collections.abc import Mapping

from spanbridge.collector.receivers.otlp.config import CorsConfig

_ALWAYS_ALLOWED = {"accept", "content-type", "origin", "x-requested-with"}

Headers = list[tuple[str, str]]


class Cors:
    """The answers of one `cors` section. Credentials are allowed to the origins that are named, never to "*"."""

    def __init__(self, config: CorsConfig) -> None:
        self._config = config
        self._any_origin = "*" in config.allowed_origins
        self._any_header = "*" in config.allowed_headers
        self._headers = _ALWAYS_ALLOWED | {name.lower() for name in config.allowed_headers}
        patterns = (".*".join(map(re.escape, origin.lower().split("*"))) for origin in config.allowed_origins)
        self._origins = re.compile("|".join(patterns) or r"(?!)")

    def headers(self, request: Mapping[str, str]) -> Headers:
        """Return what to add to any answer; empty when the page may not read it."""
        allowed = self._origin(request)
        if allowed and self._config.exposed_headers:
            allowed.append(("access-control-expose-headers", ", ".join(self._config.exposed_headers)))
        return allowed

    def preflight(self, request: Mapping[str, str]) -> Headers:
        """Return the answer's headers to an OPTIONS request with Access-Control-Request-Method; empty means no."""
        wanted = request.get("access-control-request-headers", "")
        names = {name.strip().lower() for name in wanted.split(",") if name.strip()}
        if request.get("access-control-request-method") != "POST" or not (self._any_header or names <= self._headers):
            return []
        allowed = self._origin(request)
        if allowed:
            allowed.append(("access-control-allow-methods", "POST"))
            if names:
                allowed.append(("access-control-allow-headers", ", ".join(sorted(names))))
            if self._config.max_age:
                allowed.append(("access-control-max-age", str(self._config.max_age)))
        return allowed

    def _origin(self, request: Mapping[str, str]) -> Headers:
        origin = request.get("origin", "")
        if self._any_origin and origin:
            return [("access-control-allow-origin", "*")]
        if not self._origins.fullmatch(origin.lower()):
            return []
        return [
            ("access-control-allow-origin", origin),
            ("access-control-allow-credentials", "true"),
            ("vary", "origin"),
        ]
