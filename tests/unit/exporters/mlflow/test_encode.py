"""The OTLP request that a tracking server gets."""

from __future__ import annotations

from spanbridge.collector.exporters.mlflow.record.record import Recorder
from spanbridge.collector.exporters.mlflow.server.tracking_server import encode
from spanbridge.collector.exporters.mlflow.settings import RESOURCE_TAGS
from spanbridge.processors.attributes import as_dict
from spanbridge.processors.types import Batch, spans, spans_in_context
from tests.samples.traces import bench_trace


def test_each_trace_is_whole_and_its_tags_come_once_with_its_head():
    traces = [bench_trace(number) for number in range(3)]
    records = [Recorder(RESOURCE_TAGS)(trace, 1) for trace in traces]
    sent = Batch.FromString(encode(records))

    for trace in traces:
        found = [(resource, span) for resource, _, span in spans_in_context(sent) if span.trace_id == trace.trace_id]
        assert [span.span_id for _, span in found] == [span.span_id for span in spans(trace.batch)]
        head, *others = [as_dict(resource.attributes) for resource, _ in found]
        assert head == {
            "service.name": "support-agent",
            "service.version": "4.11.2",
            "deployment.environment.name": "production",
        }
        assert others == [{}] * 7
