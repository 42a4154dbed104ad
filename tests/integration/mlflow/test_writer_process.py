"""The exporter in a process of its own: the same answers, and nothing lost or left behind when either process ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from spanbridge.collector.errors import ConfigError, Held, Retryable
from spanbridge.collector.exporters.build import build_exporter
from spanbridge.collector.exporters.mlflow.config import MlflowExporterConfig
from spanbridge.collector.exporters.mlflow.database import writer_process
from spanbridge.collector.exporters.mlflow.database.writer_process import ExporterProcess
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


def pid(exporter: ExporterProcess) -> int:
    assert exporter._child is not None
    return exporter._child.process.pid


def ids(*traces: Trace) -> set[tuple[str, str]]:
    return {
        (span.trace_id.hex(), span.span_id.hex())
        for trace in traces
        for resource in trace.batch.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    }


def test_databases_are_written_by_a_process_of_their_own(uri: str):
    exporter = build_exporter(MlflowExporterConfig(tracking_uri=uri), {})
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
    before, child = pid(exporter), exporter._child
    assert child is not None
    child.process.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        sending = thread.submit(exporter.send, serialized([second]))
        until_sync(lambda: child._free.qsize() == 1, what="the send")
        child.process.kill()
        with pytest.raises(Retryable, match="has ended"):
            sending.result()
    child.process.wait()
    assert exporter.send(serialized([second])) == 0
    assert pid(exporter) != before
    assert sorted(span_ids(uri, "apart")) == sorted(ids(first, second))


def writers(exporter: ExporterProcess) -> list[int]:
    first = pid(exporter)
    return [first, *map(int, Path(f"/proc/{first}/task/{first}/children").read_text().split())]


def gone(process: int) -> bool:
    stat = Path(f"/proc/{process}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


def sent_at_last(exporter: ExporterProcess, trace: Trace) -> None:
    def sent() -> bool:
        with contextlib.suppress(Retryable):
            return exporter.send(serialized([trace])) == 0
        return False

    until_sync(sent, what="a send")


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="a writer has a processor to itself, and here is one")
def test_four_lines_have_two_writers_and_when_one_dies_both_are_started_again(uri: str):
    exporter = ExporterProcess(4, {}, tracking_uri=uri, experiment="apart")
    sent = [whole_trace() for _ in range(8)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(sent_at_last, [exporter] * 4, sent[:4]))
        before = writers(exporter)
        os.kill(before[1], signal.SIGKILL)
        list(threads.map(sent_at_last, [exporter] * 4, sent[4:]))
    after = writers(exporter)
    exporter.close()
    assert (len(before), len(after)) == (2, 2)
    until_sync(lambda: all(map(gone, before + after)), what="the end of all writers")
    assert sorted(span_ids(uri, "apart")) == sorted(ids(*sent))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) == 1, reason="a writer has a processor to itself, and here is one")
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


def test_log_lines_come_across(
    exporter: ExporterProcess, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MLFLOW_SQL_TRACE_ROLLUPS_ENABLED", "true")
    with caplog.at_level(logging.WARNING):
        exporter.send(serialized([whole_trace()]))
    assert any("MLFLOW_SQL_TRACE_ROLLUPS_ENABLED" in record.getMessage() for record in caplog.records)


def test_a_wrong_configuration_is_known_before_there_is_a_process():
    with pytest.raises(ConfigError):
        ExporterProcess(1, {}, tracking_uri="", experiment="x")


PARENT = """
import os, sys
from spanbridge.collector.exporters.mlflow.database import writer_process
from spanbridge.collector.exporters.mlflow.database.writer_process import ExporterProcess
from tests.samples.mlflow_traces import whole_trace
from tests.samples.traces import serialized
exporter = ExporterProcess(2, {}, tracking_uri=sys.argv[1], experiment="apart")
exporter.send(serialized([whole_trace()]))
print(exporter._child.process.pid, flush=True)
sys.stdin.read()
"""


def test_it_does_not_outlive_the_program(uri: str):
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, uri],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    child = int(parent.stdout.readline())
    assert not gone(child)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    parent.stdin.close()
    until_sync(lambda: gone(child), what="the end of the child")


def test_it_ends_in_silence_when_the_program_is_killed_as_it_starts_it():
    ours, of_child = socket.socketpair()
    ours.close()
    started = subprocess.run(
        [
            sys.executable,
            "-m",
            writer_process.__name__,
            "30",
            str(of_child.fileno()),
        ],
        pass_fds=[of_child.fileno()],
        capture_output=True,
        check=False,
        cwd=ROOT,
    )
    of_child.close()
    assert (started.returncode, started.stdout, started.stderr) == (0, b"", b"")
