"""`MlflowSpanExporter` to Databricks, against a stand-in that speaks its endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from spanbridge.collector.errors import ConfigError, Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow import MlflowSpanExporter
from spanbridge.processors.attributes import as_dict
from spanbridge.processors.types import Context, Trace, spans
from tests.fakes import Answer, Databricks
from tests.samples.mlflow_traces import add_span, new_trace, root_of, whole_trace
from tests.samples.traces import serialized

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def workspace() -> Iterator[Databricks]:
    """One for all tests: Databricks' SDK remembers the first host it sees."""
    workspace = Databricks()
    with workspace.running() as address, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABRICKS_HOST", address)
        patch.setenv("DATABRICKS_TOKEN", "secret-token")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield workspace


@pytest.fixture
def exporter(workspace) -> Iterator[MlflowSpanExporter]:
    exporter = MlflowSpanExporter("databricks", "/Shared/{service.name}", environ={})
    yield exporter
    exporter.close()


def names(artifact):
    return sorted(span["name"] for span in artifact["spans"])


def test_a_trace_of_an_experiment(exporter, workspace):
    trace = whole_trace(
        tags={"k": "v"}, metadata={"free": "text"}, client_request_id="r", context=Context(run_id="run-1")
    )
    root, child = spans(trace.batch)
    for key, value in {"mlflow.spanInputs": '{"q": 1}', "mlflow.spanOutputs": '"a"', "session.id": "s"}.items():
        root.attributes.add(key=key).value.string_value = value
    child.attributes.add(key="gen_ai.usage.input_tokens").value.int_value = 3
    child.attributes.add(key="gen_ai.usage.output_tokens").value.int_value = 4
    child.attributes.add(key="gen_ai.operation.name").value.string_value = "chat"

    exporter.send(serialized([trace]))

    trace_id = "tr-" + trace.trace_id.hex()
    info = workspace.infos[trace_id]
    experiment_id = info["trace_location"]["mlflow_experiment"]["experiment_id"]
    assert workspace.experiments[experiment_id] == "/Shared/shop"
    assert (info["state"], info["client_request_id"], info["execution_duration"]) == ("OK", "r", "0.020s")
    assert (info["request_preview"], info["response_preview"]) == ('{"q": 1}', '"a"')
    assert info["tags"].items() >= {("mlflow.traceName", "checkout"), ("service.name", "shop"), ("k", "v")}
    metadata = info["trace_metadata"]
    assert metadata.items() >= {
        ("free", "text"), ("mlflow.sourceRun", "run-1"), ("mlflow.trace.session", "s"),
        ("mlflow.trace_schema.version", "3"),
    }  # fmt: skip
    assert json.loads(metadata["mlflow.trace.tokenUsage"]) == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    assert json.loads(metadata["mlflow.trace.sizeStats"])["num_spans"] == 2
    artifact = workspace.artifacts[trace_id]
    assert names(artifact) == ["chat", "checkout"]
    chat = next(span for span in artifact["spans"] if span["name"] == "chat")
    assert json.loads(chat["attributes"]["mlflow.spanType"]) == "CHAT_MODEL"
    assert workspace.seen[-1].method == "PUT"
    assert {seen.headers["authorization"] for seen in workspace.seen if seen.path.startswith("/api")} == {
        "Bearer secret-token"
    }


def test_late_parts_join_what_is_there(exporter, workspace):
    early = new_trace()
    top = add_span(early, "early", b"the-root")
    exporter.send(serialized([early]))
    trace_id = "tr-" + early.trace_id.hex()
    assert workspace.infos[trace_id]["tags"]["mlflow.traceName"] == "early"
    assert workspace.infos[trace_id]["state"] == "OK"

    root = Trace(early.trace_id, new_trace("other").batch, late=True)
    add_span(root, "root", span_id=b"the-root").status.code = 2
    exporter.send(serialized([root]))
    straggler = Trace(early.trace_id, new_trace("third").batch, late=True)
    add_span(straggler, "straggler", top.span_id)
    exporter.send(serialized([straggler]))

    assert names(workspace.artifacts[trace_id]) == ["early", "root", "straggler"]
    info = workspace.infos[trace_id]
    assert (info["state"], info["tags"]["mlflow.traceName"], info["tags"]["service.name"]) == ("ERROR", "root", "other")


