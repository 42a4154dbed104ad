"""spanbridge and spanbridge-sidecar: one source, two lists of dependencies, and wheels that hold the same."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile

import pytest

from tests.deploy.support.dockerfile import clean_environment
from tests.deploy.support.tools import ROOT
from tests.polling import until_sync
from tests.samples.sender import Sender
from tests.samples.spans import trace_batch
from tests.servers.mlflow_servers import mlflow_server
from tests.servers.program import POOL, Ports, Program, configuration

SIDECAR = ROOT / "deploy/sidecar"
NOT_IN_A_SIDECAR = {"mlflow", "opentelemetry-exporter-otlp"}
"""mlflow, and the exporters of the SDK, which the quick start sends with."""
SAME_IN_BOTH = ("requires-python", "license", "license-files", "classifiers", "scripts")


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text())["project"]


def test_the_sidecar_depends_on_what_the_project_does_but_for_mlflow():
    full, sidecar = project(ROOT)["dependencies"], project(SIDECAR)["dependencies"]
    assert set(sidecar) <= set(full)
    assert {re.match(r"[\w-]+", dependency)[0] for dependency in set(full) - set(sidecar)} == NOT_IN_A_SIDECAR


@pytest.mark.parametrize("key", SAME_IN_BOTH)
def test_both_say_the_same_of_themselves(key):
    assert project(SIDECAR)[key] == project(ROOT)[key]


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """The wheels of both, by the name of the distribution."""
    folder = tmp_path_factory.mktemp("wheels")
    pip("wheel", "--no-deps", "--wheel-dir", folder, ROOT, SIDECAR)
    return {file.name.split("-")[0]: file for file in folder.glob("*.whl")}


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def of_package(wheel):
    """Names and contents of the files that are no metadata."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if ".dist-info/" not in name}


def tracked():
    """The files of the source, by their names in a wheel."""
    files = subprocess.run(
        ["git", "ls-files", "--", "collector", "processors", "src/spanbridge"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    return {
        f"spanbridge/{file.removeprefix('src/spanbridge/')}"
        for file in files
        if not (ROOT / file).is_symlink() and (ROOT / file).is_file()
    }


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("git") or not (ROOT / ".git").exists(), reason="no repository to compare with")
def test_both_wheels_hold_the_source_and_nothing_else(wheels):
    full, sidecar = of_package(wheels["spanbridge"]), of_package(wheels["spanbridge_sidecar"])
    assert full == sidecar
    assert set(full) == tracked()


@pytest.mark.slow
def test_a_wheel_made_of_the_source_distribution_is_the_same(wheels, tmp_path):
    """Whoever publishes makes the one of the other, and a link that is lost on the way is a program that is lost."""
    source = subprocess.run(
        [sys.executable, "-c", SDIST, tmp_path], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    pip("wheel", "--no-deps", "--wheel-dir", tmp_path, tmp_path / source)
    (wheel,) = tmp_path.glob("*.whl")
    assert of_package(wheel) == of_package(wheels["spanbridge"])


SDIST = "import sys; from hatchling.build import build_sdist; print(build_sdist(sys.argv[1]))"


@pytest.mark.slow
def test_both_wheels_have_the_license_and_the_version(wheels):
    for name, wheel in wheels.items():
        with zipfile.ZipFile(wheel) as archive:
            metadata = f"{name}-{project(ROOT)['version']}.dist-info"
            assert archive.read(f"{metadata}/licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
            assert "License-Expression: Apache-2.0" in archive.read(f"{metadata}/METADATA").decode()


@pytest.fixture(scope="module")
def sidecar(wheels, tmp_path_factory):
    """The folder of an environment in which the sidecar alone is installed."""
    folder = tmp_path_factory.mktemp("sidecar") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], env=clean_environment(), check=True)
    constraints = ROOT / "constraints.txt"
    pip("--python", folder / "bin/python", "install", "--constraint", constraints, wheels["spanbridge_sidecar"])
    return folder


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sidecar_has_few_packages(sidecar):
    metadata = sidecar.glob("lib/python*/site-packages/*.dist-info")
    installed = {folder.name.partition("-")[0].lower() for folder in metadata}
    print(f"\n{len(installed)} packages")
    assert "spanbridge_sidecar" in installed
    assert not installed & {"mlflow", "mlflow_skinny", "pandas", "sqlalchemy"}
    assert len(installed) <= 30


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "command",
    [["up", "--no-ui"], ["check", "--tracking-uri", "sqlite:///mlflow.db"], ["check", "--tracking-uri", "databricks"]],
)
def test_what_needs_mlflow_says_what_to_install(sidecar, tmp_path, command):
    done = subprocess.run(
        [sidecar / "bin/spanbridge", *command],
        env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode
    (sentence,) = (done.stdout + done.stderr).splitlines()
    assert "needs MLflow" in sentence
    assert sentence.endswith("pip install spanbridge")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_packages_of_common_names_are_the_users_own(sidecar, tmp_path):
    """Of the working directory, which `-c` and `-m` look into first."""
    for name in ("collector", "processors"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"whose = 'the user'; print('{name}', end=' ')")
    program = "import collector, processors, spanbridge; spanbridge.MlflowSpanExporter; print(processors.whose)"
    for arguments, said in (
        (["-c", program], "collector processors the user\n"),
        (["-m", "spanbridge", "--help"], "usage"),
    ):
        done = subprocess.run(
            [sidecar / "bin/python", *arguments],
            env=clean_environment(), cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        assert done.stdout.startswith(said)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_sidecar_delivers_to_a_server(sidecar, tmp_path, monkeypatch):
    monkeypatch.setenv("SPANBRIDGE_TEST_PYTHON", os.fspath(sidecar / "bin/python"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    ports = Ports()
    with mlflow_server(tmp_path) as uri:
        config = configuration(ports, tmp_path, {"tracking_uri": uri}, processors={"genai": {}, "groupbytrace": {}})
        with Program(config, tmp_path, ports):
            Sender(ports.grpc).send_all([trace_batch(size=4) for _ in range(5)])
            until_sync(lambda: delivered(ports) == 20, what="20 spans in MLflow")


def delivered(ports):
    text = POOL.request("GET", f"http://127.0.0.1:{ports.metrics}/metrics").data.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("otelcol_exporter_sent_spans"))
