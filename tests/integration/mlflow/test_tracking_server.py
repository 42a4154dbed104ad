"""`MlflowSpanExporter` against a real `mlflow server`, read back through MLflow's own client."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator

import pytest

from spanbridge.collector.errors import Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow import MlflowSpanExporter
from spanbridge.collector.exporters.mlflow.check import check
from spanbridge.processors.attributes import put
from spanbridge.processors.types import Context, Trace
from tests.paths import ROOT
from tests.samples.mlflow_traces import HARMFUL, MS, REFUSED, add_span, new_trace, root_of, whole_trace
from tests.samples.traces import serialized
from tests.servers.mlflow_servers import mlflow_server

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # at the import of mlflow
    pytest.mark.timeout(180),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Under a static prefix, so that everything here goes under it."""
    with mlflow_server(tmp_path_factory.mktemp("mlflow"), prefix="/behind/proxy") as address:
        yield address


@pytest.fixture(scope="module")
def client(server: str):
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow import MlflowClient  # noqa: PLC0415  its import warns, which collection would take for an error

    return MlflowClient(server)


@pytest.fixture
def exporter(server: str) -> Iterator[MlflowSpanExporter]:
    exporter = MlflowSpanExporter(server, "{service.name}", environ={})
    yield exporter
    exporter.close()


def stored(client, trace: Trace):
    return client.get_trace("tr-" + trace.trace_id.hex())


