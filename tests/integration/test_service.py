"""What a person meets who starts the program wrongly: one clear sentence, before anything is opened for good."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest

from spanbridge.collector.cli.up import configuration as built_in
from spanbridge.collector.config.loading import load
from spanbridge.collector.journal import DeadLetter, Settlement
from spanbridge.collector.journal.sqlite.journal import SqliteJournal
from spanbridge.collector.service.run import ONE_SIGNAL
from spanbridge.processors.types import Context
from tests.paths import ROOT
from tests.polling import until_sync
from tests.samples.sender import Sender
from tests.samples.spans import trace_batch
from tests.servers.ports import free_port
from tests.servers.program import Ports, Program, configuration


def spanbridge(*arguments, **env):
    command = [sys.executable, "-m", "spanbridge", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False
    )


def started(config, tmp_path):
    """The only line a failing start leaves, without the warnings."""
    file = Program(config, tmp_path, Ports()).config
    done = spanbridge("--config", str(file))
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "Traceback" not in done.stderr
    return done.returncode, errors


def test_a_port_that_is_taken(tmp_path):
    ports = Ports()
    config = configuration(ports, tmp_path, {"tracking_uri": "http://127.0.0.1:1"})
    with Program(config, tmp_path, ports):
        other = configuration(Ports(grpc=ports.grpc), tmp_path / "2", {"tracking_uri": "http://127.0.0.1:1"})
        code, errors = started(other, tmp_path)
    assert code == 2
    assert len(errors) == 1
    assert f"receivers::otlp::protocols::grpc::endpoint: can't listen on 127.0.0.1:{ports.grpc}" in errors[0]


def test_two_programs_on_one_journal(tmp_path):
    ports = Ports()
    config = configuration(ports, tmp_path, {"tracking_uri": "http://127.0.0.1:1"})
    with Program(config, tmp_path, ports):
        code, errors = started(configuration(Ports(), tmp_path, {"tracking_uri": "http://127.0.0.1:1"}), tmp_path)
    assert code == 2
    assert len(errors) == 1
    assert "traces.journal" in errors[0]


def test_a_directory_that_is_not_there(tmp_path):
    config = configuration(Ports(), tmp_path, {"tracking_uri": "http://127.0.0.1:1"})
    config["extensions"]["file_storage"]["create_directory"] = False
    code, errors = started(config, tmp_path)
    assert (code, len(errors)) == (2, 1)
    assert "must exist; make it, or set create_directory: true" in errors[0]


def test_the_built_in_configuration_is_right(tmp_path):
    config = load([f"yaml:{built_in(tmp_path)}"], env={})
    assert config.warnings == ()
    assert set(config.pipelines) == {"traces", "logs"}


def test_check_names_the_fault(tmp_path):
    done = spanbridge("check", "--tracking-uri", "http://127.0.0.1:1")
    assert (done.returncode, done.stdout.count("FAULT")) == (1, 1)
    assert "http://127.0.0.1:1 can't be reached" in done.stdout
    done = spanbridge("check", "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db", MLFLOW_DISABLE_TELEMETRY="true")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "traces can be written" in done.stdout


@pytest.fixture
def journal(tmp_path):
    path = tmp_path / "traces.journal"

    async def fill():
        async with SqliteJournal(path) as journal:
            aside = DeadLetter(trace_batch(size=2).SerializeToString(), Context(), "mlflow", "no\x1b[2J <b>good</b>")
            await journal.settle(Settlement(dead_letters=[aside]))

    asyncio.run(fill())
    return path


def test_what_was_set_aside_is_listed_retried_and_dropped(journal):
    listed = spanbridge("journal", "ls", "--journal", str(journal)).stdout
    assert "1 set aside" in listed
    assert "2 span(s)" in listed
    assert "\x1b" not in listed
    assert "1 due again" in spanbridge("journal", "retry", "--journal", str(journal)).stdout
    assert "0 set aside" in spanbridge("journal", "ls", "--journal", str(journal)).stdout
    assert "0 dropped" in spanbridge("journal", "drop", "--journal", str(journal)).stdout
    missing = spanbridge("journal", "ls", "--journal", str(journal.with_name("nothing")))
    assert missing.returncode == 2
    assert missing.stderr.startswith("error:")


def test_a_signal_that_is_passed_on_twice_is_one_and_a_later_one_ends_the_wait(tmp_path):
    """MLflow is away and one trace waits, so that shutting down would take `shutdown_timeout`."""
    ports = Ports()
    config = configuration(ports, tmp_path, {"tracking_uri": "http://127.0.0.1:1"})
    config["service"]["shutdown_timeout"] = "60s"
    with Program(config, tmp_path, ports) as program:
        Sender(ports.grpc).send_all([trace_batch()])
        until_sync(lambda: program.metric("spanbridge_delivery_retries") > 0, what="a vain try")
        program.process.send_signal(signal.SIGTERM)
        program.process.send_signal(signal.SIGTERM)
        until_sync(lambda: "shutting down" in program.tail(), what="the beginning of the end")
        with pytest.raises(subprocess.TimeoutExpired):
            program.process.wait(ONE_SIGNAL + 0.5)
        program.process.send_signal(signal.SIGTERM)
        assert program.process.wait(20) == 1


def test_the_ui_ends_with_the_program(tmp_path):
    """Its server is a process group of its own, that nothing but the program knows of."""
    port = free_port()
    done = subprocess.run(
        [sys.executable, "-c", UI.format(data=str(tmp_path), port=port)],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    group = int(done.stdout)
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


UI = """
import asyncio, os, pathlib
from spanbridge.collector.cli import up
up.UI_PORT = {port}

async def main():
    async with up.mlflow_ui(pathlib.Path({data!r})) as process:
        print(process.pid)

asyncio.run(main())
"""
