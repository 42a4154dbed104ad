"""The traces that were handed on lately, and a note on each: how a late span is known, and what was decided for it."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping

from collector.journal import REMEMBERED
from processors.types import Context


class Remembered:
    """By trace id, the latest `kept_size` that went on and the latest `dropped_size` that did not.

    Those that are dropped may be many more, and must not push out the others. Begins with what the journal knows from
    before a restart.
    """

    def __init__(self, known: Mapping[bytes, str] | None = None, size: int = REMEMBERED) -> None:
        # Most notes are alike, and there may be a lot of them.
        self._kept = OrderedDict((trace_id, sys.intern(note)) for trace_id, note in (known or {}).items())
        self._dropped: OrderedDict[bytes, str] = OrderedDict()
        self.kept_size = size
        self.dropped_size = size
        self._owners: dict[bytes, Context] = {}

    def __contains__(self, trace_id: bytes) -> bool:
        return trace_id in self._kept or trace_id in self._dropped

    def note(self, trace_id: bytes) -> str:
        """The note on a trace; empty if there is none."""
        return self._kept.get(trace_id) or self._dropped.get(trace_id, "")

    def put(self, trace_id: bytes, note: str = "", *, dropped: bool = False) -> None:
        """Remember a trace with a note, in place of what was remembered of it."""
        self._kept.pop(trace_id, None)
        self._dropped.pop(trace_id, None)
        notes, size = (self._dropped, self.dropped_size) if dropped else (self._kept, self.kept_size)
        notes[trace_id] = sys.intern(note)
        if len(notes) > size:
            notes.popitem(last=False)

    def own(self, trace_id: bytes, context: Context) -> None:
        """Remember, until the end of the process, whose a trace is; of a tenant that is bound to experiments only."""
        if context.allow_experiments:
            self._owners[trace_id] = context
            if len(self._owners) > REMEMBERED:
                del self._owners[next(iter(self._owners))]

    def owner(self, trace_id: bytes) -> Context | None:
        """The context of a bound tenant's trace."""
        return self._owners.get(trace_id)
