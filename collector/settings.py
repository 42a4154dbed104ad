"""Types that several sections are made of."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import AfterValidator, BeforeValidator


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


UrlPath: TypeAlias = Annotated[str, AfterValidator(lambda path: path if path.startswith("/") else "/" + path)]
"""The path of a page; the leading slash may be left out."""

AnyCase = BeforeValidator(_lower, json_schema_input_type=str)
"""Makes "DEBUG" and "Debug" the same as "debug", as the Collector does for levels."""

Enabled = BeforeValidator(lambda value: {} if value is None else value)
"""A section that is there but empty (null) is enabled with its defaults."""
