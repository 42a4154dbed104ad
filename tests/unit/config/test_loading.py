"""Whole configurations: what is accepted and what it becomes, what is refused and in which words, what is warned of."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.config.loading import Config, load
from spanbridge.collector.config.pipelines import JournalConfig
from spanbridge.collector.config.service import MetricsEndpoint
from spanbridge.collector.config.sources import parse
from spanbridge.collector.errors import ConfigError
from spanbridge.collector.exporters.config import DEFAULT_JOURNAL_BYTES
from tests.paths import DATA

CONFIGS = DATA / "config"
GOOD = sorted((CONFIGS / "good").glob("*.yaml"))
ENV = {"MLFLOW_PASSWORD": "secret-1", "TOKEN": "secret-2"}

ONLY_DEBUG = "yaml:{receivers: {otlp: {protocols: {grpc: }}}, exporters: {debug: }}"
ONE_PIPELINE = "yaml:service::pipelines::traces: {receivers: [otlp], exporters: [debug]}"
IN_MEMORY = (
    "keeps what it acknowledged in memory, so that it is lost when the process dies; set sending_queue::storage of an "
    "exporter to a file_storage extension to keep it on disk"
)
ADDED = "names neither groupbytrace nor tail_sampling, but MLflow needs whole traces; groupbytrace is added at the end"


def good(name: str, env: dict[str, str] = ENV) -> Config:
    return load([str(CONFIGS / "good" / f"{name}.yaml")], env=env)


def problems(*sources: str, overrides: tuple[str, ...] = (), env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(sources, overrides, env=env or {})
    return list(caught.value.problems)


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_good_files_load(file):
    assert load([str(file)], env=ENV).pipelines


def test_minimal():
    config = good("minimal")
    assert list(config.receivers) == ["otlp"]
    grpc = config.receivers["otlp"].protocols.grpc
    assert grpc.endpoint == "localhost:4317"
    assert config.receivers["otlp"].protocols.http is None
    pipeline = config.pipelines["traces"]
    assert (pipeline.signal, pipeline.receivers, pipeline.processors, pipeline.exporters) == (
        "traces",
        ("otlp",),
        (),
        ("debug",),
    )
    assert pipeline.journal == JournalConfig("", DEFAULT_JOURNAL_BYTES)
    assert config.service.telemetry.metrics.endpoint == MetricsEndpoint("localhost", 8888, total_suffix=False)
    assert config.warnings == (f"service::pipelines::traces: {IN_MEMORY}",)


@pytest.mark.parametrize("name", ["only_http_null", "only_http_empty_map"])
def test_one_protocol_that_is_empty_is_enabled(name):
    protocols = good(name).receivers["otlp"].protocols
    assert protocols.grpc is None
    assert protocols.http.endpoint == "localhost:4318"


def test_unix_sockets():
    protocols = good("uds").receivers["otlp"].protocols
    assert (protocols.grpc.transport, protocols.grpc.endpoint) == ("unix", "/run/spanbridge/grpc.sock")


def test_null_and_nothing_mean_the_defaults():
    config = good("null_everywhere")
    plain = load(
        [
            "yaml:{receivers: {otlp: {protocols: {grpc: , http: }}}, processors: {batch: , groupbytrace: }}",
            "yaml:exporters::mlflow: {tracking_uri: 'http://localhost:5000'}",
            "yaml:service::pipelines::traces: {receivers: [otlp], exporters: [mlflow]}",
            "yaml:service::pipelines::traces::processors: [batch, groupbytrace]",
        ],
        env={},
    )
    assert config.receivers == plain.receivers
    assert config.processors == plain.processors
    assert config.exporters == plain.exporters
    assert config.service == plain.service
    assert config.pipelines == plain.pipelines


def test_old_names_are_accepted_as_they_are_written():
    config = good("old_names")
    assert config.exporters["otlp"].target == "gateway:4317"
    assert config.exporters["otlphttp/backup"].endpoint == "https://backup.example.com"
    assert config.exporters["logging"].verbosity == "detailed"
    assert config.extensions["healthcheckv2"].listen == "localhost:13133"
    assert config.extensions["healthcheckv2"].status_path == "/status"
    assert config.service.telemetry.metrics.endpoint == MetricsEndpoint("0.0.0.0", 8889, total_suffix=False)


def test_everything():
    config = good("full")
    mlflow = config.exporters["mlflow"]
    assert (mlflow.timeout, mlflow.retry_on_failure.initial_interval, mlflow.experiment) == (
        60.0,
        0.5,
        "team/{service.name}",
    )
    assert mlflow.password.get_secret_value() == "secret-1"
    assert config.exporters["mlflow/local"].experiment_id == "7"
    assert config.exporters["otlp_grpc"].headers["authorization"].get_secret_value() == "Bearer secret-2"
    assert config.receivers["otlp"].protocols.http.traces_url_path == "/otlp/v1/traces"
    assert config.processors["groupbytrace"].wait_duration == 90.0
    assert config.extensions["file_storage/local"].mode == 0o700
    assert config.service.telemetry.metrics.endpoint == MetricsEndpoint("0.0.0.0", 9090, total_suffix=True)
    assert config.service.telemetry.logs.level == "debug"
    assert {id_: (p.signal, p.journal) for id_, p in config.pipelines.items()} == {
        # the larger bound of the two exporters of the pipeline counts
        "traces": ("traces", JournalConfig("file_storage", DEFAULT_JOURNAL_BYTES)),
        "traces/local": ("traces", JournalConfig("file_storage/local", DEFAULT_JOURNAL_BYTES)),
        "traces/forward": ("traces", JournalConfig("", DEFAULT_JOURNAL_BYTES)),
        # log records go into the journal of the spans that they are joined to
        "logs": ("logs", JournalConfig("file_storage/local", DEFAULT_JOURNAL_BYTES)),
    }
    assert config.warnings == (f"service::pipelines::traces/forward: {IN_MEMORY}",)


def test_secrets_are_never_shown():
    shown = repr(good("full"))
    assert "secret-1" not in shown
    assert "secret-2" not in shown


def test_nothing_of_a_config_can_be_changed():
    config = good("full")
    with pytest.raises(TypeError):
        config.exporters["other"] = config.exporters["mlflow"]
    with pytest.raises(AttributeError):
        config.warnings = ()


def test_references_are_resolved():
    config = good("substituted", {"PORT": "9999", "CREATE": "true", "NUMERIC_TOKEN": "0123"})
    grpc = config.receivers["otlp"].protocols.grpc
    assert (grpc.endpoint, grpc.max_recv_msg_size_mib) == ("localhost:9999", 32)
    mlflow = config.exporters["mlflow"]
    assert mlflow.create_experiments is True
    assert mlflow.token.get_secret_value() == "0123"
    assert mlflow.experiment == "cost $99"
    assert config.pipelines["traces"].receivers == ("otlp",)


def test_a_pipeline_into_mlflow_gets_a_groupbytrace():
    config = good("substituted")
    assert config.pipelines["traces"].processors == ("batch", "groupbytrace")
    assert config.processors["groupbytrace"].wait_duration == 30.0
    assert f"service::pipelines::traces::processors: {ADDED}" in config.warnings


def test_the_groupbytrace_of_the_file_is_the_one_that_is_added():
    config = load([str(CONFIGS / "good" / "substituted.yaml")], ["processors.groupbytrace.wait_duration=1m"], env={})
    assert config.processors["groupbytrace"].wait_duration == 60.0


def test_other_pipelines_get_none():
    assert good("minimal").processors == {}
    assert good("full").pipelines["logs"].processors == ()


@pytest.mark.parametrize("file", sorted((CONFIGS / "good").glob("*.warnings")), ids=lambda file: file.stem)
def test_warnings_are_those_beside_the_file(file):
    assert sorted(good(file.stem).warnings) == sorted(file.read_text().splitlines())


def test_a_variable_that_is_not_set_reads_as_empty_and_is_told():
    config = load([ONLY_DEBUG, ONE_PIPELINE], ["receivers.otlp.protocols.grpc.endpoint=${env:HOST}:4317"], env={})
    assert config.receivers["otlp"].protocols.grpc.endpoint == ":4317"
    assert (
        "receivers::otlp::protocols::grpc::endpoint: the environment variable HOST is not set; it reads as empty"
        in config.warnings
    )


@pytest.mark.parametrize("file", sorted((CONFIGS / "bad").glob("*.yaml")), ids=lambda file: file.stem)
def test_bad_files_tell_every_problem_beside_the_file(file):
    assert sorted(problems(str(file))) == sorted(file.with_suffix(".problems").read_text().splitlines())


NO_PATH = "endpoint: a unix socket needs its path"
NOT_A_PAIR = 'is not "host:port"; write for example "localhost:4317" or "[::1]:4317"'


@pytest.mark.parametrize(
    ("key", "value", "path", "problem"),
    [
        ("receivers.otlp.protocols.grpc.endpont", "a:1", "", "unknown key; did you mean 'endpoint'?"),
        ("receivers.otlp.protocols.grpc.endpoint", "4317", "", "must be text; put it in quotes"),
        ("receivers.otlp.protocols.grpc", "{endpoint: local}", "", f"'local' {NOT_A_PAIR}"),
        ("receivers.otlp.protocols.grpc", "{transport: unix, endpoint: ''}", "", NO_PATH),
        ("receivers.otlp", "[1]", "", "must be a mapping of keys to values"),
        ("receivers.9otlp", "{}", "", 'is no component id; write a type or "type/name"'),
        ("extensions.health_check.endpoint", "a:70000", "", f"'a:70000' {NOT_A_PAIR}"),
        ("service.pipelines.traces.exporters", "debug", "", "must be a list"),
        ("service.extensions", "health_check", "", "must be a list"),
        ("service.telemetry.metrics.readers", "[null]", "service::telemetry::metrics::readers::0::pull", "is required"),
        ("service.telemetry.metrics.address", "a", "", f"'a' {NOT_A_PAIR}"),
    ],
)  # fmt: skip
def test_one_problem(key, value, path, problem):
    found = problems(ONLY_DEBUG, ONE_PIPELINE, overrides=(f"{key}={value}",))
    assert found == [f"{path or key.replace('.', '::')}: {problem}"]


def test_a_component_that_is_wrong_is_no_missing_reference_too():
    found = problems(ONLY_DEBUG, ONE_PIPELINE, overrides=("exporters.debug.verbosity=loud",))
    assert found == ["exporters::debug::verbosity: must be 'basic', 'normal' or 'detailed'"]


def test_a_value_that_may_be_secret_is_in_no_problem():
    sources = ["yaml:exporters::mlflow: {tracking_uri: 'mssql://user:hunter2@host/db', token: [hunter2]}"]
    found = problems(ONLY_DEBUG, ONE_PIPELINE, *sources, "yaml:exporters::otlp_http::endpoint: user:hunter2@host")
    assert len(found) == 3
    assert "hunter2" not in "".join(found)


def test_an_alias_that_contains_itself():
    assert problems("yaml:receivers: &a [*a]") == ["the YAML is nested too deeply, or an alias in it contains itself"]


def test_several_sources_merge():
    config = load([str(CONFIGS / "merge" / "first.yaml"), f"file:{CONFIGS / 'merge' / 'second.yaml'}"], env={})
    protocols = config.receivers["otlp"].protocols
    assert protocols.grpc.endpoint == "localhost:1"  # mappings merge
    assert protocols.http is not None
    assert config.processors["batch"].timeout == 0.2  # a null replaces what there was
    assert config.pipelines["traces"].exporters == ("debug/2", "debug")  # a list too
    assert config.pipelines["traces"].processors == ("batch",)


def test_overrides_come_last():
    first = str(CONFIGS / "merge" / "first.yaml")
    config = load([first], ["processors.batch.timeout=3s", "exporters::debug::verbosity=detailed"], env={})
    assert config.processors["batch"].timeout == 3.0
    assert config.exporters["debug"].verbosity == "detailed"


def test_the_whole_configuration_from_the_environment():
    env = {"CONFIG": (CONFIGS / "good" / "minimal.yaml").read_text()}
    assert load(["env:CONFIG"], env=env).pipelines.keys() == {"traces"}


def test_exporters_of_a_pipeline_share_the_storage_one_of_them_names():
    config = load(
        [
            ONLY_DEBUG,
            "yaml:{extensions: {file_storage: }, service: {extensions: [file_storage]}}",
            "yaml:exporters::debug/2::sending_queue: {storage: file_storage, sizer: bytes, queue_size: 1000}",
            "yaml:exporters::debug::sending_queue: {sizer: bytes, queue_size: 500}",
            "yaml:service::pipelines::traces: {receivers: [otlp], exporters: [debug, debug/2]}",
        ],
        env={},
    )
    assert config.pipelines["traces"].journal == JournalConfig("file_storage", 1000)
    assert config.warnings == ()


def test_a_queue_that_is_switched_off_keeps_nothing_on_disk():
    config = load(
        [
            ONLY_DEBUG,
            ONE_PIPELINE,
            "yaml:{extensions: {file_storage: }, service: {extensions: [file_storage]}}",
            "yaml:exporters::debug::sending_queue: {enabled: false, storage: file_storage}",
        ],
        env={},
    )
    assert config.pipelines["traces"].journal.storage == ""
    assert config.warnings == (f"service::pipelines::traces: {IN_MEMORY}",)


def test_mlflow_defaults_come_from_the_environment():
    env = {
        "MLFLOW_TRACKING_URI": "http://mlflow:5000",
        "MLFLOW_EXPERIMENT_NAME": "agents",
        "MLFLOW_TRACKING_TOKEN": "0123",
    }
    sources = [ONLY_DEBUG, "yaml:exporters::mlflow: ", "yaml:processors::groupbytrace: "]
    pipeline = "yaml:service::pipelines::traces: {receivers: [otlp], processors: [groupbytrace], exporters: [mlflow]}"
    mlflow = load([*sources, pipeline], env=env).exporters["mlflow"]
    assert (mlflow.tracking_uri, mlflow.experiment, mlflow.token.get_secret_value()) == (
        "http://mlflow:5000",
        "agents",
        "0123",
    )
    [problem] = problems(*sources, pipeline)
    assert problem.startswith("exporters::mlflow::tracking_uri: is required; set it here or in MLFLOW_TRACKING_URI")


def places(tree, path=()):
    yield path
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def replaced(tree, path, value):
    """`tree` with another value at `path`."""
    if not path:
        return value
    items = dict(tree) if isinstance(tree, dict) else list(tree)
    items[path[0]] = replaced(items[path[0]], path[1:], value)
    return items


TREES = {file.stem: parse(file.read_text()) for file in GOOD}
PLACES = [(name, path) for name, tree in TREES.items() for path in places(tree)]
ODD = [None, {}, [], "", "x", 5, -1, 1.5, True, [None], [{}], [[1]], {"a": 1}, {"": None}, 10**30, "${env:X}", "5s"]


@given(st.sampled_from(PLACES), st.sampled_from(ODD))
def test_whatever_stands_anywhere_is_accepted_or_is_a_problem(place, value):
    name, path = place
    source = yaml.safe_dump(replaced(TREES[name], path, value))
    try:
        load([f"yaml:{source}"], env={})
    except ConfigError as error:
        assert error.problems  # noqa: PT017  it may also load