def test_a_part_whose_artifact_never_came_is_written_anew(exporter, workspace):
    trace = new_trace()
    add_span(trace, "only", b"elsewher")
    exporter.send(serialized([trace]))
    trace_id = "tr-" + trace.trace_id.hex()
    del workspace.artifacts[trace_id]
    exporter.send(serialized([trace]))
    assert names(workspace.artifacts[trace_id]) == ["only"]


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (Answer(500, {"error_code": "INTERNAL_ERROR", "message": "broken"}), Retryable, "500"),  # the SDK retries 503
        (Answer(403, {"error_code": "PERMISSION_DENIED", "message": "no"}), Held, "permission denied"),
        (Answer(401, {"error_code": "UNAUTHENTICATED", "message": "no"}), Held, "set DATABRICKS_HOST"),
        (Answer(400, {"error_code": "INVALID_PARAMETER_VALUE", "message": "bad"}), Permanent, "bad"),
    ],
)
@pytest.mark.parametrize("destination", ["/Shared/{service.name}", "main.traces"])
def test_errors(workspace, destination, answer, error, match):
    exporter = MlflowSpanExporter("databricks", destination, environ={})
    exporter.send(serialized([whole_trace()]))  # so that the experiment is known
    workspace.failures.append(answer)
    with pytest.raises(error, match=match):
        exporter.send(serialized([whole_trace()]))
    exporter.close()


@pytest.mark.parametrize(
    "options", [{"experiment": "main.traces"}, {"environ": {"MLFLOW_TRACING_DESTINATION": "main.traces"}}]
)
def test_unity_catalog(workspace, options):
    exporter = MlflowSpanExporter("databricks", **{"environ": {}, **options})
    trace = new_trace(tags={"k": "v"})
    root = add_span(trace, "root", scope=("lib", "1"))
    add_span(trace, "other scope", root.span_id, scope=("other", ""))

    exporter.send(serialized([trace]))

    [*_, request] = workspace.tables["main.traces.mlflow_experiment_trace_otel_spans"]
    assert [as_dict(rs.resource.attributes) for rs in request.resource_spans] == [{"service.name": "shop"}] * 2
    assert [rs.scope_spans[0].scope.name for rs in request.resource_spans] == ["lib", "other"]
    assert [span.name for span in spans(request)] == ["root", "other scope"]
    info = workspace.infos[f"main.traces/{trace.trace_id.hex()}"]
    assert (info["state"], info["tags"]["mlflow.traceName"], info["tags"]["k"]) == ("OK", "root", "v")
    assert info["trace_metadata"]["mlflow.trace_schema.version"] == "4"
    assert info["trace_location"]["uc_schema"].items() >= {("catalog_name", "main"), ("schema_name", "traces")}
    otlp = next(seen for seen in reversed(workspace.seen) if seen.path.startswith("/api/2.0/otel"))
    assert (otlp.headers["authorization"], otlp.headers["content-encoding"]) == ("Bearer secret-token", "gzip")


def test_a_late_child_has_no_info_of_its_own(workspace):
    exporter = MlflowSpanExporter("databricks", "main.traces", environ={})
    trace = whole_trace()
    exporter.send(serialized([trace]))
    late = Trace(trace.trace_id, new_trace().batch, late=True)
    add_span(late, "late", root_of(trace).span_id)
    before = len(workspace.seen)
    exporter.send(serialized([late]))
    assert [seen.path for seen in workspace.seen[before:]] == ["/api/2.0/otel/v1/traces"]


def test_a_table_prefix_is_refused():
    with pytest.raises(ConfigError, match="write catalog"):
        MlflowSpanExporter("databricks", environ={"MLFLOW_TRACING_DESTINATION": "a.b.c"})


def test_no_credentials(monkeypatch, tmp_path):
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(Held, match="set DATABRICKS_HOST"):
        MlflowSpanExporter("databricks://missing", "main.traces", environ={}).send(serialized([whole_trace()]))
