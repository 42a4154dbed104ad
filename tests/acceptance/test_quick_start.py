"""README's quick start: one command, spans by an OpenTelemetry SDK, and MLflow's client that reads them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import mlflow
import pytest
import urllib3
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from tests.polling import until_sync
from tests.servers.program import POOL, Ports


@pytest.fixture
def started(tmp_path):
    """The ports of `spanbridge up --no-ui`, in a folder with packages of a user's own, and its data there."""
    ports = Ports()
    for name in ("collector", "processors"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the package of somebody else')")
    settings = {
        "receivers.otlp.protocols.grpc.endpoint": f"127.0.0.1:{ports.grpc}",
        "receivers.otlp.protocols.http.endpoint": f"127.0.0.1:{ports.http}",
        "extensions.health_check.endpoint": f"127.0.0.1:{ports.health}",
        "service.telemetry.metrics.address": f"127.0.0.1:{ports.metrics}",
    }
    python = os.environ.get("SPANBRIDGE_TEST_PYTHON", sys.executable)
    command = [python, "-m", "spanbridge", "up", "--no-ui", "--data", str(tmp_path / "data")]
    command += [f"--set={key}={value}" for key, value in settings.items()]
    with subprocess.Popen(command, cwd=tmp_path) as program:
        until_sync(lambda: ready(program, ports), seconds=60, what="readiness")
        yield ports
        program.send_signal(signal.SIGTERM)
        assert program.wait(60) == 0


def ready(program, ports):
    assert program.poll() is None
    try:
        return POOL.request("GET", f"http://127.0.0.1:{ports.health}/").status == 200
    except urllib3.exceptions.HTTPError:
        return False


@pytest.mark.timeout(240)
def test_a_call_to_a_model_is_a_searchable_trace(started, tmp_path):
    provider = TracerProvider(resource=Resource.create({"service.name": "assistant"}))
    exporter = OTLPSpanExporter(f"http://127.0.0.1:{started.http}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter))
    tracer = provider.get_tracer("quick start")
    with tracer.start_as_current_span("answer"), tracer.start_as_current_span("chat") as call:
        call.set_attributes({"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o-mini"})
        call.set_attributes({"gen_ai.usage.input_tokens": 12, "gen_ai.usage.output_tokens": 30})
    provider.shutdown()

    until_sync(lambda: delivered(started) == 2, seconds=90, what="two spans in MLflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'data' / 'mlflow.db'}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    (trace,) = client.search_traces(locations=experiments, filter_string="span.name = 'chat'")
    by_name = {span.name: span for span in trace.data.spans}
    assert set(by_name) == {"answer", "chat"}
    assert by_name["chat"].parent_id == by_name["answer"].span_id
    assert by_name["chat"].span_type == "CHAT_MODEL"
    assert trace.info.token_usage == {"input_tokens": 12, "output_tokens": 30, "total_tokens": 42}


def delivered(ports):
    text = POOL.request("GET", f"http://127.0.0.1:{ports.metrics}/metrics").data.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("otelcol_exporter_sent_spans"))
