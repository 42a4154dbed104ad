"""SIGTERM while traces wait for their decision: they are decided on what has come, or wait for the next start."""

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from spanbridge.processors.types import Batch, spans
from tests.polling import until_sync
from tests.samples.reading import span_ids
from tests.samples.sender import Sender
from tests.samples.spans import add_span, new_id, trace_batch
from tests.servers.program import Ports, Program, configuration

pytestmark = pytest.mark.slow

ERRORS = {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}


def sampling(**keys):
    return {"tail_sampling": {"decision_wait": "1h", "policies": [ERRORS], **keys}}


def failed(batch):
    next(spans(batch)).status.code = Status.STATUS_CODE_ERROR
    return batch


def ids(*batches):
    return {(span.trace_id.hex(), span.span_id.hex()) for batch in batches for span in spans(batch)}


@pytest.mark.timeout(240)
def test_sigterm_decides_on_what_has_come(tracking_server, experiment, tmp_path):
    ports = Ports()
    mlflow = {"tracking_uri": tracking_server, "experiment": experiment}
    kept = [failed(trace_batch(size=4)) for _ in range(50)]
    plain = [trace_batch(size=4) for _ in range(50)]
    with Program(configuration(ports, tmp_path, mlflow, processors=sampling()), tmp_path, ports) as program:
        Sender(ports.grpc).send_all([*kept, *plain])
        until_sync(lambda: program.metric("otelcol_processor_tail_sampling_sampling_traces_on_memory") == 100)
        assert span_ids(tracking_server, experiment) == []
        assert program.stop() == 0
        assert set(span_ids(tracking_server, experiment)) == ids(*kept)
        program.start()
        assert program.metric("spanbridge_journal_bytes") == 0


@pytest.mark.timeout(240)
def test_sigterm_may_leave_the_decision_to_the_next_start(tracking_server, experiment, tmp_path):
    """What comes after it belongs to the same traces and counts in their decision."""
    ports = Ports()
    mlflow = {"tracking_uri": tracking_server, "experiment": experiment}
    stays = sampling(drop_pending_traces_on_shutdown=True, decision_wait_after_root_received="1s")
    kept, plain = [new_id(16) for _ in range(30)], [new_id(16) for _ in range(30)]
    first = [child(trace_id) for trace_id in (*kept, *plain)]
    with Program(configuration(ports, tmp_path, mlflow, processors=stays), tmp_path, ports) as program:
        Sender(ports.grpc).send_all(first)
        until_sync(lambda: program.metric("otelcol_processor_tail_sampling_sampling_traces_on_memory") == 60)
        assert program.stop() == 0
        assert span_ids(tracking_server, experiment) == []
        program.start()
        second = [failed(trace_batch(trace_id, 1)) for trace_id in kept] + [trace_batch(id_, 1) for id_ in plain]
        Sender(ports.grpc).send_all(second)
        until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what="an empty journal")
    assert set(span_ids(tracking_server, experiment)) == ids(*first[:30], *second[:30])


def child(trace_id):
    batch = Batch()
    add_span(batch, trace_id, "child", parent=new_id())
    return batch
