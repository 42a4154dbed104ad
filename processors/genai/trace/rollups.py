"""Roll-ups, the usage of the calls below that a span states: kept if it agrees with them, else left out of the count.

MLflow sums usage over the tree and counts of nested spans with usage only the topmost (_aggregate_from_nodes), and
prices the topmost span by its own model. So a roll-up that agrees with the calls may stay; one that does not (a sum of
some calls, or calls of several models) would hide them, and is written as JSON null: MLflow then neither counts it nor
reads the span's other attributes for usage again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from spanbridge.processors.genai.convention import Convention, readers
from spanbridge.processors.genai.mlflow_attributes import MODEL, USAGE
from spanbridge.processors.genai.recognition import Recognised, stated
from spanbridge.processors.genai.usage import INPUT, OUTPUT, Usage
from spanbridge.processors.genai.values import as_count, as_object
from spanbridge.processors.genai.view import SpanView

Found = TypeVar("Found")

_HIDDEN = "null"


@dataclass(slots=True)
class _Counted:
    """A span with usage, and the nearest ones below it that have usage too."""

    view: SpanView
    conventions: tuple[Convention, ...]
    usage: Usage
    below: list[_Counted] = field(default_factory=list)
    models: set[str] = field(default_factory=set)


def settle_rollups(read: Sequence[tuple[SpanView, Recognised]], parents: Mapping[bytes, bytes]) -> None:
    """Hide each roll-up that does not agree with the calls below it. Usage that an application set itself stays.

    Args:
        read: The spans of the trace and what they were recognised as.
        parents: The parent's span id by span id.
    """
    stating = {view.span.span_id: (view, recognised) for view, recognised in read if USAGE in view}
    if not _is_nested(stating, parents):
        return
    counted = {
        span_id: _Counted(view, recognised.conventions, usage)
        for span_id, (view, recognised) in stating.items()
        if (usage := _usage(view))
    }
    for one in reversed(_top_down(counted, parents)):
        _settle(one)


def _is_nested(stating: Mapping[bytes, Any], parents: Mapping[bytes, bytes]) -> bool:
    """Return whether any of the spans is below another of them; in most traces none is, and no usage need be read."""
    known: dict[bytes, Any] = {}
    return any(_nearest(above, stating, parents, known) for above in {parents[span_id] for span_id in stating})


def _usage(view: SpanView) -> Usage:
    stored = as_object(view.text(USAGE))
    return {key: as_count(stored.get(key)) or 0 for key in (INPUT, OUTPUT)} if stored else {}


def _top_down(counted: Mapping[bytes, _Counted], parents: Mapping[bytes, bytes]) -> list[_Counted]:
    """Give each span with usage to the nearest one above it that has usage too; return all, none before its parent.

    Spans whose ids make a circle are below no top, and are left out.
    """
    nearest: dict[bytes, _Counted | None] = {}
    found: list[_Counted] = []
    for span_id, one in counted.items():
        above = _nearest(parents[span_id], counted, parents, nearest)
        if above is None:
            found.append(one)
        else:
            above.below.append(one)
    for one in found:
        found.extend(one.below)
    return found


def _nearest(
    span_id: bytes,
    counted: Mapping[bytes, Found],
    parents: Mapping[bytes, bytes],
    known: dict[bytes, Found | None],
) -> Found | None:
    """Return the first span with usage from this one upwards.

    `known` keeps what was found, so that no path is walked twice.
    """
    way = []
    while span_id in parents and span_id not in counted and span_id not in known:
        known[span_id] = None
        way.append(span_id)
        span_id = parents[span_id]
    found = counted.get(span_id) or known.get(span_id)
    known.update(dict.fromkeys(way, found))
    return found


def _settle(one: _Counted) -> None:
    """Compare a roll-up with the calls below it, which are settled already; from here on the span stands for them."""
    model = one.view.name(MODEL)
    if not one.below:
        one.models = {model} if model else set()
        return
    total = {key: sum(call.usage[key] for call in one.below) for key in (INPUT, OUTPUT)}
    one.models = set().union(*(call.models for call in one.below))
    same_model = model is None or all(called.startswith(model) for called in one.models)
    if one.usage == total and same_model:
        return
    if _is_ours(one):
        one.usage = total
        one.view.set(USAGE, _HIDDEN)


def _is_ours(one: _Counted) -> bool:
    """Return whether the usage is what a convention states, and not an application's own `mlflow.chat.tokenUsage`."""
    stored = as_object(one.view.text(USAGE))
    return any(stated(readers(convention.usage), one.view) == stored for convention in one.conventions)
