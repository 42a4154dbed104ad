"""The image, as far as it goes without an engine: its file is linted, and its steps are carried out and tried."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import yaml

from tests.deploy.support.chart import render
from tests.deploy.support.dockerfile import Build, clean_environment, parse
from tests.deploy.support.gateway import LOOPBACK, gateway_config
from tests.deploy.support.tools import ROOT, run
from tests.polling import until_sync
from tests.samples.sender import Sender
from tests.samples.spans import trace_batch
from tests.servers.mlflow_servers import mlflow_server
from tests.servers.program import POOL, Ports

DOCKERFILE = ROOT / "deploy/Dockerfile"


def test_lint():
    run("hadolint", DOCKERFILE)


def test_only_what_is_copied_is_sent_to_the_engine():
    allowed = [
        line.removeprefix("!") for line in Path(f"{DOCKERFILE}.dockerignore").read_text().split() if line[0] == "!"
    ]
    instructions = [i for stage in parse(DOCKERFILE.read_text()).values() for i in stage.instructions]
    copied = {
        part for name, text in instructions if name == "COPY" and "--from" not in text for part in text.split()[:-1]
    }
    assert copied == set(allowed)


def test_user_and_ports_are_those_of_the_chart():
    runtime = dict(parse(DOCKERFILE.read_text())["runtime"].instructions)
    pod = next(item for item in render() if item["kind"] == "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    context = container["securityContext"]
    assert runtime["USER"] == f"{context['runAsUser']}:{context['runAsGroup']}"
    assert {int(port) for port in runtime["EXPOSE"].split()} == {port["containerPort"] for port in container["ports"]}


@pytest.fixture(scope="module")
def images():
    """Builds a target once."""
    made: dict[str, Build] = {}
    with contextlib.ExitStack() as stack:

        def build(target):
            if target not in made:
                made[target] = Build(parse(DOCKERFILE.read_text()), ROOT, stack.enter_context(open_folder()))
                made[target].build(target)
            return made[target]

        yield build


@contextlib.contextmanager
def open_folder():
    """A folder that other users may look into; pytest closes its own to them."""
    with tempfile.TemporaryDirectory(prefix="spanbridge-image-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def volume():
    with open_folder() as folder:
        yield folder


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def reachable(folder):
    """Commands that open the way to a folder for all users, as in an image; root's own folder may be closed to them."""
    closed = [parent for parent in Path(folder).parents if not parent.stat().st_mode & stat.S_IXOTH]
    if not closed:
        return ""
    return (
        f"mount --bind {folder} /mnt && mount -t tmpfs -o mode=755 tmpfs {closed[-1]} && mkdir -p {folder}"
        f" && mount --move /mnt {folder} && "
    )


class Container:
    """The entry point of an image under a configuration: by its user, with nothing to write to but `volume`."""

    def __init__(self, image, config, volume, ports):
        self.ports = ports
        self._log = volume / "log"
        (volume / "config.yaml").write_text(yaml.safe_dump(config))
        program = f"{image.place('/opt/spanbridge')}/bin/spanbridge --config={volume}/config.yaml"
        command = ["bash", "-c", f"exec {program}"]
        if os.geteuid() == 0:
            shutil.chown(volume, 10001, 10001)
            mounts = f"{reachable(sys.base_prefix)}mount --bind {volume} {volume} && mount -o remount,bind,ro /"
            user = f"setpriv --reuid 10001 --regid 10001 --clear-groups {program}"
            command = ["unshare", "--mount", "bash", "-c", f"{mounts} && cd {volume} && exec {user}"]
        env = clean_environment() | image.environment | LOOPBACK
        env |= {"PATH": os.environ["PATH"], "HOME": str(volume), "TMPDIR": str(volume)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, env=env, cwd=volume, stdout=log, stderr=log)

    def __enter__(self):
        until_sync(self.ready, what="the image's program")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(30)

    def ready(self):
        assert self.process.poll() is None, self.log()
        with contextlib.suppress(Exception):
            return POOL.request("GET", f"http://127.0.0.1:{self.ports.health}/readyz").status == 200
        return False

    def log(self):
        return self._log.read_text()

    def rss(self):
        """MiB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_sidecar_has_no_mlflow_is_small_and_delivers(images, volume, tmp_path, record_property):
    image = images("sidecar")
    installed = image.place("/opt/spanbridge")
    assert not list(installed.glob("lib/python*/site-packages/mlflow*"))
    assert not list(installed.glob("lib/python*/site-packages/pip*"))
    ports = Ports()
    with mlflow_server(tmp_path) as uri:
        config = gateway_config(ports, volume, uri)
        with Container(image, config, volume, ports) as container:
            idle = container.rss()
            Sender(ports.grpc).send_all([trace_batch(size=4) for _ in range(5)])
            until_sync(lambda: sent(ports) == 20, what="20 spans in MLflow")
            assert "ERROR" not in container.log()
    megabytes = size(installed) / 1e6
    record_property("installed_mb", round(megabytes))
    record_property("idle_rss_mib", round(idle))
    print(f"\nsidecar: {megabytes:.0f} MB installed, {idle:.0f} MiB resident when idle")
    assert megabytes < 120
    assert idle < 100


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_full_writes_to_a_database(images, volume):
    image = images("full")
    ports = Ports()
    config = gateway_config(ports, volume, f"sqlite:///{volume}/mlflow.db")
    with Container(image, config, volume, ports) as container:
        Sender(ports.grpc).send_all([trace_batch(size=4) for _ in range(5)])
        until_sync(lambda: sent(ports) == 20, what="20 spans in MLflow")
        print(
            f"\nfull: {size(image.place('/opt/spanbridge')) / 1e6:.0f} MB installed, {container.rss():.0f} MiB resident"
        )
    for module in ("psycopg2", "pymysql"):
        subprocess.run([image.place("/opt/spanbridge") / "bin/python", "-c", f"import {module}"], check=True)


def sent(ports):
    text = POOL.request("GET", f"http://127.0.0.1:{ports.metrics}/metrics").data.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("otelcol_exporter_sent_spans{"))
