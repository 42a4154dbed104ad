"""The traces that were handed on lately, and a note on each.

This is how a late span is known as one, how it shares the decision on its trace, and how it is known whose trace it is:
who has learned the id of another tenant's trace could else write into it once it was handed on.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Mapping

from spanbridge.collector.journal import REMEMBERED
from spanbridge.collector.journal.context import dump, load
from spanbridge.processors.types import Context

_OWNED_BY = "\x1f"
"""Between a note and the context of the owner; in neither: JSON escapes it, and a note names policies."""


class ReleasedTraces:
    """Notes by trace id: of the latest `kept_size` traces that went on and the latest `dropped_size` that did not.

    Those that are dropped may be many more, and must not push out the others. Begins with `known`, what the journal
    knows from before a restart.
    """

    def __init__(self, known: Mapping[bytes, str] | None = None, size: int = REMEMBERED) -> None:
        self._kept: OrderedDict[bytes, str] = OrderedDict()
        self._dropped: OrderedDict[bytes, str] = OrderedDict()
        self.kept_size = size
        self.dropped_size = size
        self._owners: dict[bytes, Context] = {}
        contexts: dict[str, Context] = {"": Context()}
        for trace_id, record in (known or {}).items():
            note, _, owner = record.partition(_OWNED_BY)
            self._kept[trace_id] = sys.intern(note)  # most notes are alike, and there may be a lot of them
            if owner not in contexts:
                contexts[owner] = load(owner.encode())
            self.own(trace_id, contexts[owner])

    def __contains__(self, trace_id: bytes) -> bool:
        return trace_id in self._kept or trace_id in self._dropped

    def note(self, trace_id: bytes) -> str:
        """Return the note on a trace; empty if there is none."""
        return self._kept.get(trace_id) or self._dropped.get(trace_id, "")

    def record(self, trace_id: bytes) -> str:
        """Return the note on a trace and whose it is, as the journal keeps it."""
        owner = self._owners.get(trace_id)
        return self.note(trace_id) + (_OWNED_BY + dump(owner).decode() if owner else "")

    def put(self, trace_id: bytes, note: str = "", *, dropped: bool = False) -> None:
        """Remember a trace with a note, in place of what was remembered of it."""
        self._kept.pop(trace_id, None)
        self._dropped.pop(trace_id, None)
        notes, size = (self._dropped, self.dropped_size) if dropped else (self._kept, self.kept_size)
        notes[trace_id] = sys.intern(note)
        if len(notes) > size:
            notes.popitem(last=False)

    def own(self, trace_id: bytes, context: Context) -> None:
        """Remember whose a trace is, if its tenant is bound to experiments."""
        if context.allow_experiments:
            self._owners[trace_id] = context
            if len(self._owners) > REMEMBERED:
                del self._owners[next(iter(self._owners))]

    def owner(self, trace_id: bytes) -> Context | None:
        """Return the context of a trace of a tenant that is bound to experiments; None for any other trace."""
        return self._owners.get(trace_id)
