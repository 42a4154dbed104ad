"""Where a socket listens or connects, as the Collector writes it: "host:port"."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import AfterValidator

_ENDPOINT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Split "localhost:4317", "0.0.0.0:4317", "[::1]:4317" or ":4317", where no host means every interface.

    Raises:
        ValueError: it is no such pair.
    """
    match = _ENDPOINT.fullmatch(endpoint)
    if match is None or int(match["port"]) > _LAST_PORT:
        raise ValueError(f'{endpoint!r} is not "host:port"; write for example "localhost:4317" or "[::1]:4317"')
    return match["v6"] or match["host"] or "", int(match["port"])


def _checked(endpoint: str) -> str:
    host_and_port(endpoint)
    return endpoint


Endpoint: TypeAlias = Annotated[str, AfterValidator(_checked)]
"""A "host:port" in a config model; see `host_and_port`."""
