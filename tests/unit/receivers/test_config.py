"""The `otlp` receiver's configuration: the Collector's shape, our bounds, and sentences for what can't be."""

import pytest
from pydantic import ValidationError

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.net.tls import TlsClientConfig, TlsServerConfig, client_ssl_context, server_ssl_context
from spanbridge.collector.receivers.otlp.config import (
    CorsConfig,
    GrpcConfig,
    HttpConfig,
    OtlpReceiverConfig,
    host_and_port,
)
from spanbridge.collector.receivers.otlp.grpc_server import _options

PAIR = {"cert_file": "c", "key_file": "k"}


def receiver(**protocols):
    return OtlpReceiverConfig.model_validate({"protocols": protocols})


@pytest.mark.parametrize("section", [{}, {"protocols": None}, {"protocols": {}}])
def test_a_receiver_without_protocol_is_refused_in_the_collectors_words(section):
    with pytest.raises(ValidationError, match="must specify at least one protocol when using the OTLP receiver"):
        OtlpReceiverConfig.model_validate(section)


@pytest.mark.parametrize("empty", [None, {}])
def test_an_empty_section_enables_a_protocol_with_its_defaults(empty):
    assert receiver(grpc=empty).protocols.grpc == GrpcConfig()
    assert receiver(grpc=empty).protocols.http is None
    assert receiver(http=empty).protocols.http == HttpConfig()


def test_defaults():
    grpc, http = GrpcConfig(), HttpConfig()
    assert (grpc.endpoint, http.endpoint) == ("localhost:4317", "localhost:4318")
    assert grpc.max_bytes == http.max_bytes == 64 << 20
    assert GrpcConfig(max_recv_msg_size_mib=0).max_bytes == HttpConfig(max_request_body_size=0).max_bytes == 64 << 20
    assert GrpcConfig(max_recv_msg_size_mib=4).max_bytes == 4 << 20
    assert (http.traces_url_path, http.logs_url_path) == ("/v1/traces", "/v1/logs")
    assert HttpConfig(traces_url_path="spans").traces_url_path == "/spans"


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("localhost:4317", ("localhost", 4317)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
        (":4317", ("", 4317)),
        ("[::1]:4317", ("::1", 4317)),
        ("[fe80::1%eth0]:65535", ("fe80::1%eth0", 65535)),
    ],
)
def test_endpoints(endpoint, expected):
    assert host_and_port(endpoint) == expected


@pytest.mark.parametrize(
    "endpoint", ["", "localhost", "localhost:", "::1:4317", "http://h:1", "h:65536", "h:-1", "a b:1"]
)
def test_what_is_no_endpoint(endpoint):
    with pytest.raises(ValidationError, match='is not "host:port"'):
        GrpcConfig(endpoint=endpoint)


@pytest.mark.parametrize(
    ("model", "section", "reason"),
    [
        (GrpcConfig, {"transport": "unix", "endpoint": ""}, "a unix socket needs its path"),
        (GrpcConfig, {"max_recv_msg_size_mib": -1}, "greater than or equal to 0"),
        (GrpcConfig, {"max_recv_msg_size_mib": 2048}, "less than or equal to 2047"),
        (GrpcConfig, {"max_recv_msg_size": 4}, "Extra inputs"),
        (GrpcConfig, {"keepalive": {"server_parameters": {"time": 5}}}, "a duration needs a unit"),
        (GrpcConfig, {"tls": {**PAIR, "min_version": "1.3"}}, "always offers TLS 1.2 and 1.3"),
        (GrpcConfig, {"tls": {**PAIR, "cipher_suites": ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]}}, "always offers"),
        (GrpcConfig, {"auth": {}}, "Field required"),
        (HttpConfig, {"compression_algorithms": ["lz4"]}, "Input should be"),
        (HttpConfig, {"max_connections": 0}, "greater than 0"),
        (CorsConfig, {"allowed_origins": ["https://*.*.com"]}, 'holds more than one "\\*"'),
        (TlsServerConfig, {}, "a server needs a certificate"),
        (TlsServerConfig, {"cert_file": "c"}, "a certificate needs its key"),
        (TlsServerConfig, {**PAIR, "cert_pem": "x"}, "cert_file and cert_pem are both given"),
        (TlsServerConfig, {**PAIR, "key_pem": "x"}, "key_file and key_pem are both given"),
        (TlsServerConfig, {**PAIR, "min_version": "1.1"}, "Input should be '1.2' or '1.3'"),
        (TlsServerConfig, {**PAIR, "min_version": "1.3", "max_version": "1.2"}, "max_version 1.2 is below"),
        (TlsServerConfig, {**PAIR, "cipher_suites": ["TLS_RSA_WITH_RC4_128_SHA"]}, "unknown or insecure cipher suite"),
        (TlsClientConfig, {"key_file": "k"}, "a key its certificate"),
    ],
)
def test_what_can_not_be_is_refused_with_a_sentence(model, section, reason):
    with pytest.raises(ValidationError, match=reason):
        model.model_validate(section)


