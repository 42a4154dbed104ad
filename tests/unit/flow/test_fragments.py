"""Taking a request apart by trace loses no span and no resource, whatever is in it."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.flow.fragments import fragments
from spanbridge.collector.journal import Entry, Row
from spanbridge.processors.types import Batch, Context, spans_in_context

ids = st.sampled_from([bytes([n]) * 16 for n in range(1, 5)])


@st.composite
def batches(draw):
    batch = Batch()
    for _ in range(draw(st.integers(0, 3))):
        resource = batch.resource_spans.add(schema_url=draw(st.sampled_from(["", "https://a"])))
        resource.resource.attributes.add(key="r").value.string_value = draw(st.text(max_size=3))
        for _ in range(draw(st.integers(0, 2))):
            scope = resource.scope_spans.add()
            scope.scope.name = draw(st.text(max_size=3))
            for number in range(draw(st.integers(0, 4))):
                parent = draw(st.sampled_from([b"", bytes(8), b"p" * 8]))
                scope.spans.add(trace_id=draw(ids), span_id=bytes([number + 1]) * 8, parent_span_id=parent)
    return batch


def flat(batch):
    return sorted(
        (r.SerializeToString(), s.SerializeToString(), x.SerializeToString()) for r, s, x in spans_in_context(batch)
    )


@given(batches(), st.frozensets(ids, max_size=2), st.booleans())
def test_fragments_put_together_are_the_request_less_what_was_settled(batch, settled, sound):
    found = fragments(Row(1, Entry(batch.SerializeToString(), Context(), sound=sound), settled))

    together = Batch.FromString(b"".join(fragment.payload for fragment in found))
    expected = [item for item in spans_in_context(batch) if item[2].trace_id not in settled]
    assert flat(together) == sorted(
        (r.SerializeToString(), s.SerializeToString(), x.SerializeToString()) for r, s, x in expected
    )
    for fragment in found:
        own = list(spans_in_context(Batch.FromString(fragment.payload)))
        assert {span.trace_id for _, _, span in own} == {fragment.trace_id}
        assert fragment.spans == len(own)
        assert fragment.has_root == any(span.parent_span_id in (b"", bytes(8)) for _, _, span in own)


def test_what_nobody_vouches_for_is_read_before_it_is_taken_apart():
    batch = Batch()
    batch.resource_spans.add().scope_spans.add().spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, name="name")
    payload = batch.SerializeToString().replace(b"name", b"\xff\xff\xff\xff")  # no UTF-8

    with pytest.raises(DecodeError):
        fragments(Row(1, Entry(payload, Context())))
