"""Whether a batch is bare is told from its bytes, and agrees with what its spans say."""

from __future__ import annotations

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.otlp.bare import is_bare
from spanbridge.processors.types import Batch, spans
from tests.samples.traces import bench_trace


def batch(*resources: list[list[tuple[int, int]]]) -> Batch:
    """Resources of scopes of spans, each span told by how many events and links it has."""
    made = Batch()
    for scopes in resources:
        resource_spans = made.resource_spans.add()
        for scope in scopes:
            scope_spans = resource_spans.scope_spans.add()
            for events, links in scope:
                span = scope_spans.spans.add(name="Z j")  # the tags of both fields, as text
                for _ in range(events):
                    span.events.add()
                for _ in range(links):
                    span.links.add(span_id=b"12345678")
    return made


@given(
    st.lists(st.lists(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1)), max_size=3), max_size=3), max_size=3)
)
def test_it_agrees_with_the_spans(resources) -> None:
    made = batch(*resources)
    assert is_bare(made.SerializeToString()) == (not any(span.events or span.links for span in spans(made)))


@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("extra", [(1, 0), (0, 1)])
def test_one_event_or_link_anywhere_is_seen(place, extra):
    told = [extra if number == place else (0, 0) for number in range(4)]
    assert not is_bare(batch([[told[0]], [told[1]]], [[told[2], told[3]]]).SerializeToString())


def test_several_batches_one_after_the_other_are_as_one():
    bare, other = batch([[(0, 0)]]).SerializeToString(), batch([[(1, 0)]]).SerializeToString()
    assert is_bare(bare + bare)
    assert not is_bare(bare + other + bare)


def test_the_bench_mix_is_bare_and_so_is_nothing():
    assert is_bare(bench_trace(1).serialized)
    assert is_bare(b"")


def test_what_is_no_batch_is_refused():
    with pytest.raises(DecodeError):
        is_bare(b"\xff")