def test_a_trace_arrives_whole(exporter, client):
    trace = new_trace("whole", tags={"release": "1.10", "config": '{"a": 1}'})
    put(trace.batch.resource_spans[0].resource.attributes, "deployment.environment.name", "prod")
    put(trace.batch.resource_spans[0].resource.attributes, "host.name", "no tag")
    root = add_span(
        trace,
        "answer",
        scope=("lib", "1.2"),
        kind=2,
        attributes={"n": 1, "f": 0.5, "ok": True, "xs": ["a", "b"], "m": {"k": [1]}},
    )
    child = add_span(
        trace, "chat", root.span_id, attributes={"mlflow.spanType": "LLM", "mlflow.spanInputs": '{"q": "ä"}'}
    )
    child.status.code, child.status.message = 2, "boom"
    event = child.events.add(name="exception", time_unix_nano=child.start_time_unix_nano + MS)
    put(event.attributes, "exception.stacktrace", "Traceback\n  line")
    link = root.links.add(trace_id=b"L" * 16, span_id=b"l" * 8)
    put(link.attributes, "why", "retry")
    before = trace.batch.SerializeToString()

    exporter.send(serialized([trace]))

    assert trace.batch.SerializeToString() == before
    found = stored(client, trace)
    assert client.get_experiment_by_name("whole").experiment_id == found.info.experiment_id
    assert (found.info.state, found.info.request_time) == ("OK", root.start_time_unix_nano // MS)
    assert found.info.tags.items() >= {
        ("mlflow.traceName", "answer"), ("service.name", "whole"), ("deployment.environment.name", "prod"),
        ("release", "1.10"), ("config", '{"a": 1}'),
    }  # fmt: skip
    assert "host.name" not in found.info.tags
    by_name = {span.name: span for span in found.data.spans}
    assert by_name["chat"].parent_id == by_name["answer"].span_id == root.span_id.hex()
    attributes = by_name["answer"].attributes
    assert {k: attributes[k] for k in ("n", "f", "ok", "xs", "m")} == {
        "n": 1, "f": 0.5, "ok": True, "xs": ["a", "b"], "m": {"k": [1]},
    }  # fmt: skip
    assert {k: attributes[k] for k in ("otel.scope.name", "otel.scope.version", "span.kind")} == {
        "otel.scope.name": "lib", "otel.scope.version": "1.2", "span.kind": "server",
    }  # fmt: skip
    [stored_link] = by_name["answer"].links
    assert (stored_link.trace_id, stored_link.span_id, stored_link.attributes) == (
        "tr-" + (b"L" * 16).hex(), (b"l" * 8).hex(), {"why": "retry"},
    )  # fmt: skip
    chat = by_name["chat"]
    assert (chat.start_time_ns, chat.end_time_ns) == (child.start_time_unix_nano, child.end_time_unix_nano)
    assert (chat.status.status_code, chat.status.description) == ("ERROR", "boom")
    assert (chat.span_type, chat.inputs) == ("LLM", {"q": "ä"})
    [stored_event] = chat.events
    assert (stored_event.name, stored_event.timestamp) == ("exception", event.time_unix_nano)
    assert stored_event.attributes == {"exception.stacktrace": "Traceback\n  line"}
    assert client.search_traces(locations=[found.info.experiment_id], filter_string="span.type = 'LLM'")


@pytest.mark.parametrize("spoil", {**REFUSED, **HARMFUL}.values(), ids={**REFUSED, **HARMFUL}.keys())
def test_a_bad_trace_lands_and_so_do_its_neighbours(exporter, client, spoil):
    traces = [whole_trace("first", "poison"), whole_trace("bad", "poison"), whole_trace("last", "poison")]
    spoil(traces[1])

    exporter.send(serialized(traces))

    found = [stored(client, trace) for trace in traces]
    assert [len(trace.data.spans) for trace in found] == [2, 2, 2]
    assert [trace.info.state for trace in found] == ["OK"] * 3
    assert all(trace.info.execution_duration >= 0 for trace in found)
    assert {trace.info.tags["service.name"] for trace in found} == {"poison"}


def test_the_json_the_ui_fetches_is_json(exporter, server):
    trace = whole_trace()
    for value in (math.nan, math.inf, [-math.inf], {"a": math.nan}):
        put(root_of(trace).attributes, f"k{value}", value)
        put(root_of(trace).events.add(name="e").attributes, "k", value)
        put(root_of(trace).links.add(trace_id=b"t" * 16, span_id=b"s" * 8).attributes, "k", value)

    exporter.send(serialized([trace]))

    def refuse(word):
        pytest.fail(f"{word} is no JSON")

    with urllib.request.urlopen(f"{server}/api/3.0/mlflow/traces/get?trace_id=tr-{trace.trace_id.hex()}") as reply:
        found = json.loads(reply.read(), parse_constant=refuse)
    assert len(found["trace"]["spans"]) == 2


def test_a_trace_without_a_root_is_finished(exporter, client):
    trace = new_trace("rootless", tags={"mlflow.linkedPrompts": "[]", "k": "v"})
    top = add_span(trace, "top", b"elsewher")
    add_span(trace, "below", top.span_id)
    failed = new_trace("rootless")
    add_span(failed, "failed", b"elsewher").status.code = 2

    exporter.send(serialized([trace, failed]))

    info = stored(client, trace).info
    assert (info.state, info.tags["mlflow.traceName"]) == ("OK", "top")
    assert (info.tags["k"], info.tags["mlflow.linkedPrompts"], info.execution_duration) == ("v", "[]", 20)
    info = stored(client, failed).info
    assert (info.state, info.tags["mlflow.traceName"]) == ("ERROR", "failed")


def test_a_late_root_decides_state_name_and_tags(exporter, client):
    early = new_trace("early-service")
    add_span(early, "early", b"the-root", end_time_unix_nano=early_end())
    late = Trace(early.trace_id, new_trace("root-service").batch, late=True)
    add_span(late, "root", span_id=b"the-root").status.code = 2

    exporter.send(serialized([early]))
    exporter.send(serialized([late]))

    found = stored(client, early)
    assert {span.name for span in found.data.spans} == {"early", "root"}
    assert (found.info.state, found.info.tags["mlflow.traceName"]) == ("ERROR", "root")
    assert found.info.tags["service.name"] == "root-service"
    assert found.info.request_time + found.info.execution_duration == early_end() // MS


def early_end() -> int:
    return 4_102_444_800_000 * MS  # 2100: after everything else in the trace


def test_a_late_child_changes_neither_state_nor_name_nor_tags(exporter, client):
    trace = whole_trace("checkout", "first-service")
    root_of(trace).status.code = 2
    exporter.send(serialized([trace]))
    for late in (True, False):  # after a restart nobody knows that it is late
        part = Trace(trace.trace_id, new_trace("second-service").batch, late=late)
        add_span(part, "straggler", root_of(trace).span_id)
        exporter.send(serialized([part]))

    found = stored(client, trace)
    assert len(found.data.spans) == 4
    assert (found.info.state, found.info.tags["mlflow.traceName"]) == ("ERROR", "checkout")


def test_a_late_child_does_not_overwrite_tags(exporter, client):
    trace = whole_trace("checkout", "first-service")
    exporter.send(serialized([trace]))
    part = Trace(trace.trace_id, new_trace("second-service").batch, late=True, tags={"late": "yes"})
    add_span(part, "straggler", root_of(trace).span_id)

    exporter.send(serialized([part]))

    found = stored(client, trace)
    assert (found.info.tags["service.name"], found.info.tags["late"]) == ("first-service", "yes")
    assert next(s for s in found.data.spans if s.name == "straggler").attributes["service.name"] == "second-service"


def test_the_tags_are_those_of_the_roots_service(exporter, client):
    trace = new_trace("gateway")
    root = add_span(trace, "root", resource=1)
    put(trace.batch.resource_spans[1].resource.attributes, "service.name", "frontend")
    add_span(trace, "behind", root.span_id, resource=0)

    exporter.send(serialized([trace]))

    found = stored(client, trace)
    assert found.info.tags["service.name"] == "frontend"
    assert {s.name: s.attributes.get("service.name") for s in found.data.spans} == {"root": None, "behind": "gateway"}
    assert client.get_experiment(found.info.experiment_id).name == "frontend"


def test_metadata_and_the_clients_request_id(exporter, client):
    trace = whole_trace(metadata={"mlflow.modelId": "m-1", "free": "text"}, client_request_id="request-1")
    plain = whole_trace(metadata={"free": "text"})

    exporter.send(serialized([trace, plain]))
    exporter.send(serialized([trace, plain]))  # a repetition changes nothing

    info = stored(client, trace).info
    assert info.client_request_id == "request-1"
    assert info.trace_metadata.items() >= {("mlflow.modelId", "m-1"), ("free", "text")}
    assert (info.state, info.execution_duration, info.tags["mlflow.traceName"]) == ("OK", 20, "checkout")
    info = stored(client, plain).info
    assert (info.trace_metadata["free"], info.state, info.execution_duration) == ("text", "OK", 20)


def test_headers_of_the_sender_choose_experiment_and_run(exporter, client):
    by_id = client.create_experiment("by id")
    run = client.create_run(by_id).info.run_id
    traces = [
        whole_trace(context=Context(experiment_id=by_id, experiment_name="ignored", run_id=run)),
        whole_trace(context=Context(experiment_name="by name")),
    ]
    rootless = new_trace(context=Context(experiment_id=by_id, run_id=run))
    add_span(rootless, "top", b"elsewher")
    assert exporter.group(traces[0]) == exporter.group(rootless) != exporter.group(traces[1])

    for group in ([traces[0], rootless], [traces[1]]):
        exporter.send(serialized(group))

    assert stored(client, traces[0]).info.experiment_id == by_id
    assert client.get_experiment(stored(client, traces[1]).info.experiment_id).name == "by name"
    linked = client.search_traces(locations=[by_id], filter_string=f"attributes.run_id = '{run}'")
    assert {trace.info.trace_id for trace in linked} == {"tr-" + t.trace_id.hex() for t in (traces[0], rootless)}


def test_an_unknown_experiment_of_a_sender_is_its_own_fault(exporter, server):
    with pytest.raises(Permanent, match="experiment id '987654' does not exist"):
        exporter.send(serialized([whole_trace(context=Context(experiment_id="987654"))]))
    with pytest.raises(Permanent, match="400"):
        exporter.send(serialized([whole_trace(context=Context(experiment_id="a b"))]))
    with pytest.raises(Held, match="experiment id '987654' does not exist"):
        MlflowSpanExporter(server, experiment_id="987654", environ={}).send(serialized([whole_trace()]))


def test_an_experiment_is_not_created_when_told_so(server):
    exporter = MlflowSpanExporter(server, "nowhere", create_experiments=False, environ={})
    with pytest.raises(Held, match="experiment 'nowhere' does not exist; create it"):
        exporter.send(serialized([whole_trace()]))


def test_a_deleted_experiment_is_held_with_the_mend(server, client):
    gone = client.create_experiment("gone")
    client.delete_experiment(gone)
    exporter = MlflowSpanExporter(server, "gone", environ={})
    with pytest.raises(Held, match=f"restore it with `mlflow experiments restore --experiment-id {gone}`"):
        exporter.send(serialized([whole_trace()]))


def test_an_experiment_that_vanished_is_looked_up_again(exporter, client):
    exporter.send(serialized([whole_trace(service="vanishing")]))
    route = exporter.group(whole_trace(service="vanishing"))
    exporter._destination._experiments._answers[route] = (1e12, "987655")
    with pytest.raises(Retryable, match="looking it up again"):
        exporter.send(serialized([whole_trace(service="vanishing")]))
    exporter.send(serialized([whole_trace(service="vanishing")]))


def test_a_wrong_address_is_held_with_the_mend(server):
    with pytest.raises(Held, match="static prefix"):
        MlflowSpanExporter(server + "/wrong", environ={}).send(serialized([whole_trace()]))
    with pytest.raises(Retryable, match="can't be reached"):
        MlflowSpanExporter("http://127.0.0.1:1", environ={}).send(serialized([whole_trace()]))


def test_a_host_name_the_server_rejects_is_held_with_the_mend(server):
    exporter = MlflowSpanExporter(server, headers={"Host": "mlflow:5000"}, environ={})
    with pytest.raises(Held, match="MLFLOW_SERVER_ALLOWED_HOSTS"):
        exporter.send(serialized([whole_trace()]))


def test_mlflow_is_not_imported(server):
    program = f"""
import sys
from spanbridge.collector.exporters.mlflow import MlflowSpanExporter
from tests.samples.mlflow_traces import whole_trace
from tests.samples.traces import serialized
exporter = MlflowSpanExporter({server!r}, "small", environ={{}})
exporter.send(serialized([whole_trace(metadata={{"a": "b"}})]))
exporter.close()
assert not [name for name in sys.modules if name.partition(".")[0] in ("mlflow", "sqlalchemy", "pandas")]
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def sentences(*args, **options):
    return [(finding.ok, finding.sentence) for finding in check(*args, **{"environ": {}, **options})]


def test_the_check_says_that_all_is_well(server):
    found = sentences(server + "/", "Default")
    assert found[0][1].startswith(f"{server} is MLflow 3.")
    assert found[1:] == [
        (True, "experiment 'Default' exists"),
        (True, "traces can be written to experiment 'Default'"),
    ]
    assert sentences(server, "not yet")[1:] == [(True, "experiment 'not yet' will be created")]
    assert sentences(server, "{team}", default_experiment="not yet") == sentences(server, "not yet")


@pytest.mark.parametrize(
    ("prefix", "options", "expected"),
    [
        ("/wrong", {}, "check tracking_uri and its static prefix"),
        ("/behind/proxy", {"headers": {"Host": "mlflow:5000"}}, "MLFLOW_SERVER_ALLOWED_HOSTS"),
        ("/behind/proxy", {"experiment": "none", "create_experiments": False}, "'none' does not exist; create it"),
        ("/behind/proxy", {"experiment_id": "99"}, "experiment id '99' does not exist"),
    ],
)
def test_the_check_names_the_fault(server, prefix, options, expected):
    *_, (ok, sentence) = sentences(server.removesuffix("/behind/proxy") + prefix, **options)
    assert not ok
    assert expected in sentence
