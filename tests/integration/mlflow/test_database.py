"""`MlflowSpanExporter` into tracking databases, through MLflow's own store."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanbridge.collector.errors import Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow import MlflowSpanExporter
from spanbridge.collector.exporters.mlflow.database.faults import database_fault
from spanbridge.collector.exporters.mlflow.record.sanitize import KEPT, KIND_KEYS
from spanbridge.collector.exporters.mlflow.record.tags import tag_attribute, tag_key
from spanbridge.processors.attributes import put
from spanbridge.processors.types import Context, Trace, spans
from tests.samples.mlflow_traces import HARMFUL, MS, REFUSED, add_span, new_trace, whole_trace
from tests.samples.traces import serialized
from tests.servers.mlflow_servers import postgres, postgres_bin

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # at the import of mlflow
    pytest.mark.timeout(180),
]
needs_postgres = pytest.mark.skipif(postgres_bin() is None, reason="PostgreSQL's initdb and pg_ctl are not installed")


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"sqlite:///{tmp_path_factory.mktemp('sqlite') / 'new' / 'mlflow.db'}"


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    with postgres() as uri:
        yield uri


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=needs_postgres)])
def database(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def exporter(database: str) -> Iterator[MlflowSpanExporter]:
    exporter = MlflowSpanExporter(database, "{service.name}", environ={})
    yield exporter
    exporter.close()


@pytest.fixture(scope="module")
def client(database: str):
    from mlflow import MlflowClient  # noqa: PLC0415  its import warns, which collection would take for an error

    return MlflowClient(database)


def stored(client, trace: Trace):
    return client.get_trace("tr-" + trace.trace_id.hex())


def test_a_trace_arrives_whole(exporter, client):
    trace = new_trace("whole", tags={"release": "1.10"}, metadata={"free": "text"}, client_request_id="request-1")
    root = add_span(trace, "answer", scope=("lib", "1.2"), attributes={"n": 1, "m": {"k": [1]}})
    child = add_span(trace, "chat", root.span_id, attributes={"mlflow.spanType": "LLM", "session.id": "s"})
    child.status.code, child.status.message = 2, "boom"
    put(child.events.add(name="e", time_unix_nano=5).attributes, "k", "v")
    before = trace.batch.SerializeToString()

    exporter.send(serialized([trace]))
    exporter.send(serialized([trace]))  # a repetition changes nothing

    assert trace.batch.SerializeToString() == before
    found = stored(client, trace)
    assert client.get_experiment(found.info.experiment_id).name == "whole"
    assert (found.info.state, found.info.client_request_id, found.info.execution_duration) == ("OK", "request-1", 20)
    assert found.info.request_time == root.start_time_unix_nano // MS
    assert found.info.trace_metadata.items() >= {("free", "text"), ("mlflow.trace.session", "s")}
    tags = {("mlflow.traceName", "answer"), ("service.name", "whole"), ("release", "1.10")}
    assert found.info.tags.items() >= tags
    by_name = {span.name: span for span in found.data.spans}
    assert by_name["answer"].attributes.items() >= {"n": 1, "m": {"k": [1]}, "otel.scope.name": "lib"}.items()
    chat = by_name["chat"]
    assert (chat.parent_id, chat.span_type, chat.status.description) == (root.span_id.hex(), "LLM", "boom")
    assert [(e.name, e.timestamp, e.attributes) for e in chat.events] == [("e", 5, {"k": "v"})]
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


def test_traces_without_a_root(exporter, client):
    trace = new_trace("rootless", tags={"k": "v"})
    add_span(trace, "top", b"the-root").status.code = 2
    exporter.send(serialized([trace]))
    info = stored(client, trace).info
    assert (info.state, info.tags["mlflow.traceName"], info.tags["k"]) == ("ERROR", "top", "v")

    late = Trace(trace.trace_id, new_trace("other").batch, late=True)
    add_span(late, "root", span_id=b"the-root")
    exporter.send(serialized([late]))
    info = stored(client, trace).info
    assert (info.state, info.tags["mlflow.traceName"], info.tags["service.name"]) == ("OK", "root", "other")


def test_runs(exporter, client):
    experiment = client.create_experiment("runs")
    run = client.create_run(experiment).info.run_id
    traces = [whole_trace(context=Context(experiment_id=experiment, run_id=run)) for _ in range(2)]
    exporter.send(serialized(traces))
    linked = client.search_traces(locations=[experiment], filter_string=f"attributes.run_id = '{run}'")
    assert {t.info.trace_id for t in linked} == {"tr-" + t.trace_id.hex() for t in traces}
    lost = whole_trace(context=Context(experiment_id=experiment, run_id="unknown"))
    exporter.send(serialized([lost]))
    assert stored(client, lost).info.state == "OK"


def test_experiments(exporter, client, database):
    gone = client.create_experiment("gone")
    client.delete_experiment(gone)
    with pytest.raises(Permanent, match="restore it"):
        exporter.send(serialized([whole_trace(context=Context(experiment_name="gone"))]))
    with pytest.raises(Permanent, match="experiment id '987654' does not exist"):
        exporter.send(serialized([whole_trace(context=Context(experiment_id="987654"))]))
    with pytest.raises(Permanent, match="must be a valid integer"):
        exporter.send(serialized([whole_trace(context=Context(experiment_id="a b"))]))
    with pytest.raises(Held, match="does not exist; create it"):
        MlflowSpanExporter(database, "none", create_experiments=False, environ={}).send(serialized([whole_trace()]))
    route = exporter.group(whole_trace(service="vanishing"))
    exporter._destination._experiments._answers[route] = (1e12, "987655")
    with pytest.raises(Retryable, match="looking it up again"):
        exporter.send(serialized([whole_trace(service="vanishing")]))
    exporter.send(serialized([whole_trace(service="vanishing")]))


def test_several_threads_at_once(database, client):
    """Four workers, an experiment that none of them finds, and every trace in three parts from three of them."""
    exporter = MlflowSpanExporter(database, "{service.name}", environ={})
    traces = [whole_trace(service="threads") for _ in range(24)]
    failures: list[Exception] = []

    def work(mine: list[Trace]) -> None:
        for trace in mine:
            for attempt in range(20):
                try:
                    exporter.send(serialized([trace]))
                    break
                except Retryable as error:
                    if attempt == 19:
                        failures.append(error)

    threads = [threading.Thread(target=work, args=(traces[n::4] + traces[(n + 1) % 4 :: 4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    exporter.close()
    assert not failures
    assert {len(stored(client, trace).data.spans) for trace in traces} == {2}


def test_a_locked_file_is_worth_another_attempt(tmp_path, monkeypatch):
    exporter = MlflowSpanExporter(f"sqlite:///{tmp_path}/mlflow.db", environ={})
    exporter.send(serialized([whole_trace()]))
    store = exporter._destination._open()[0]
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        with monkeypatch.context() as patch:
            patch.setattr(store, "ManagedSessionMaker", impatient(store))
            with pytest.raises(Retryable, match="database is locked"):
                exporter.send(serialized([whole_trace()]))
    exporter.send(serialized([whole_trace()]))
    exporter.close()


def impatient(store):
    """MLflow's session, without the 20 s for which it waits for a lock."""
    from sqlalchemy import text  # noqa: PLC0415  as above

    usual = store.ManagedSessionMaker

    @contextlib.contextmanager
    def session(**options):
        with usual(**options) as found:
            found.execute(text("PRAGMA busy_timeout = 0"))
            yield found

    return session


