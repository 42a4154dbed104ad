"""The traces that were handed on lately, and a note on each: how a late span is known, and what was decided for it."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping

from collector.journal import REMEMBERED


class Remembered:
    """By trace id, the latest `size`. Begins with what the journal knows from before a restart."""

    def __init__(self, known: Mapping[bytes, str] | None = None, size: int = REMEMBERED) -> None:
        # Most notes are alike, and there may be a lot of them.
        self._notes = OrderedDict((trace_id, sys.intern(note)) for trace_id, note in (known or {}).items())
        self.size = size

    def __contains__(self, trace_id: bytes) -> bool:
        return trace_id in self._notes

    def note(self, trace_id: bytes) -> str:
        """The note on a trace; empty if there is none."""
        return self._notes.get(trace_id, "")

    def put(self, trace_id: bytes, note: str = "") -> None:
        """Remember a trace; a note that is there stays unless there is a new one."""
        self._notes[trace_id] = sys.intern(note) or self._notes.get(trace_id, "")
        self._notes.move_to_end(trace_id)
        if len(self._notes) > self.size:
            self._notes.popitem(last=False)
