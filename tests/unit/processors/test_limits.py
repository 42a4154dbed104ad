"""Attribute values are cut to a length, wherever they stand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.processors.attributes import as_dict, put, to_python
from spanbridge.processors.limits import CountLimits, trim, truncate
from spanbridge.processors.types import Batch, Logs

LONG = "ü" * 100


def everywhere():
    """A request with a long value in each place that has attributes."""
    batch = Batch()
    resource_spans = batch.resource_spans.add()
    scope_spans = resource_spans.scope_spans.add()
    span = scope_spans.spans.add()
    places = [resource_spans.resource, scope_spans.scope, span, span.events.add(), span.links.add()]
    for place in places:
        put(place.attributes, "long", LONG)
        put(place.attributes, "short", "short")
    return batch, places


def test_values_are_cut_in_every_place():
    batch, places = everywhere()
    assert truncate(batch, 40) == len(places)
    for place in places:
        assert as_dict(place.attributes) == {"long": "ü" * 15 + "... [100 characters, cut]", "short": "short"}


def test_log_records_are_cut_too():
    logs = Logs()
    record = logs.resource_logs.add().scope_logs.add().log_records.add()
    record.body.string_value = LONG
    put(record.attributes, "long", LONG)
    assert truncate(logs, 40) == 2
    assert len(record.body.string_value) == 40


def test_values_in_values_and_bytes():
    batch, (resource, *_) = everywhere()
    put(resource.attributes, "long", {"a": [LONG, {"b": LONG}], "c": b"\0" * 100, "d": 7})
    assert truncate(batch, 40) == 7
    value = to_python(resource.attributes[0].value)
    assert (len(value["a"][0]), len(value["a"][1]["b"]), len(value["c"]), value["d"]) == (40, 40, 40, 7)


@given(st.text(max_size=60), st.integers(3, 60))
def test_what_fits_stays_and_what_is_cut_fits(text, limit):
    batch = Batch()
    attributes = batch.resource_spans.add().resource.attributes
    put(attributes, "k", text)
    cut = truncate(batch, limit)
    after = attributes[0].value.string_value
    assert (after == text) if cut == 0 else (len(after) <= limit < len(text))
    assert truncate(batch, limit) == 0


@pytest.mark.parametrize("limit", [100, 101])
def test_the_limit_itself_fits(limit):
    batch, _ = everywhere()
    assert truncate(batch, limit) == 0


FEW = CountLimits(attributes=3, events=2, links=1)


def many(holder, count):
    for number in range(count):
        put(holder.attributes, f"key {number}", number)


def test_of_too_many_the_first_stay_and_the_rest_is_counted_where_otlp_counts_it():
    batch, places = everywhere()
    span = places[2]
    for holder in places:
        many(holder, 5)  # and two that are there
    for _ in range(4):
        span.events.add()
        span.links.add()
    assert trim(batch, FEW) == 3 + 4 + 4 * len(places)
    assert [len(place.attributes) for place in places] == [3] * len(places)
    assert [place.dropped_attributes_count for place in places] == [4] * len(places)
    assert list(as_dict(span.attributes)) == ["long", "short", "key 0"]
    assert (len(span.events), span.dropped_events_count) == (2, 3)
    assert (len(span.links), span.dropped_links_count) == (1, 4)
    assert trim(batch, FEW) == 0


def test_of_a_span_without_events_and_links_attributes_are_counted():
    batch = Batch()
    span = batch.resource_spans.add().scope_spans.add().spans.add()
    many(span, 5)
    assert trim(batch, FEW) == 2
    assert (len(span.attributes), span.dropped_attributes_count) == (3, 2)


def test_what_an_sdk_dropped_is_counted_too_and_the_counter_has_an_end():
    batch = Batch()
    span = batch.resource_spans.add().scope_spans.add().spans.add(dropped_attributes_count=(1 << 32) - 2)
    many(span, 6)
    assert trim(batch, FEW) == 3
    assert span.dropped_attributes_count == (1 << 32) - 1


def test_log_records_are_trimmed_too():
    logs = Logs()
    record = logs.resource_logs.add().scope_logs.add().log_records.add()
    many(record, 5)
    assert trim(logs, FEW) == 2
    assert (len(record.attributes), record.dropped_attributes_count) == (3, 2)


def test_nothing_within_reach_is_over_a_limit():
    batch = Batch()
    batch.resource_spans.add().scope_spans.add().spans.add().links.add()
    batch.resource_spans[0].scope_spans[0].spans[0].links.add()
    assert batch.ByteSize() > FEW.reach
    assert trim(batch, FEW) == 1
