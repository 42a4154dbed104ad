"""What the debug exporter writes."""

import pytest

from spanbridge.collector.exporters.debug import DebugExporter
from spanbridge.processors.types import Trace, spans
from tests.samples.spans import add_span, new_id, trace_batch
from tests.samples.traces import serialized


def traces():
    without_service = trace_batch(size=1)
    del without_service.resource_spans[0].resource.attributes[:]
    return [Trace(b"1" * 16, trace_batch(size=2, service="shop")), Trace(b"2" * 16, without_service)]


def written(verbosity, sent):
    lines = []
    exporter = DebugExporter(verbosity, lines.append)
    exporter.send(serialized(sent))
    exporter.close()
    return lines


@pytest.mark.parametrize("verbosity", ["basic", "normal", "detailed"])
def test_counts_come_first(verbosity):
    assert written(verbosity, traces())[0] == "Traces: 2, spans: 3"


def test_basic_is_counts_alone():
    assert len(written("basic", traces())) == 1


def test_normal_is_a_line_a_span():
    sent = traces()
    child, root = spans(sent[0].batch)
    lines = written("normal", sent)[1:]
    assert lines[0] == f"shop 'child 0' {child.trace_id.hex()} {child.span_id.hex()}"
    assert lines[1] == f"shop 'root' {root.trace_id.hex()} {root.span_id.hex()}"
    assert lines[2].startswith("unknown 'root' ")


def test_a_name_can_not_forge_a_line():
    batch = trace_batch(size=1)
    add_span(batch, new_id(16), "innocent\nERROR forged")
    assert all("\n" not in line for line in written("normal", [Trace(b"1" * 16, batch)]))


def test_detailed_has_every_field():
    sent = traces()
    text = written("detailed", sent)[1]
    assert 'name: "child 0"' in text
    assert "start_time_unix_nano" in text


def test_it_takes_any_together():
    one, other = traces()
    exporter = DebugExporter("basic", list)
    assert exporter.group(one) == exporter.group(other)
