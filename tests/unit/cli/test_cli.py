"""The command line: what it prints, its exit codes, and how little it imports."""

import json
import subprocess
import sys

import pytest
import yaml

from spanbridge.collector.cli import main as cli
from tests.paths import DATA

CONFIGS = DATA / "config"
MINIMAL = str(CONFIGS / "good" / "minimal.yaml")
ROOT = CONFIGS.parent.parent.parent


def test_a_good_configuration(capsys):
    assert cli.main(["validate", "--config", MINIMAL]) == 0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("warning: service::pipelines::traces: keeps what it acknowledged in memory")
    assert err.count("\n") == 1


def test_each_problem_is_a_line(capsys):
    assert cli.main(["validate", "--config", str(CONFIGS / "bad" / "unknown_component.yaml")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[0] == 'error: receivers::jaeger: unknown receiver type "jaeger"; known are otlp'


def test_several_configurations_and_overrides(capsys):
    sources = ["--config", str(CONFIGS / "merge" / "first.yaml"), "--config", str(CONFIGS / "merge" / "second.yaml")]
    assert cli.main(["validate", *sources, "--set", "exporters.debug.verbosity=loud"]) == 2
    assert capsys.readouterr().err == "error: exporters::debug::verbosity: must be 'basic', 'normal' or 'detailed'\n"


@pytest.mark.parametrize("arguments", [[], ["validate"]])
def test_no_configuration(capsys, arguments):
    assert cli.main(arguments) == 2
    message = "error: no configuration is given; use --config FILE, or start with `spanbridge up`\n"
    assert capsys.readouterr().err == message


def test_feature_gates_are_ignored_with_a_warning(capsys):
    assert cli.main(["validate", "--config", MINIMAL, "--feature-gates", "a,-b"]) == 0
    assert "warning: --feature-gates: there are none here; ignored\n" in capsys.readouterr().err


def test_components(capsys):
    assert cli.main(["components"]) == 0
    assert set(yaml.safe_load(capsys.readouterr().out)) == {"receivers", "processors", "exporters", "extensions"}


def test_schema(capsys):
    assert cli.main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out)["title"] == "spanbridge configuration"


@pytest.mark.parametrize(("arguments", "begins"), [(["--version"], "spanbridge "), (["--help"], "usage: spanbridge ")])
def test_version_and_help(capsys, arguments, begins):
    with pytest.raises(SystemExit, match="0"):
        cli.main(arguments)
    assert capsys.readouterr().out.startswith(begins)


def test_the_help_names_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main(["--help"])
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in cli.COMMANDS)


@pytest.mark.parametrize("arguments", [["valdate"], ["--conf", MINIMAL], ["validate", "--frobnicate"]])
def test_a_wrong_command_line(capsys, arguments):
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert "usage: spanbridge" in capsys.readouterr().err


def test_a_module_that_is_not_there_is_a_sentence(capsys, monkeypatch):
    monkeypatch.setitem(cli.COMMANDS, "extra", cli.Command("spanbridge.no_such_module:main", "needs an extra"))
    assert cli.main(["extra"]) == 1
    assert capsys.readouterr().err == "error: this installation lacks the module spanbridge.no_such_module\n"


def test_interrupted(monkeypatch):
    def interrupt(_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "validate", interrupt)
    assert cli.main(["validate"]) == 130


def imported(code: str) -> set[str]:
    """The modules a fresh interpreter has after `code`."""
    script = f"import sys\n{code}\nsys.stdout.write(' '.join(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_command_itself_is_light():
    dear = {"grpc", "mlflow", "pydantic", "google.protobuf", "yaml"}
    assert not imported("import spanbridge.collector.cli.main") & dear


def test_checking_a_configuration_needs_neither_grpc_nor_mlflow():
    modules = imported(
        f"from spanbridge.collector.cli.main import main\nassert main(['validate', '--config', {MINIMAL!r}]) == 0"
    )
    assert not modules & {"grpc", "mlflow", "uvicorn", "sqlalchemy"}
    assert "spanbridge.collector.config.loading" in modules


def test_a_reader_that_goes_away_is_no_traceback():
    command = f"{sys.executable} -m spanbridge.collector.cli.main schema | head -c 10"
    run = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert len(run.stdout) == 10
    assert run.stderr == ""
