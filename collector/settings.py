"""Types that the sections of several components are made of."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator

_ENDPOINT = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:%\w+)?)\]|(?P<host>[^\[\]:/\s]*)):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535


def host_and_port(endpoint: str) -> tuple[str, int]:
    """Split where a socket listens or connects, as the Collector writes it.

    Args:
        endpoint: "localhost:4317", "0.0.0.0:4317", "[::1]:4317" or ":4317".

    Returns:
        The host, empty for every interface, and the port.

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


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Endpoint: TypeAlias = Annotated[str, AfterValidator(_checked)]
"""A "host:port" in a config model; see `host_and_port`."""

UrlPath: TypeAlias = Annotated[str, AfterValidator(lambda path: path if path.startswith("/") else "/" + path)]
"""The path of a page; the leading slash may be left out."""

AnyCase = BeforeValidator(_lower, json_schema_input_type=str)
"""Makes "DEBUG" and "Debug" the same as "debug", as the Collector does for levels."""

Enabled = BeforeValidator(lambda value: {} if value is None else value)
"""A section that is there but empty (null) is enabled with its defaults."""
