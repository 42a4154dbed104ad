"""Every visible capture through the genai processor into a real MLflow server, judged by check.py: all facts hold."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import mlflow
import pytest
from google.protobuf import json_format

from spanbridge.processors.attributes import put
from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.types import Batch, Logs, Trace, spans, spans_in_context
from tests import check
from tests.paths import DATA
from tests.servers.ports import free_port
from tests.unit.processors.genai.test_golden import normalized as golden
from tests.unit.processors.genai.test_golden import with_base64_ids

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

CAPTURES = DATA / "captures"
EXPECTED = json.loads((CAPTURES / "expected.json").read_text())
STARTUP = 60


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory):
    """A `mlflow server` of its own on a free port, with SQLite."""
    home = tmp_path_factory.mktemp("mlflow")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", str(home)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=home, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(url, process, home / "log")
        yield url
    finally:
        _stop(process)


def _stop(process):
    """Without a goodbye: nothing of this server is wanted any more."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _wait_until_up(url, process, log):
    deadline = time.monotonic() + STARTUP
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url + "/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail("mlflow server did not come up:\n" + log.read_text()[-2000:])


def test_every_fact_of_every_capture_holds(server, capsys):
    """599 of 599, of which MLflow alone holds 427."""
    mlflow.set_tracking_uri(server)
    experiment = mlflow.create_experiment("captures")
    files = {path.name: path for path in CAPTURES.iterdir()}
    captures = [check.CaptureSet(name, spec, files) for name, spec in EXPECTED.items()]

    for capture in captures:
        for trace in normalized(capture.requests):
            post(server, experiment, trace)
    check.wait_and_judge(captures, check.Reader(server, experiment), wait=20, settle=3)

    results = [result for capture in captures for trace in capture.traces for result in trace.results]
    failed = [f"{result.label}: expected {result.expected}, got {result.got}" for result in results if not result.ok]
    with capsys.disabled():
        print(f"\nfacts: {len(results) - len(failed)}/{len(results)}")
    assert failed == []
    assert len(results) == 599
    # Where the root says nothing itself, the previews are the words alone and no JSON.
    shown = {capture.name: capture.traces[0].read.info for capture in captures}
    assert shown["otel-openai-v2-withlogs"].request_preview == "Weather in Paris?"
    assert shown["otel-openai-v2-withlogs"].response_preview == "It is sunny in Paris."


def test_a_roll_up_that_would_hide_its_calls_does_not(server):
    """The agent says 10 tokens over two calls of 42: MLflow alone shows 10."""
    mlflow.set_tracking_uri(server)
    experiment = mlflow.create_experiment("rollups")
    trace = fresh("rollups")
    post(server, experiment, trace)

    shown = mlflow.get_trace("tr-" + trace.trace_id.hex()).info.token_usage
    assert (shown["input_tokens"], shown["output_tokens"], shown["total_tokens"]) == (84, 14, 98)


@pytest.mark.parametrize("kind", ["CLASSIFIER", "MEMORY", "RETRIEVER", "WORKFLOW"])
def test_types_are_found_by_search(server, kind):
    """The types of semconv that MLflow leaves empty, and any word an application sets itself."""
    mlflow.set_tracking_uri(server)
    experiment = mlflow.get_experiment_by_name("types")
    if experiment is None:
        experiment_id = mlflow.create_experiment("types")
        post(server, experiment_id, fresh("otel"))
        experiment = mlflow.get_experiment(experiment_id)

    found = mlflow.search_traces(
        locations=[experiment.experiment_id], filter_string=f"span.type = '{kind}'", return_type="list"
    )
    assert len(found) == 1


def fresh(name):
    """A golden trace under an id of its own, for MLflow leaves a trace in the experiment that had it first."""
    trace = golden(name)
    trace.trace_id = os.urandom(16)
    for span in spans(trace.batch):
        span.trace_id = trace.trace_id
    return trace


def normalized(requests):
    """A set's requests through the head stage one by one, and through the trace stage trace by trace."""
    head, stage = GenAi(GenAiConfig()), GenAiTrace(GenAiConfig())
    traces: dict[bytes, Trace] = {}
    for what, kind, payload in requests:
        if what == "traces":
            batch = json_format.ParseDict(with_base64_ids(payload), Batch()) if kind == "json" else payload
            _assemble(traces, head(batch))
    for what, _, payload in requests:
        if what == "logs":
            for trace in traces.values():
                trace.logs = trace.logs or Logs()
                trace.logs.resource_logs.extend(payload.resource_logs)
    return [stage(trace) for trace in traces.values()]


def _assemble(traces, batch):
    for resource, scope, span in spans_in_context(batch):
        trace = traces.setdefault(span.trace_id, Trace(span.trace_id, Batch()))
        resource_spans = trace.batch.resource_spans.add()
        resource_spans.resource.CopyFrom(resource)
        scope_spans = resource_spans.scope_spans.add()
        scope_spans.scope.CopyFrom(scope)
        scope_spans.spans.append(span)


def post(server, experiment, trace):
    """What the exporter does: tags as attributes of the root, its name as the trace's name."""
    root = trace.root
    tags = {"mlflow.traceName": root.name, **trace.tags}
    for key, value in tags.items():
        put(root.attributes, "mlflow.traceTag." + key, value)
    request = urllib.request.Request(
        server + "/v1/traces",
        data=trace.batch.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf", "x-mlflow-experiment-id": experiment},
    )
    try:
        with urllib.request.urlopen(request, timeout=30):
            pass
    except urllib.error.HTTPError as error:
        pytest.fail(f"{len(list(spans(trace.batch)))} spans: HTTP {error.code}: {error.read()[:300]!r}")
