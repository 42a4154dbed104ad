"""A list of OTTL conditions of which any must hold, and what happens where one can't be evaluated."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, TypeAlias

from spanbridge.processors.ottl.compiler import Condition, compile_condition
from spanbridge.processors.ottl.errors import OttlError
from spanbridge.processors.ottl.paths import ContextName, Record

ErrorMode: TypeAlias = Literal["ignore", "propagate", "silent"]
"""propagate raises; ignore and silent take the condition as false, ignore logs that once."""

_log = logging.getLogger(__name__)


class Conditions:
    """A list of conditions of which any must hold.

    Raises:
        OttlError: A condition does not compile; the error gives its number.
    """

    def __init__(self, texts: Sequence[str], context: ContextName, error_mode: ErrorMode = "propagate") -> None:
        self._conditions = [_compiled(number, text, context) for number, text in enumerate(texts, 1)]
        self._error_mode = error_mode
        self._warned = error_mode != "ignore"

    def __call__(self, record: Record) -> bool:
        """Return whether any condition holds for a record.

        Raises:
            OttlError: A condition cannot be evaluated, in error mode propagate.
        """
        for condition in self._conditions:
            try:
                if condition(record):
                    return True
            except OttlError as error:
                if self._error_mode == "propagate":
                    raise
                self._warn(error)
        return False

    def _warn(self, error: OttlError) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("an OTTL condition can't be evaluated and counts as false: %s", error)


def _compiled(number: int, text: str, context: ContextName) -> Condition:
    try:
        return compile_condition(text, context)
    except OttlError as error:
        raise OttlError(f"condition {number}: {error}") from None
