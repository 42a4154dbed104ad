"""Amendments: what MLflow has to be told of a trace after its spans, because OTLP can't carry it. Pure.

That is arbitrary metadata, the client's request id, and the state where MLflow doesn't take it from the root: it
does so only while the trace is IN_PROGRESS (store/tracking/sqlalchemy_store.py `_log_spans_once`).

A trace may come in parts, in any order, and a part may be delivered twice. What is known of the whole is with the root:
so a part without it amends nothing that the root says (name, state, tags), whether the root has come or is to come. It
closes a trace only if nobody has, as else a trace whose root is lost would be in progress for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from spanbridge.collector.exporters.mlflow.record.record import State, TraceRecord
from spanbridge.collector.exporters.mlflow.record.tags import TRACE_NAME, by_root


@dataclass(frozen=True, slots=True)
class Stored:
    """What MLflow has of a trace. Times are in ms; `duration_ms` is None while nothing has ended."""

    experiment_id: str
    state: State
    start_ms: int
    duration_ms: int | None


@dataclass(frozen=True, slots=True)
class Amendment:
    """An update of a trace's info. With a `client_request_id`, start_trace has to do it; else end_trace does."""

    trace_id: str
    experiment_id: str
    state: State
    start_ms: int
    end_ms: int
    tags: dict[str, str]
    metadata: dict[str, str]
    client_request_id: str


def known_state(word: str) -> State:
    """Return a state as MLflow spells it; an unspecified one is still open, as it is for MLflow."""
    return "OK" if word == "OK" else "ERROR" if word == "ERROR" else "IN_PROGRESS"


def is_needed(record: TraceRecord) -> bool:
    """Return whether OTLP alone might not do."""
    return bool(record.metadata or record.client_request_id) or must_look(record)


def must_look(record: TraceRecord) -> bool:
    """Return whether an amendment depends on what MLflow has of the trace.

    A part without a root may be a straggler of a finished trace, which no longer knows that it is late after a
    restart: it must not finish the trace a second time.
    """
    return record.late or not record.has_root


def amendment(record: TraceRecord, stored: Stored) -> Amendment | None:
    """Work out the update that a trace needs.

    Times are widened and never narrowed, and a state is replaced only by the root's or that of a trace nobody has
    closed: parts may come in any order, and a late one must not take back what an earlier one said.

    Args:
        record: The part that has been written.
        stored: What MLflow has of the trace, that part included.

    Returns:
        The update; None if there is nothing left to say.
    """
    closes = not record.has_root and not record.late and stored.state == "IN_PROGRESS"
    state = record.state if record.has_root or closes else stored.state
    if state == stored.state and not record.metadata and not record.client_request_id:
        return None
    tags = {key: value for key, value in record.tags.items() if by_root(key)} if not record.has_root else {}
    if closes and record.name:
        tags[TRACE_NAME] = record.name
    stored_end = stored.start_ms + (stored.duration_ms or 0)
    return Amendment(
        trace_id=record.mlflow_id,
        experiment_id=stored.experiment_id,
        state=state,
        start_ms=min(record.start_ms, stored.start_ms),
        end_ms=max(record.end_ms, stored_end),
        tags=tags,
        metadata=record.metadata,
        client_request_id=record.client_request_id,
    )


def assumed(record: TraceRecord, experiment_id: str) -> Stored:
    """Return what MLflow has of a whole trace once its spans are there, without asking it."""
    return Stored(experiment_id, record.state, record.start_ms, record.end_ms - record.start_ms)
