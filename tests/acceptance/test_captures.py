"""Real requests of real instrumentations, replayed through the program and judged by tests/check.py."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.paths import DATA, ROOT
from tests.polling import until_sync
from tests.samples.reading import span_ids, traces
from tests.servers.program import Ports, Program, configuration

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # mlflow's use of SQLAlchemy
    pytest.mark.timeout(240),
]

CAPTURES = DATA / "captures"
EXPECTED = CAPTURES / "expected.json"
TRACES = [trace for spec in json.loads(EXPECTED.read_text()).values() for trace in spec["traces"]]
FACTS = 599


@pytest.fixture(params=["tracking_server", "sqlite"])
def destination(request):
    return request.getfixturevalue(request.param)


def replay(program, destination, experiment, *, settle):
    """The report of check.py, which sends every set in order and reads what MLflow shows then."""
    ports = program.ports
    command = [sys.executable, str(ROOT / "tests" / "check.py"), "--json", "--settle", str(settle)]
    command += ["--endpoint", f"127.0.0.1:{ports.grpc}", "--http", f"http://127.0.0.1:{ports.http}"]
    command += ["--tracking-uri", destination, "--experiment", experiment]
    command += ["--captures", str(CAPTURES), "--expected", str(EXPECTED)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode in (0, 1), f"{done.stderr}\n{program.tail()}"
    report = json.loads(done.stdout)
    assert (report["skipped"], report["notes"]) == ([], [])
    until_sync(lambda: program.metric("spanbridge_journal_bytes") == 0, what=f"delivery\n{program.tail()}")
    assert program.metric("spanbridge_set_aside_spans") == 0
    return report


def test_with_genai_every_fact_holds(destination, experiment, tmp_path):
    ports = Ports()
    mlflow = {"tracking_uri": destination, "experiment": experiment}
    config = configuration(ports, tmp_path, mlflow, processors={"span_metrics": {}, "genai": {}}, logs=True)
    with Program(config, tmp_path, ports) as program:
        report = replay(program, destination, experiment, settle=20)
        counted = program.metric("traces_span_metrics_calls{")

    failed = [f"{name}: {failure}" for name, found in report["sets"].items() for failure in found["failed"]]
    assert failed == []
    assert (report["held"], report["total"]) == (FACTS, FACTS)
    assert counted == sum(map(span_count, TRACES))


def test_without_genai_each_trace_is_there_once_and_whole(destination, experiment, tmp_path):
    ports = Ports()
    config = configuration(ports, tmp_path, {"tracking_uri": destination, "experiment": experiment}, logs=True)
    with Program(config, tmp_path, ports) as program:
        replay(program, destination, experiment, settle=0)

    shown = Counter(
        (trace.info.tags["mlflow.traceName"], trace.info.state.value, len(trace.data.spans))
        for trace in traces(destination, experiment)
    )
    assert shown == Counter((trace["root"], fact(trace, "state"), span_count(trace)) for trace in TRACES)
    ids = span_ids(destination, experiment)
    assert len(ids) == len(set(ids)) == sum(map(span_count, TRACES))


def fact(trace, kind):
    return next(each["value"] for each in trace["facts"] if each["fact"] == kind)


def span_count(trace):
    return fact(trace, "span_count")