def test_a_database_that_is_not_there_is_told_at_once():
    with pytest.raises(Retryable, match="Connection refused"):
        MlflowSpanExporter("postgresql+psycopg2://u:secret@127.0.0.1:1/x", environ={}).send(serialized([whole_trace()]))
    with pytest.raises(Held, match="is not installed; install"):
        MlflowSpanExporter("mysql://u@127.0.0.1:1/x", environ={}).send(serialized([whole_trace()]))


@needs_postgres
def test_a_wrong_database_name_is_held_with_the_mend(postgresql):
    with pytest.raises(Held, match="correct user, password or database"):
        MlflowSpanExporter(postgresql.replace("/postgres", "/nothing"), environ={}).send(serialized([whole_trace()]))


def test_no_payload_in_mlflows_log_lines(tmp_path, caplog):
    exporter = MlflowSpanExporter(f"sqlite:///{tmp_path}/mlflow.db", environ={})
    exporter.send(serialized([whole_trace()]))
    with exporter._destination._open()[0].engine.connect() as connection:
        connection.exec_driver_sql("ALTER TABLE spans RENAME TO elsewhere")
    with pytest.raises(Retryable):
        exporter.send(serialized([whole_trace("a secret name")]))
    assert "a secret name" not in caplog.text
    exporter.close()


@pytest.mark.parametrize("spoil", REFUSED.values(), ids=REFUSED.keys())
def test_the_poison_is_poison(sqlite, spoil):
    """Without cleaning MLflow refuses it; where this fails, MLflow has mended itself and a rule may go."""
    from mlflow.entities.span import Span  # noqa: PLC0415  as above

    trace = whole_trace()
    spoil(trace)
    exporter = MlflowSpanExporter(sqlite, environ={})
    exporter.send(serialized([whole_trace()]))
    store = exporter._destination._open()[0]

    def write():
        store.log_spans("0", [
            Span.from_otel_proto(span, resource=resource_spans.resource)
            for resource_spans in trace.batch.resource_spans
            for scope_spans in resource_spans.scope_spans
            for span in scope_spans.spans
        ])  # fmt: skip

    with pytest.raises(Exception) as caught:  # of many kinds
        write()
    assert isinstance(database_fault(caught.value, "here"), Permanent)


