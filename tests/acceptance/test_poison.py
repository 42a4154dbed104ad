"""Whatever MLflow chokes on, inside a request of 50 good traces: the 50 land.

The items are those that MLflow 3.17.2 refuses a whole request for, or takes and shows wrongly.
"""

import pytest

from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch, spans
from tests.polling import until_sync
from tests.samples.reading import traces
from tests.samples.sender import Sender
from tests.samples.spans import new_id, trace_batch
from tests.servers.program import Ports, Program, configuration


def attribute(key, value):
    def spoil(batch):
        put(next(spans(batch)).attributes, key, value)

    return spoil


def resource_attribute(value):
    def spoil(batch):
        put(batch.resource_spans[0].resource.attributes, "odd", value)

    return spoil


def times(start, end):
    def spoil(batch):
        span = next(spans(batch))
        span.start_time_unix_nano, span.end_time_unix_nano = start, end

    return spoil


def ids(trace_id=None, span_id=None):
    def spoil(batch):
        span = next(spans(batch))
        span.trace_id = span.trace_id if trace_id is None else trace_id
        span.span_id = span.span_id if span_id is None else span_id

    return spoil


def nan_in_event(batch):
    put(
        next(spans(batch)).events.add(name="odd", time_unix_nano=1_700_000_000_000_000_000).attributes,
        "x",
        float("nan"),
    )


def cut_name(batch):
    next(spans(batch)).name = "n" * 5000


NOW = 1_700_000_000_000_000_000
POISON = {
    "session id of 251": attribute("session.id", "s" * 251),
    "trace name of 5000": cut_name,
    "trace name tag of 5000": attribute("mlflow.traceTag.mlflow.traceName", "n" * 5000),
    "bytes in the resource": resource_attribute(b"\x00\xff"),
    "resource attribute without a value": resource_attribute(None),
    "times beyond 2^63": times(2**64 - 2, 2**64 - 1),
    "span id of 7": ids(span_id=b"7" * 7),
    "trace id of 20": ids(trace_id=b"t" * 20),
    "no ids": ids(trace_id=b"", span_id=b""),
    "trace id of zeros": ids(trace_id=bytes(16)),
    "cost that is no object": attribute("mlflow.llm.cost", "[1, 2]"),
    "span type that is a list": attribute("mlflow.spanType", ["LLM"]),
    "operation name that is a list": attribute("gen_ai.operation.name", ["chat"]),
    "no end": times(NOW, 0),
    "end before start": times(NOW, NOW - 10**12),
    "no times": times(0, 0),
    "NaN in an event": nan_in_event,
    "NaN": attribute("x", float("nan")),
    "spans location": attribute("mlflow.traceTag.mlflow.trace.spansLocation", "ARTIFACT_REPO"),
    "NUL": attribute("mlflow.traceTag.nul", "a\x00b"),
    "bytes": attribute("x", b"\x00\xff"),
}


@pytest.mark.timeout(300)
def test_50_good_traces_land_beside_each_item(tracking_server, tmp_path):
    ports = Ports()
    mlflow = {"tracking_uri": tracking_server, "experiment": "{service.name}"}
    with Program(configuration(ports, tmp_path, mlflow), tmp_path, ports) as program:
        wanted = {}
        for number, spoil in enumerate(POISON.values()):
            service = f"poison {number}"
            good = [trace_batch(size=1, service=service) for _ in range(50)]
            bad = trace_batch(new_id(16), size=1, service=service, name="bad")
            spoil(bad)
            good.insert(25, bad)
            wanted[service] = {next(spans(batch)).trace_id.hex() for batch in good if batch is not bad}
            request = Batch()
            for batch in good:
                request.MergeFrom(batch)
            Sender(ports.grpc).send_all([request])
        until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, seconds=240, what="an empty journal")
        assert program.metric("spanbridge_set_aside_spans") == 0

    for (name, _), (service, ids_) in zip(POISON.items(), wanted.items(), strict=True):
        found = {trace.info.trace_id.removeprefix("tr-"): trace for trace in traces(tracking_server, service)}
        assert ids_ <= found.keys(), name
        assert len(found) <= 51, name
        assert all(trace.info.state == "OK" for trace in found.values()), name
        assert all(0 <= (trace.info.execution_duration or 0) < 1000 for trace in found.values()), name
