"""The exporter in a process of its own: the same answers, and nothing lost or left behind when either process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spanbridge.collector.errors import ConfigError, Held, Retryable
from spanbridge.collector.exporters.mlflow.build import build
from spanbridge.collector.exporters.mlflow.config import MlflowExporterConfig
from spanbridge.collector.exporters.mlflow.database import writer_process
from spanbridge.collector.exporters.mlflow.database.schema import prepare_database
from spanbridge.collector.exporters.mlflow.database.writer_process import ExporterProcess, workers_for
from spanbridge.processors.types import Trace
from tests.paths import ROOT
from tests.polling import until_sync
from tests.samples.mlflow_traces import whole_trace
from tests.samples.reading import span_ids
from tests.samples.traces import serialized

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning"),  # at the import of mlflow
    pytest.mark.timeout(180),
]


@pytest.fixture(name="uri")
def fixture_uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(name="exporter")
def fixture_exporter(uri: str) -> Iterator[ExporterProcess]:
    exporter = ExporterProcess(2, {}, tracking_uri=uri, experiment="apart")
    yield exporter
    exporter.close()


def writers(exporter: ExporterProcess) -> list[int]:
    """The process ids of the workers that there are now."""
    assert exporter._pool is not None
    return sorted(exporter._pool._processes)


def ids(*traces: Trace) -> set[tuple[str, str]]:
    return {
        (span.trace_id.hex(), span.span_id.hex())
        for trace in traces
        for resource in trace.batch.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def test_databases_are_written_by_a_process_of_their_own(uri: str):
    exporter = build(MlflowExporterConfig(tracking_uri=uri), {}).exporter
    assert isinstance(exporter, ExporterProcess)
    exporter.close()  # it was never started


def test_what_is_sent_is_there(exporter: ExporterProcess, uri: str):
    sent = [whole_trace() for _ in range(20)]
    with ThreadPoolExecutor(2) as threads:
        assert sum(threads.map(exporter.send, (serialized([trace]) for trace in sent))) == 0
    assert set(span_ids(uri, "apart")) == ids(*sent)


def test_a_send_whose_process_dies_is_to_be_repeated(exporter: ExporterProcess, uri: str):
    first, second = whole_trace(), whole_trace()
    exporter.send(serialized([first]))
    before = writers(exporter)
    for process in before:
        os.kill(process, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(exporter.send, serialized([second]))
        until_sync(lambda: exporter._pool._pending_work_items, what="the send")
        for process in before:
            os.kill(process, signal.SIGKILL)
        with pytest.raises(Retryable, match="has ended"):
            sending.result()
    assert exporter.send(serialized([second])) == 0
    assert not {*before} & {*writers(exporter)}
    assert sorted(span_ids(uri, "apart")) == sorted(ids(first, second))


def test_a_transaction_under_way_is_ended_at_once(exporter: ExporterProcess, uri: str, tmp_path: Path):
    """The worker waits for the lock of another, for 20 s if it were let."""
    exporter.send(serialized([whole_trace()]))
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as other, ThreadPoolExecutor(1) as thread:
        other.execute("BEGIN IMMEDIATE")
        sending = thread.submit(exporter.send, serialized([whole_trace()]))
        until_sync(lambda: exporter._pool._pending_work_items, what="the send")
        processes, started = writers(exporter), time.monotonic()
        exporter.close()
        assert all(map(gone, processes))
        assert time.monotonic() - started < 10
        with pytest.raises(Retryable, match="has ended"):
            sending.result()


def gone(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def sent_at_last(exporter: ExporterProcess, trace: Trace) -> None:
    def sent() -> bool:
        with contextlib.suppress(Retryable):
            return exporter.send(serialized([trace])) == 0
        return False

    until_sync(sent, what="a send")


def test_when_one_writer_dies_all_are_started_again(uri: str):
    exporter = ExporterProcess(4, {}, tracking_uri=uri, experiment="apart")
    sent = [whole_trace() for _ in range(8)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(sent_at_last, [exporter] * 4, sent[:4]))
        before = writers(exporter)
        os.kill(before[0], signal.SIGKILL)
        list(threads.map(sent_at_last, [exporter] * 4, sent[4:]))
    after = writers(exporter)
    exporter.close()
    assert not {*before} & {*after}
    until_sync(lambda: all(map(gone, before + after)), what="the end of all writers")
    assert sorted(span_ids(uri, "apart")) == sorted(ids(*sent))


@pytest.mark.parametrize(
    ("scheme", "processors", "workers"),
    [("sqlite", 1, 2), ("sqlite", 8, 2), ("postgresql", 1, 2), ("postgresql", 2, 3), ("mysql", 8, 9)],
)
def test_sqlite_has_two_writers_and_others_one_more_than_processors(scheme: str, processors: int, workers: int):
    assert workers_for(scheme, processors) == workers


def test_there_are_no_more_writers_than_sends(uri: str):
    assert ExporterProcess(1, {}, tracking_uri=uri)._workers == 1


def test_two_writers_share_an_sqlite_database_that_neither_has_initialised(uri: str, tmp_path: Path):
    """The second finds no half of a schema, and none a locked database: nothing is to be repeated."""

    def begun() -> bool:
        with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db", timeout=60)) as database:
            return database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] > 0

    exporter = ExporterProcess(4, {}, tracking_uri=uri, experiment="apart")
    sent = [[whole_trace() for _ in range(20)] for _ in range(20)]
    with ThreadPoolExecutor(4) as threads:
        first = threads.submit(exporter.send, serialized(sent[0]))
        until_sync(begun, what="the first table", every=0.001)
        assert sum(threads.map(exporter.send, map(serialized, sent[1:]))) == 0
        assert first.result() == 0
    assert len(writers(exporter)) == 2
    exporter.close()
    assert set(span_ids(uri, "apart")) == ids(*(trace for traces in sent for trace in traces))


def test_errors_come_across(uri: str):
    exporter = ExporterProcess(1, {}, tracking_uri=uri, experiment="nobody made it", create_experiments=False)
    with pytest.raises(Held, match="nobody made it"):
        exporter.send(serialized([whole_trace()]))
    exporter.close()


def test_log_lines_come_across(exporter: ExporterProcess, uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture):
    prepare_database(uri)
    with contextlib.closing(sqlite3.connect(tmp_path / "mlflow.db")) as database:
        database.execute("CREATE UNIQUE INDEX alone ON spans (span_id)")
    with caplog.at_level(logging.WARNING):
        exporter.send(serialized([whole_trace()]))
    assert any("spans has a new unique constraint" in record.getMessage() for record in caplog.records)


def test_a_wrong_configuration_is_known_before_there_is_a_process():
    with pytest.raises(ConfigError):
        ExporterProcess(1, {}, tracking_uri="", experiment="x")


PARENT = """
import sys
import time
from spanbridge.collector.exporters.mlflow.database.writer_process import ExporterProcess
from tests.samples.mlflow_traces import whole_trace
from tests.samples.traces import serialized
exporter = ExporterProcess(2, {}, tracking_uri=sys.argv[1], experiment="apart")
print("starts", flush=True)
exporter.send(serialized([whole_trace()]))
print(*exporter._pool._processes, flush=True)
sys.stdin.read()
exporter.close()
"""


@contextlib.contextmanager
def program(uri: str, folder: Path = ROOT) -> Iterator[subprocess.Popen[str]]:
    """A program of its own that has sent a trace, and says what its writers are."""
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    with subprocess.Popen(
        [sys.executable, "-P", "-c", PARENT, uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        text=True,
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "starts\n"
        yield running
        running.kill()


def descendants(process: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    children = Path(f"/proc/{process}/task/{process}/children")
    found = list(map(int, children.read_text().split())) if children.exists() else []
    return found + [each for child in found for each in descendants(child)]


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to look at")
def test_nothing_outlives_the_program(uri: str):
    with program(uri) as running:
        assert running.stdout is not None
        first = running.stdout.readline().split()
        children = descendants(running.pid)
        assert {*map(int, first)} < {*children}
        running.kill()
        until_sync(lambda: all(map(gone, children)), what="the end of all that it has started")


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to look at")
def test_they_end_in_silence_when_the_program_is_killed_as_it_starts_them(uri: str):
    with program(uri) as running:
        until_sync(lambda: descendants(running.pid), what="the first process")
        children = descendants(running.pid)
        running.kill()
        until_sync(lambda: all(map(gone, children)), what="the end of all that it has started")
        said = running.stderr.read() if running.stderr else ""
    assert "Traceback" not in said


def test_what_a_terminal_or_a_service_manager_sends_to_all_ends_no_writer(exporter: ExporterProcess, uri: str):
    first, second = whole_trace(), whole_trace()
    exporter.send(serialized([first]))
    before = writers(exporter)
    for process in before:
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)
        assert os.getsid(process) != os.getsid(0)
    assert exporter.send(serialized([second])) == 0
    assert {*before} <= {*writers(exporter)}


def test_a_working_directory_with_packages_of_our_names_is_not_looked_at(uri: str, tmp_path: Path):
    for name in ("collector", "processors", "mlflow", "spanbridge", "numpy", "logging"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('somebody else')")
    with program(uri, tmp_path) as running:
        assert running.stdout is not None
        assert running.stdout.readline().split(), running.stderr and running.stderr.read()
    assert len(span_ids(uri, "apart")) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc to look at")
def test_writers_share_the_memory_of_what_they_import(uri: str):
    """The private memory of a writer is a fraction of what an interpreter with mlflow takes, which is 250 MB."""

    def private(process: int) -> int:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
        return (sizes["Private_Dirty"] + sizes["Private_Clean"]) // 1024

    with program(uri) as running:
        assert running.stdout is not None
        assert all(private(int(process)) < 100 for process in running.stdout.readline().split())


def test_where_nothing_may_be_forked_writers_are_spawned(uri: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(writer_process, "_START_METHOD", "spawn")
    sent = whole_trace()
    exporter = ExporterProcess(1, {}, tracking_uri=uri, experiment="apart")
    assert exporter.send(serialized([sent])) == 0
    exporter.close()
    assert set(span_ids(uri, "apart")) == ids(sent)