KEYS = [
    *sorted(KEPT | KIND_KEYS),
    "session.id", "user.id", "gen_ai.conversation.id", "gen_ai.agent.name", "gen_ai.request.model", "gen_ai.system",
    "gen_ai.provider.name", "gen_ai.input.messages", "gen_ai.output.messages", "gen_ai.tool.definitions",
    "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.prompt.0.content", "gen_ai.completion.0.content", "llm.token_count.prompt", "llm.token_count.total",
    "llm.model_name", "llm.provider", "input.value", "output.value", "input", "output", "usage.total_tokens",
    "input_tokens", "output_tokens", "cache_read_tokens", "cache_creation_tokens", "user_prompt", "tool_input",
    "new_context", "full_command", "ai.prompt", "ai.prompt.tools", "ai.prompt.messages", "ai.response.text",
    "ai.value", "lk.user_input", "lk.function_tools", "lmnr.span.input", "langfuse.observation.input",
    "traceloop.entity.input", "gcp.vertex.agent.llm_request", "mlflow.traceTag.mlflow.traceName", "mlflow.traceTag.x",
]  # fmt: skip
"""What MLflow's translators and its store read."""

KINDS = [
    "claude_code.tool",
    "claude_code.llm_request",
    "llm_request",
    "ai.generateText.doGenerate",
    "chat",
    "LLM",
    "tool",
]
EVENTS = ["gen_ai.user.message", "gen_ai.choice", "gen_ai.content.prompt", "tool.output", "exception"]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats()
    | st.binary(max_size=3)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(
        ["[", '["chat"]', '{"role": "user", "content": "\\ud83d"}', '{"a": NaN}', "Infinity", "1e999", '"\\u0000"']
    )
    | st.sampled_from(KINDS)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "parts", "content", "model", "input_tokens", "total_cost"]), inner, max_size=3
        )
    ),
    max_leaves=4,
)
texts_of_json = values.map(lambda value: json.dumps(value, default=str))
attributes = st.dictionaries(st.sampled_from(KEYS), values | texts_of_json, max_size=12)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_combination_of_attributes_is_refused(sqlite, data):
    exporter = FUZZED.setdefault(sqlite, MlflowSpanExporter(sqlite, environ={}))
    trace = whole_trace()
    for span in spans(trace.batch):
        for key, value in data.draw(attributes).items():
            put(span.attributes, key, value)
        for name in data.draw(st.lists(st.sampled_from(EVENTS), max_size=2)):
            event = span.events.add(name=name)
            for key in ("content", "role", "output", "gen_ai.prompt"):
                put(event.attributes, key, data.draw(values | texts_of_json))
    for key in ("service.version", "deployment.x"):
        put(trace.batch.resource_spans[0].resource.attributes, key, data.draw(values))

    exporter.send(serialized([trace]))


FUZZED: dict[str, MlflowSpanExporter] = {}


@given(st.text())
def test_mlflow_accepts_every_tag_key_that_is_left(key):
    from mlflow.utils.validation import _validate_trace_tag  # noqa: PLC0415  as above

    if cleaned := tag_key(key):
        _validate_trace_tag(cleaned, "")


@given(st.text() | st.sampled_from(['"x"', ' "x" ', '{"a": 1}', "1.10", "null", '""', '"\\"x\\""']))
def test_a_tag_on_the_root_is_read_back_as_it_was(value):
    """As `sanitize_attributes` and `_try_parse_json_string` of MLflow read it."""
    from mlflow.store.tracking.sqlalchemy_store import _try_parse_json_string  # noqa: PLC0415  as above
    from mlflow.tracing.otel.translation import sanitize_attributes  # noqa: PLC0415  as above
    from mlflow.tracing.utils import dump_span_attribute_value  # noqa: PLC0415  as above

    stored_as = sanitize_attributes({"k": dump_span_attribute_value(tag_attribute(value))})["k"]
    assert str(_try_parse_json_string(stored_as)) == value


def test_the_kind_keys_are_those_of_mlflows_translators():
    """A translator that MLflow adds has to be looked at."""
    from mlflow.tracing.otel.translation import _TRANSLATORS  # noqa: PLC0415  as above

    keys = {t.SPAN_KIND_ATTRIBUTE_KEY for t in _TRANSLATORS}
    keys |= {key for t in _TRANSLATORS for key in getattr(t, "SPAN_KIND_ATTRIBUTE_KEYS", ())}
    assert keys - {None} == KIND_KEYS
