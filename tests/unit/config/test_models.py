"""The rules of single sections."""

import pytest
from pydantic import ValidationError

from spanbridge.collector.config.service import LogsConfig, MetricsConfig, MetricsEndpoint
from spanbridge.collector.exporters.config import (
    DEFAULT_JOURNAL_BYTES,
    RetryConfig,
    SendingQueueConfig,
)
from spanbridge.collector.exporters.mlflow.config import MlflowExporterConfig
from spanbridge.collector.exporters.otlp.config import OtlpGrpcExporterConfig, OtlpHttpExporterConfig
from spanbridge.collector.extensions.file_storage.config import FileStorageConfig
from spanbridge.collector.extensions.health_check.config import HealthCheckConfig
from spanbridge.collector.flow.processors.batch import BatchConfig
from spanbridge.collector.flow.processors.groupbytrace import GroupByTraceConfig
from spanbridge.collector.flow.processors.memory_limiter import MemoryLimiterConfig
from spanbridge.collector.settings import host_and_port


def refused(model, values):
    """The sentence of the first problem."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate(values)
    return caught.value.errors()[0]["msg"].removeprefix("Value error, ")


@pytest.mark.parametrize(
    ("endpoint", "pair"),
    [
        ("localhost:4317", ("localhost", 4317)),
        ("0.0.0.0:4317", ("0.0.0.0", 4317)),
        (":4317", ("", 4317)),
        ("[::1]:4317", ("::1", 4317)),
        ("[fe80::1%eth0]:0", ("fe80::1%eth0", 0)),
        ("my-host.example.com:65535", ("my-host.example.com", 65535)),
    ],
)
def test_endpoints(endpoint, pair):
    assert host_and_port(endpoint) == pair


@pytest.mark.parametrize(
    "endpoint", ["", "localhost", "localhost:", "localhost:http", "a:65536", "::1:4317", "http://a:1", "a b:1", "a:1/x"]
)
def test_no_endpoints(endpoint):
    with pytest.raises(ValueError, match='is not "host:port"; write for example'):
        host_and_port(endpoint)


@pytest.mark.parametrize(
    ("model", "values", "sentence"),
    [
        (MemoryLimiterConfig, {"limit_mib": 1}, 'check_interval must be greater than zero; write for example "1s"'),
        (
            MemoryLimiterConfig,
            {"check_interval": "1s"},
            "limit_mib or limit_percentage must be greater than zero",
        ),
        (
            MemoryLimiterConfig,
            {"check_interval": "1s", "limit_mib": 5, "spike_limit_mib": 5},
            "spike_limit_mib must be smaller than limit_mib",
        ),
        (
            MemoryLimiterConfig,
            {"check_interval": "1s", "limit_percentage": 50, "spike_limit_percentage": 60},
            "spike_limit_percentage must be smaller than limit_percentage",
        ),
        (
            MemoryLimiterConfig,
            {"check_interval": "1s", "limit_percentage": 101},
            "Input should be less than or equal to 100",
        ),
        (
            MemoryLimiterConfig,
            {"check_interval": "1s", "limit_mib": 5, "min_gc_interval_when_hard_limited": "1m"},
            "min_gc_interval_when_soft_limited must not be smaller than min_gc_interval_when_hard_limited",
        ),
        (
            BatchConfig,
            {"send_batch_size": 10, "send_batch_max_size": 9},
            "send_batch_max_size must be greater than or equal to send_batch_size",
        ),
        (
            BatchConfig,
            {"metadata_keys": ["Tenant", "tenant"]},
            'duplicate entry in metadata_keys: "tenant" (case-insensitive)',
        ),
        (
            GroupByTraceConfig,
            {"store_on_disk": True},
            "is not implemented, in the Collector neither; leave it out (the journal is on disk anyway)",
        ),
        (RetryConfig, {"max_elapsed_time": "1s"}, "max_elapsed_time must not be less than initial_interval"),
        (
            RetryConfig,
            {"initial_interval": "1s", "max_elapsed_time": "2s"},
            "max_elapsed_time must not be less than max_interval",
        ),
        (RetryConfig, {"randomization_factor": 1.1}, "Input should be less than or equal to 1"),
        (RetryConfig, {"initial_interval": 0}, "Input should be greater than 0"),
        (RetryConfig, {"multiplier": 0.9}, "Input should be greater than or equal to 1"),
        (SendingQueueConfig, {"num_consumers": 0}, "Input should be greater than 0"),
        (SendingQueueConfig, {"queue_size": 0}, "Input should be greater than 0"),
        (SendingQueueConfig, {"batch": {"flush_timeout": 0}}, "Input should be greater than 0"),
        (SendingQueueConfig, {"batch": {"sizer": "requests"}}, "Input should be 'items' or 'bytes'"),
        (
            SendingQueueConfig,
            {"batch": {"min_size": 10, "max_size": 9}},
            "max_size must be greater than or equal to min_size",
        ),
        (
            SendingQueueConfig,
            {"sizer": "bytes", "queue_size": 10, "batch": {"sizer": "bytes", "min_size": 11}},
            "batch::min_size must be less than or equal to queue_size",
        ),
        (
            SendingQueueConfig,
            {"storage": "file_storage", "wait_for_result": True},
            "wait_for_result is not supported with a persistent queue configured with storage",
        ),
        (
            OtlpGrpcExporterConfig,
            {"endpoint": ""},
            'requires a non-empty endpoint; write for example "collector:4317"',
        ),
        (
            OtlpGrpcExporterConfig,
            {"endpoint": "collector"},
            '\'collector\' is not "host:port"; write for example "localhost:4317" or "[::1]:4317"',
        ),
        (OtlpGrpcExporterConfig, {"endpoint": ":1"}, "':1' names no host; write for example \"localhost:4317\""),
        (
            OtlpGrpcExporterConfig,
            {"endpoint": "a:1", "tls": {"insecure_skip_verify": True}},
            "gRPC for Python can't skip verification; give ca_file, or set insecure for no TLS at all",
        ),
        (
            MlflowExporterConfig,
            {"tracking_uri": "databricks", "tls": {"min_version": "1.3"}},
            "min_version is not supported towards MLflow; there are ca_file, cert_file, insecure_skip_verify, key_file",
        ),
        (OtlpGrpcExporterConfig, {"endpoint": "a:1", "compression": "zstd"}, "Input should be 'gzip', 'none' or ''"),
        (
            OtlpHttpExporterConfig,
            {},
            "at least one endpoint must be specified; set endpoint or traces_endpoint",
        ),
        (
            OtlpHttpExporterConfig,
            {"endpoint": "collector:4318"},
            "must be a whole URL: http:// or https:// and a host",
        ),
        (OtlpHttpExporterConfig, {"endpoint": "http://a", "encoding": "json"}, "Input should be 'proto'"),
        (FileStorageConfig, {"directory": ""}, "String should have at least 1 character"),
        (
            FileStorageConfig,
            {"directory_permissions": "0888"},
            'must be file permissions in octal, for example "0750"',
        ),
        (HealthCheckConfig, {"use_v2": True}, "use_v2 needs http; `http: {}` listens on localhost:13133"),
        (
            HealthCheckConfig,
            {"http": {}},
            "http counts with use_v2 alone; set `use_v2: true` or use endpoint and path",
        ),
        (MetricsConfig, {"readers": []}, "readers: one is needed unless level is none"),
        (MetricsConfig, {"readers": [{"pull": {}}] * 2}, "readers: one is served; take the others out"),
        (
            MetricsConfig,
            {"readers": [{"pull": {}}], "address": "a:1"},
            "address and readers exclude each other; keep readers",
        ),
    ],
)
def test_rules(model, values, sentence):
    assert refused(model, values) == sentence


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (MemoryLimiterConfig, {"check_interval": "1s", "limit_mib": 1, "spike_limit_percentage": 90}),
        (BatchConfig, {"timeout": 0, "send_batch_size": 0}),
        (BatchConfig, {"send_batch_size": 10, "send_batch_max_size": 10}),
        (RetryConfig, {"enabled": False, "max_elapsed_time": "1s"}),
        (RetryConfig, {"max_elapsed_time": 0}),
        (SendingQueueConfig, {"queue_size": 1, "batch": {}}),
        (FileStorageConfig, {"directory_permissions": "755"}),
        (MetricsConfig, {"readers": [], "level": "none"}),
    ],
)
def test_what_the_rules_let_pass(model, values):
    model.model_validate(values)


@pytest.mark.parametrize(
    ("values", "size"),
    [
        ({}, DEFAULT_JOURNAL_BYTES),
        ({"queue_size": 10}, DEFAULT_JOURNAL_BYTES),
        ({"queue_size": 10, "sizer": "items"}, DEFAULT_JOURNAL_BYTES),
        ({"sizer": "bytes"}, DEFAULT_JOURNAL_BYTES),
        ({"queue_size": 10, "sizer": "bytes"}, 10),
    ],
)
def test_the_bound_of_the_journal(values, size):
    assert SendingQueueConfig.model_validate(values).journal_bytes == size


@pytest.mark.parametrize(
    ("endpoint", "tls", "target", "plaintext"),
    [
        ("a:1", {}, "a:1", False),
        ("a:1", {"insecure": True}, "a:1", True),
        ("http://a:1", {"insecure": True}, "a:1", True),
        ("https://a:1", {"insecure": True}, "a:1", False),
        ("a:1", {"insecure": True, "ca_file": "/ca.pem"}, "a:1", False),
        ("dns:///a:1", {}, "a:1", False),
        ("dns://a:1", {}, "a:1", False),
        ("unix:///run/a.sock", {"insecure": True}, "unix:///run/a.sock", True),
    ],
)
def test_what_an_otlp_exporter_dials(endpoint, tls, target, plaintext):
    config = OtlpGrpcExporterConfig(endpoint=endpoint, tls=tls)
    assert (config.target, config.plaintext) == (target, plaintext)


@pytest.mark.parametrize(
    "uri",
    [
        "http://localhost:5000",
        "https://user:password@mlflow.example.com/base",
        "sqlite:///mlflow.db",
        "sqlite:////var/lib/mlflow.db",
        "postgresql://user:password@host/mlflow",
        "postgresql+psycopg2://host/mlflow",
        "mysql+pymysql://host/mlflow",
        "databricks",
        "databricks://profile",
    ],
)
def test_tracking_uris(uri):
    assert MlflowExporterConfig(tracking_uri=uri).tracking_uri == uri


@pytest.mark.parametrize(
    ("uri", "begins"),
    [
        ("", "is required; set it here or in MLFLOW_TRACKING_URI"),
        ("mlruns", "MLflow's file store can't take traces this way; use sqlite:///mlflow.db, or start"),
        ("./mlruns", "MLflow's file store can't take traces this way"),
        ("file:///mlruns", "MLflow's file store can't take traces this way"),
        (r"C:\mlruns", "MLflow's file store can't take traces this way"),
        ("localhost:5000", "http:// or https:// is missing in front of host and port"),
        ("mlflow.example.com:80/base", "http:// or https:// is missing in front of host and port"),
        ("postgres://user:password@host/db", "SQLAlchemy does not know postgres://; write postgresql://"),
        ("mssql://user:password@host/db", 'the scheme "mssql" is not supported; use http(s):// (a tracking server)'),
        ("sqlite://", 'names no database file; write for example "sqlite:///mlflow.db"'),
        ("mysql://", 'names no database; write for example "mysql://user:password@host/mlflow"'),
        ("http://", "must be a whole URL: http:// or https:// and a host"),
        ("http://host:port", "must be a whole URL: http:// or https:// and a host"),
    ],
)
def test_no_tracking_uris(uri, begins):
    assert refused(MlflowExporterConfig, {"tracking_uri": uri}).startswith(begins)


@pytest.mark.parametrize("template", ["", "agents", "{service.name}", "/Shared/{team}/{service.name}-x"])
def test_experiment_templates(template):
    assert MlflowExporterConfig(tracking_uri="databricks", experiment=template).experiment == template


@pytest.mark.parametrize("template", ["{", "a}", "{}", "{a{b}}", "{{a}}"])
def test_no_experiment_templates(template):
    assert "is no template; write a name, with resource attributes in braces" in refused(
        MlflowExporterConfig, {"tracking_uri": "databricks", "experiment": template}
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"experiment": "a", "experiment_id": 1}, "experiment and experiment_id exclude each other; keep one"),
        ({"username": "a"}, "username and password need each other; set both or neither"),
        ({"password": "a"}, "username and password need each other; set both or neither"),
        ({"token": "a", "token_file": "b"}, "token_file excludes token, username and password; keep one"),
    ],
)
def test_what_excludes_or_needs_another(values, sentence):
    assert refused(MlflowExporterConfig, {"tracking_uri": "databricks", **values}) == sentence


@pytest.mark.parametrize(
    ("given", "env", "found"),
    [
        ({}, {}, {}),
        ({}, {"MLFLOW_TRACKING_URI": ""}, {}),
        ({}, {"MLFLOW_TRACKING_URI": "a"}, {"tracking_uri": "a"}),
        ({"tracking_uri": "b"}, {"MLFLOW_TRACKING_URI": "a"}, {"tracking_uri": "b"}),
        ({"tracking_uri": None}, {"MLFLOW_TRACKING_URI": "a"}, {"tracking_uri": "a"}),
        ({}, {"MLFLOW_EXPERIMENT_NAME": "n"}, {"experiment": "n"}),
        ({}, {"MLFLOW_EXPERIMENT_NAME": "n", "MLFLOW_EXPERIMENT_ID": "1"}, {"experiment_id": "1"}),
        ({"experiment": "x"}, {"MLFLOW_EXPERIMENT_ID": "1"}, {"experiment": "x"}),
        ({"experiment_id": 2}, {"MLFLOW_EXPERIMENT_NAME": "n"}, {"experiment_id": 2}),
        (
            {},
            {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"},
            {"username": "u", "password": "p"},
        ),
        ({"token": "t"}, {"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"}, {"token": "t"}),
        ({}, {"MLFLOW_TRACKING_INSECURE_TLS": "false"}, {}),
        ({}, {"MLFLOW_TRACKING_INSECURE_TLS": "true"}, {"tls": {"insecure_skip_verify": True}}),
        (
            {},
            {"MLFLOW_TRACKING_SERVER_CERT_PATH": "/ca", "MLFLOW_TRACKING_CLIENT_CERT_PATH": "/me"},
            {"tls": {"ca_file": "/ca", "cert_file": "/me", "key_file": "/me"}},
        ),
        ({"tls": {}}, {"MLFLOW_TRACKING_SERVER_CERT_PATH": "/ca"}, {"tls": {}}),
    ],
)
def test_what_mlflow_takes_from_the_environment(given, env, found):
    assert MlflowExporterConfig.with_environment(given, env) == found


@pytest.mark.parametrize(
    ("values", "endpoint"),
    [
        ({}, MetricsEndpoint("localhost", 8888, total_suffix=False)),
        ({"level": "None"}, None),
        ({"level": "none", "readers": [{"pull": {}}]}, None),
        ({"address": ":8889"}, MetricsEndpoint("", 8889, total_suffix=False)),
        ({"readers": [{"pull": {}}]}, MetricsEndpoint("localhost", 8888, total_suffix=True)),
        (
            {"readers": [{"pull": {"exporter": {"prometheus": {"port": 9, "without_type_suffix": True}}}}]},
            MetricsEndpoint("localhost", 9, total_suffix=False),
        ),
    ],
)
def test_where_metrics_are_served(values, endpoint):
    assert MetricsConfig.model_validate(values).endpoint == endpoint


@pytest.mark.parametrize(("level", "severity"), [("INFO", 20), ("warn", 30), ("error", 40), ("fatal", 50)])
def test_log_levels(level, severity):
    assert LogsConfig.model_validate({"level": level}).severity == severity


@pytest.mark.parametrize(
    ("values", "listen", "path"),
    [
        ({}, "localhost:13133", "/"),
        ({"endpoint": ":1", "path": "live"}, ":1", "/live"),
        ({"use_v2": True, "http": None}, "localhost:13133", "/status"),
        ({"use_v2": True, "http": {"endpoint": ":2", "status": {"path": "/s"}}}, ":2", "/s"),
        ({"use_v2": True, "http": {"status": {"enabled": False}}}, "localhost:13133", None),
    ],
)
def test_where_health_is_served(values, listen, path):
    config = HealthCheckConfig.model_validate(values)
    assert (config.listen, config.status_path) == (listen, path)