def test_the_collectors_keys_are_known():
    receiver(
        grpc={
            "endpoint": "0.0.0.0:4317",
            "transport": "tcp",
            "tls": {
                **PAIR,
                "client_ca_file": "ca",
                "client_ca_file_reload": True,
                "reload_interval": "1h",
                "tpm": {"enabled": False},
            },
            "max_recv_msg_size_mib": 16,
            "max_concurrent_streams": 10,
            "read_buffer_size": 524288,
            "write_buffer_size": 1024,
            "keepalive": {
                "server_parameters": {
                    "max_connection_idle": "11s",
                    "max_connection_age": "12s",
                    "max_connection_age_grace": "13s",
                    "time": "30s",
                    "timeout": "5s",
                },
                "enforcement_policy": {"min_time": "10s", "permit_without_stream": True},
            },
            "auth": {"authenticator": "bearertokenauth"},
            "include_metadata": True,
            "middlewares": [{"id": "limiter"}],
        },
        http={
            "cors": {"allowed_origins": ["*"], "allowed_headers": ["*"], "exposed_headers": ["a"], "max_age": 7200},
            "auth": {"authenticator": "a", "request_params": ["token"]},
            "max_request_body_size": 1024,
            "include_metadata": True,
            "response_headers": {"a": "b"},
            "compression_algorithms": ["", "gzip"],
            "metrics_url_path": "/m",
            "read_timeout": 0,
            "read_header_timeout": "1m",
            "write_timeout": "30s",
            "idle_timeout": "1m",
            "keep_alives_enabled": True,
            "middlewares": [],
        },
    )


def test_every_note_is_about_a_key():
    for model in (GrpcConfig, HttpConfig, TlsServerConfig, TlsClientConfig):
        assert set(model.NOTES) <= set(model.model_fields)
        assert all(note.endswith(".") for note in model.NOTES.values())


def test_keys_do_not_show():
    assert "secret" not in repr(TlsServerConfig(cert_pem="c", key_pem="secret"))


@pytest.mark.parametrize(
    ("section", "option", "value"),
    [
        ({}, "grpc.max_receive_message_length", 64 << 20),
        ({}, "grpc.so_reuseport", 0),
        ({}, "grpc.per_message_decompression", 0),
        ({}, "grpc.max_concurrent_streams", 100),
        ({"max_concurrent_streams": 0}, "grpc.max_concurrent_streams", None),
        ({}, "grpc.max_connection_idle_ms", 300_000),
        ({"keepalive": {"server_parameters": {"max_connection_idle": 0}}}, "grpc.max_connection_idle_ms", None),
        ({"keepalive": {"server_parameters": {"time": "1.5s"}}}, "grpc.keepalive_time_ms", 1500),
        ({"keepalive": {"server_parameters": {"timeout": "2s"}}}, "grpc.keepalive_timeout_ms", 2000),
        (
            {"keepalive": {"enforcement_policy": {"permit_without_stream": True}}},
            "grpc.keepalive_permit_without_calls",
            1,
        ),
        (
            {"keepalive": {"enforcement_policy": {"min_time": "1s"}}},
            "grpc.http2.min_ping_interval_without_data_ms",
            1000,
        ),
        ({"keepalive": None}, "grpc.keepalive_time_ms", None),
    ],
)
def test_grpc_options(section, option, value):
    assert dict(_options(GrpcConfig.model_validate(section))).get(option) == value


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({}, "tls::cert_file: can't read 'c': No such file or directory"),
        ({"c": "x"}, "tls::key_file: can't read 'k': No such file or directory"),
        ({"c": "x", "k": "y"}, "tls::cert_file: no certificate with its unencrypted key in PEM"),
    ],
)
def test_tls_files_that_can_not_be_used_are_named(tmp_path, monkeypatch, files, problem):
    monkeypatch.chdir(tmp_path)
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as refused:
        server_ssl_context(TlsServerConfig(**PAIR))
    assert refused.value.problems[0].startswith(problem)


def test_an_authority_that_is_none_is_named(tmp_path):
    (tmp_path / "ca").write_text("no certificate")
    with pytest.raises(ConfigError, match="tls::ca_file: no certificates in PEM"):
        client_ssl_context(TlsClientConfig(ca_file=str(tmp_path / "ca")))
