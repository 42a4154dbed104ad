"""Hypothesis strategies for what travels through the program."""

from __future__ import annotations

from hypothesis import strategies as st

from spanbridge.collector.journal import DeadLetter, Entry
from spanbridge.processors.types import Context

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def contexts() -> st.SearchStrategy[Context]:
    """Contexts with some fields given; any text that can be encoded."""
    return st.builds(
        Context,
        experiment_id=words,
        experiment_name=words,
        run_id=words,
        workspace=words,
        tenant=words,
        receiver=words,
    )


def entries(max_size: int = 300) -> st.SearchStrategy[Entry]:
    """Entries of any bytes."""
    payloads = st.binary(max_size=max_size) | st.integers(0, max_size).map(bytes)
    return st.builds(Entry, payloads, st.just(Context()) | contexts(), st.sampled_from(["traces", "logs"]))


def trace_ids() -> st.SearchStrategy[bytes]:
    """16 bytes each; few, so that they meet again."""
    return st.integers(0, 7).map(lambda number: number.to_bytes(16, "big"))


def refused_spans(max_size: int = 100) -> st.SearchStrategy[DeadLetter]:
    """Spans that were set aside; few different ones, so that the same comes again."""
    payloads = st.binary(max_size=1) | st.binary(max_size=max_size)
    return st.builds(DeadLetter, payloads, st.just(Context()), st.sampled_from(["mlflow", "mlflow/b"]), words)
