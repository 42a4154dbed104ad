"""The base of every config model: frozen, unknown keys refused, values as the Collector writes them."""

from __future__ import annotations

import re
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")


class ConfigModel(BaseModel):
    """A section of the configuration: frozen, unknown keys refused."""

    # Built when first used: most models of the table are never in a configuration.
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


def _seconds(value: Any) -> Any:
    """Read a duration as Go's time.ParseDuration writes it ("200ms", "1m30s"); 0 needs no unit."""
    if not isinstance(value, str):
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0:
            return 0.0
        raise ValueError('a duration needs a unit, for example "200ms", "30s" or "5m"')
    text = value.strip()
    if text in ("0", "+0", "-0"):
        return 0.0
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f'{value!r} is not a duration; write for example "200ms", "30s" or "5m"')
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


Duration: TypeAlias = Annotated[float, BeforeValidator(_seconds, json_schema_input_type=str | int)]
"""Seconds, written in YAML as the Collector does: "200ms", "30s", "5m"; 0 needs no unit. Defaults are floats."""
