"""The main job on real input: programs with the OpenTelemetry SDKs, read back through MLflow's client.

What MLflow shows is compared with what the SDK itself recorded in the program, span by span and field by field.
"""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import mlflow
import pytest

from tests.interop.clients import CLIENTS, COMPILED, VERSION
from tests.interop.recorded import recorded_facts, shown_facts
from tests.polling import until_sync
from tests.samples.reading import traces
from tests.servers.program import Ports, Program, configuration

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # mlflow's use of SQLAlchemy
    pytest.mark.timeout(900),  # a first run fetches and compiles
]

STATES = {"checkout": "OK", "refund": "ERROR", "served": "OK"}
GROUPING = {"groupbytrace": {"wait_duration": "3s", "wait_duration_after_root_received": "500ms"}}


@pytest.fixture(scope="module", params=["tracking_server", "sqlite", "postgresql"])
def destination(request):
    """The tracking URI of each kind of destination."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def sent(request, destination, tmp_path_factory):
    """What each client recorded while it sent to a bridge that writes to the destination; all has been delivered.

    The clients that no selected test asks for are left out.
    """
    params = [getattr(item, "callspec", None) for item in request.session.items]
    asked = {each.params["client"] for each in params if each and each.params.get("client") in CLIENTS}
    clients = [CLIENTS[name] for name in sorted(asked) if not CLIENTS[name].missing()]
    for client in clients:
        client.make()
    ports, folder = Ports(), tmp_path_factory.mktemp("clients")
    config = configuration(
        ports, folder, {"tracking_uri": destination, "experiment": "{service.name}"}, processors=GROUPING
    )
    with Program(config, folder, ports) as program, ThreadPoolExecutor() as pool:
        records = list(pool.map(lambda client: client.run(ports), clients))
        until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what=f"delivery\n{program.tail()}")
        assert program.metric("spanbridge_set_aside_spans") == 0
        assert program.stop() == 0
    return {client.name: record for client, record in zip(clients, records, strict=True)}


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] if name in COMPILED else []) for name in CLIENTS])
def client(request):
    if program := CLIENTS[request.param].missing():
        pytest.skip(f"{program} is not installed")
    return request.param


@pytest.fixture
def recorded(client, sent):
    return sent[client]


def test_every_span_is_as_the_sdk_recorded_it(recorded, client, destination):
    shown = {
        (trace.info.trace_id, span.span_id): shown_facts(span)
        for trace in traces(destination, client)
        for span in trace.data.spans
    }
    wanted = {(f"tr-{span['trace_id']}", span["span_id"]): recorded_facts(span) for span in recorded}
    assert shown.keys() == wanted.keys()
    for key, facts in wanted.items():
        assert shown[key] == facts
        assert shown[key].as_json() == facts.as_json()  # where 1, 1.0 and True are not the same


def test_get_trace_shows_each_trace_whole(recorded, destination):
    mlflow.set_tracking_uri(destination)
    for trace_id, spans in by_trace(recorded).items():
        trace = mlflow.get_trace(trace_id)
        assert sorted(span.span_id for span in trace.data.spans) == sorted(span["span_id"] for span in spans)


def test_search_traces_finds_each_by_name_with_state_and_times(recorded, client, destination):
    mlflow.set_tracking_uri(destination)
    experiment = mlflow.get_experiment_by_name(client).experiment_id
    assert len(mlflow.search_traces(locations=[experiment])) == len(STATES)
    for trace_id, spans in by_trace(recorded).items():
        name = top(spans)["name"]
        query = f"trace.name = '{name}' AND attributes.status = '{STATES[name]}'"
        [found] = mlflow.search_traces(locations=[experiment], filter_string=query, return_type="list")
        start, end = min(int(span["start"]) for span in spans), max(int(span["end"]) for span in spans)
        assert found.info.trace_id == trace_id
        assert found.info.request_time == start // 1_000_000
        assert found.info.execution_duration == end // 1_000_000 - start // 1_000_000
        assert found.info.tags.items() >= {"service.name": client, "service.version": VERSION}.items()
        assert found.info.tags["deployment.environment.name"] == "interop"
        assert "a.team" not in found.info.tags


def by_trace(recorded):
    found = defaultdict(list)
    for span in recorded:
        found[f"tr-{span['trace_id']}"].append(span)
    return found


def top(spans):
    """The span whose parent is not in the trace."""
    ids = {span["span_id"] for span in spans}
    return next(span for span in spans if span["parent_id"] not in ids)
