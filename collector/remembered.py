"""The traces that were handed on lately, and a note on each: how a late span is known, and what was decided for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from collector.journal import REMEMBERED
from processors.types import Context


class Remembered:
    """By trace id, the latest `size`. Begins with what the journal knows from before a restart."""

    def __init__(self, known: Mapping[bytes, str] | None = None, size: int = REMEMBERED) -> None:
        self._notes: OrderedDict[bytes, str] = OrderedDict(known or {})
        self._owners: dict[bytes, Context] = {}
        self._size = size

    def __contains__(self, trace_id: bytes) -> bool:
        return trace_id in self._notes

    def note(self, trace_id: bytes) -> str:
        """The note on a trace; empty if there is none."""
        return self._notes.get(trace_id, "")

    def put(self, trace_id: bytes, note: str = "") -> None:
        """Remember a trace; a note that is there stays unless there is a new one."""
        self._notes[trace_id] = note or self._notes.get(trace_id, "")
        self._notes.move_to_end(trace_id)
        if len(self._notes) > self._size:
            oldest, _ = self._notes.popitem(last=False)
            self._owners.pop(oldest, None)

    def own(self, trace_id: bytes, context: Context) -> None:
        """Remember, until the end of the process, whose a trace is; of a tenant that is bound to experiments only."""
        if context.allow_experiments:
            self._owners[trace_id] = context

    def owner(self, trace_id: bytes) -> Context | None:
        """The context of a bound tenant's trace."""
        return self._owners.get(trace_id)
