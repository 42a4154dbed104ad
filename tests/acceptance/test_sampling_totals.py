"""Honest totals: at 1 % sampling the metrics tell of all that was sent, and MLflow holds the 1 %."""

import random
import threading

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from spanbridge.processors.attributes import put
from spanbridge.processors.probabilistic_sampler import ProbabilisticSampler, ProbabilisticSamplerConfig
from spanbridge.processors.types import Batch, spans
from tests.polling import until_sync
from tests.samples.reading import traces
from tests.samples.sender import Sender
from tests.servers.mlflow_servers import mlflow_server
from tests.servers.ports import free_port
from tests.servers.program import Ports, Program, configuration

pytestmark = pytest.mark.slow

START = 1_700_000_000_000_000_000
TRACES, SIZE, PER_REQUEST = 10_000, 4, 10
PERCENT = {"sampling_percentage": 1}


def requests(chance: random.Random) -> list[Batch]:
    """Requests of whole traces: model calls with tokens and cost, one span in 16 in error."""
    made = []
    for _ in range(TRACES // PER_REQUEST):
        batch = Batch()
        resource_spans = batch.resource_spans.add()
        put(resource_spans.resource.attributes, "service.name", chance.choice(["shop", "support"]))
        scope_spans = resource_spans.scope_spans.add()
        for _ in range(PER_REQUEST):
            trace_id, root = chance.randbytes(16), chance.randbytes(8)
            for number in range(SIZE):
                span = scope_spans.spans.add(trace_id=trace_id, span_id=root, name="chat")
                if number:
                    span.span_id, span.parent_span_id = chance.randbytes(8), root
                span.start_time_unix_nano = START
                span.end_time_unix_nano = START + chance.randint(1, 3_000) * 1_000_000
                put(span.attributes, "gen_ai.operation.name", "chat")
                put(span.attributes, "gen_ai.provider.name", "openai")
                put(span.attributes, "gen_ai.request.model", chance.choice(["small", "large"]))
                put(span.attributes, "gen_ai.usage.input_tokens", chance.randint(1, 5000))
                put(span.attributes, "gen_ai.usage.output_tokens", chance.randint(1, 500))
                if chance.random() < 1 / 16:
                    span.status.code = Status.STATUS_CODE_ERROR
                    put(span.attributes, "error.type", "timeout")
        made.append(batch)
    return made


def totals(batches) -> dict[str, float]:
    """What was sent, as the metrics should tell it."""
    all_spans = [span for batch in batches for span in spans(batch)]
    said = [{a.key: a.value for a in span.attributes} for span in all_spans]
    durations = [span.end_time_unix_nano - span.start_time_unix_nano for span in all_spans]
    return {
        "traces_span_metrics_calls": len(all_spans),
        "traces_span_metrics_duration_count": len(all_spans),
        "traces_span_metrics_duration_sum": sum(durations) / 1e6,
        "gen_ai_client_operation_duration_count": len(all_spans),
        "gen_ai_client_token_usage_count": 2 * len(all_spans),
        "gen_ai_client_token_usage_sum": sum(
            s["gen_ai.usage.input_tokens"].int_value + s["gen_ai.usage.output_tokens"].int_value for s in said
        ),
        "spanbridge_span_errors": sum("error.type" in s for s in said),
        "spanbridge_span_metrics_overflow": 0,
    }


@pytest.mark.timeout(400)
def test_metrics_tell_of_everything_and_mlflow_holds_the_one_percent(tmp_path):
    """MLflow is away at first, so that the journal is full, requests are refused and sent again, and yet count once."""
    ports, port, batches = Ports(), free_port(), requests(random.Random(6))
    wanted = totals(batches)
    sampler = ProbabilisticSampler(ProbabilisticSamplerConfig(**PERCENT))
    kept = [span for batch in batches for span in spans(sampler(copy(batch)))]
    queue = {"storage": "file_storage", "sizer": "bytes", "queue_size": 12_000}
    mlflow = {"tracking_uri": f"http://127.0.0.1:{port}", "experiment": "totals", "sending_queue": queue}
    processors = {"span_metrics": {}, "probabilistic_sampler": PERCENT}
    config = configuration(ports, tmp_path, mlflow, processors=processors)
    sender = Sender(ports.grpc, patience=300)
    with Program(config, tmp_path, ports) as program:
        sending = threading.Thread(target=sender.send_all, args=(batches,))
        sending.start()
        until_sync(lambda: len(sender.refused) >= 20, what="a full journal")
        with mlflow_server(tmp_path, port=port) as uri:
            sending.join()
            until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, seconds=120, what="an empty journal")
            found = list(traces(uri, "totals"))
        for name, value in wanted.items():
            assert sum_of(program, name) == pytest.approx(value, rel=1e-12), name
        assert sum_of(program, "otelcol_receiver_accepted_spans") == wanted["traces_span_metrics_calls"]

    assert {span.span_id for trace in found for span in trace.data.spans} == {span.span_id.hex() for span in kept}
    assert 60 <= len(found) <= 140  # 100 and 4 standard deviations of 10
    for trace in found:  # from what was kept the number sent can be told
        assert float(trace.info.tags["sampling.weight"]) == pytest.approx(100, rel=1e-4)
        assert trace.info.tags["sampling.policy"] == "probabilistic_sampler"


def sum_of(program: Program, name: str) -> float:
    """The sum of all series of exactly this name."""
    return sum(value for key, value in program.metrics().items() if key.partition("{")[0] == name)


def copy(batch: Batch) -> Batch:
    return Batch.FromString(batch.SerializeToString())
