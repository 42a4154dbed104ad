"""Batches that share memory are what they would be by themselves."""

from __future__ import annotations

import gc

import pytest
from google.protobuf.message import DecodeError

from spanbridge.collector.otlp.batches import SHARED, BatchDecoder
from spanbridge.processors.types import Batch
from tests.samples.traces import bench_trace, span, trace


def large(size: int) -> bytes:
    return trace([span(b"t" * 16, b"s" * 8, values={"text": "x" * size})]).serialized


def test_each_is_what_it_would_be_by_itself():
    decoded = BatchDecoder()
    sent = [bench_trace(number).serialized for number in range(100)] + [large(SHARED), b"", large(10)]
    assert sum(map(len, sent[:100])) > 2 * SHARED
    assert [decoded(each) for each in sent] == [Batch.FromString(each) for each in sent]


def test_a_batch_stays_when_the_others_and_the_decoder_go_and_may_be_edited():
    decoded = BatchDecoder()
    kept, *others = [decoded(bench_trace(number).serialized) for number in range(100)]
    del decoded, others
    gc.collect()
    assert kept == bench_trace(0).batch
    kept.resource_spans[0].scope_spans[0].spans.add(name="another")
    assert len(Batch.FromString(kept.SerializeToString()).resource_spans[0].scope_spans[0].spans) == 9


def test_an_edit_of_one_leaves_the_others_alone():
    decoded = BatchDecoder()
    one, other = decoded(bench_trace(1).serialized), decoded(bench_trace(1).serialized)
    one.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.string_value = "changed"
    assert other == bench_trace(1).batch != one


def test_what_is_no_batch_is_refused_and_the_next_one_is_not():
    decoded = BatchDecoder()
    with pytest.raises(DecodeError):
        decoded(b"\xff")
    assert decoded(bench_trace(1).serialized) == bench_trace(1).batch
