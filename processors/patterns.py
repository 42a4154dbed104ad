"""Regular expressions in the configuration: RE2, so that no text can make one slow, and checked when they are read."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import re2
from pydantic import AfterValidator

MAX_PROGRAM = 5_000
"""Instructions a pattern may compile to: at worst RE2 spends about 1.5 ns on each for every byte it reads."""


def quiet_options() -> re2.Options:
    """Return RE2's defaults, without its habit of writing what it refuses to standard error."""
    options = re2.Options()
    options.log_errors = False
    return options


def compiled(pattern: str) -> Any:
    """Return a pattern compiled."""
    return re2.compile(pattern, quiet_options())


def _checked(pattern: str) -> str:
    try:
        size = compiled(pattern).programsize
    except re2.error as error:
        reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        raise ValueError(
            f"{pattern!r} is not an RE2 regular expression ({reason}); see the syntax page of RE2"
        ) from None
    if size > MAX_PROGRAM:
        raise ValueError(f"{pattern!r} is too costly to run on every value; write it with smaller repetitions")
    return pattern


Pattern: TypeAlias = Annotated[str, AfterValidator(_checked)]
"""An RE2 regular expression."""
