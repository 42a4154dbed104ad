"""The trace stage: what takes the whole trace, or its part that came."""

from __future__ import annotations

from collections.abc import Sequence

from spanbridge.processors.genai.config import GenAiConfig
from spanbridge.processors.genai.identity import name_session_and_user
from spanbridge.processors.genai.logs import join_logs
from spanbridge.processors.genai.previews import write_previews
from spanbridge.processors.genai.reading import Plan, Reading
from spanbridge.processors.genai.rollups import settle_rollups
from spanbridge.processors.genai.tags import write_metadata, write_name, write_tags
from spanbridge.processors.genai.view import SpanView
from spanbridge.processors.types import NO_PARENT, Trace, spans


class GenAiTrace:
    """Normalizes what the head stage could not, in place: log records, roll-ups, session and user, tags, previews.

    A late part is treated like a trace, but for tags: those of a part without the root are left alone, for what a
    child says of the trace must not replace what its root said.
    """

    def __init__(self, config: GenAiConfig) -> None:
        self._reading = Reading(config)
        self._removed = frozenset(name for name, source in self._reading.settings.items() if source.remove_originals)
        self._removed_custom = frozenset(key for key, _, source in config.custom() if source.remove_originals)

    def __call__(self, trace: Trace) -> Trace:
        """Normalize the trace."""
        read = [self._reading.read(span) for span in spans(trace.batch)]
        if not read:
            return trace
        parents = {view.span.span_id: view.span.parent_span_id for view, _ in read}
        if trace.logs is not None:
            join_logs(read, trace.logs)
        settle_rollups(read, parents)
        by_start = sorted(read, key=lambda one: one[0].span.start_time_unix_nano)
        root = next((one for one in by_start if one[0].span.parent_span_id in NO_PARENT), None)
        ordered = [root, *(one for one in by_start if one is not root)] if root else by_start
        telling = [view for view, plan in ordered if plan.tells]
        in_batch = [view for view, plan in read if plan.tells]
        shown = name_session_and_user(trace, ordered[0][0], in_batch, telling)
        write_metadata(trace, telling)
        if root is not None or not trace.late:
            write_name(trace, ordered, telling)
            write_tags(trace, ordered, parents, shown.values())
        if root is not None:
            write_previews(root[0], [view for view, _ in by_start])
        if self._removed or self._removed_custom:
            self._remove_originals(ordered)
        return trace

    def _remove_originals(self, known: Sequence[tuple[SpanView, Plan]]) -> None:
        for view, plan in known:
            names = [convention for convention in plan.conventions if convention.name in self._removed]
            keys = {key for convention in names for key in convention.originals} | self._removed_custom
            prefixes = tuple(key for key in keys if key.endswith("."))
            attributes = view.span.attributes
            for index in range(len(attributes) - 1, -1, -1):
                key = attributes[index].key
                if key in keys or (prefixes and key.startswith(prefixes)):
                    del attributes[index]
