"""OTLP/gRPC against a real server: what clients see, row by row."""

import asyncio
import contextlib
import time
from types import SimpleNamespace

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanbridge.collector.errors import Busy, ConfigError, Forbidden, Invalid, Refusal, TooLarge, Unauthenticated
from spanbridge.collector.extensions.authentication import Identity
from spanbridge.collector.net import tls as tls_module
from spanbridge.collector.receivers.otlp import grpc_server as otlp_grpc
from spanbridge.processors.types import Context, spans
from tests.samples.otlp_requests import (
    GRPC_EXPORT,
    GRPC_EXPORT_LOGS,
    Sink,
    batch,
    grpc_config,
    logs,
    nested_value,
    serving,
)
from tests.servers.certificates import Authority

Code = grpc.StatusCode
MIB = 1 << 20


def channel(port, **options):
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.max_send_message_length", -1)], **options)


async def call(port, body, *, method=GRPC_EXPORT, metadata=None, **options):
    async with channel(port) as client:
        return await client.unary_unary(method)(body, metadata=metadata, timeout=20, **options)


async def refusal(port, body, **options):
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(port, body, **options)
    return refused.value


def retry_delay(error):
    """Seconds of the RetryInfo in the trailers, None without."""
    details = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
    if details is None:
        return None
    status, info = RpcStatus.FromString(details), RetryInfo()
    assert (status.code, status.message) == (error.code().value[0], error.details())
    assert status.details[0].Unpack(info)
    return info.retry_delay.ToTimedelta().total_seconds()


ONE = batch().SerializeToString()


async def test_a_request_is_handed_over_whole_and_counted():
    async with serving(grpc_config()) as served:
        assert await call(served.port, batch(3).SerializeToString()) == b""
        assert served.sink.requests == [batch(3)]
        assert served.sink.contexts == [Context(receiver="otlp")]
        assert served.sample("otelcol_receiver_accepted_spans", "grpc") == 3
        assert served.outcomes("grpc") == {"success": 1, "refused": 0, "failure": 0}


async def test_an_empty_request_is_success_and_goes_nowhere():
    async with serving(grpc_config()) as served:
        assert await call(served.port, b"") == b""
        assert served.sink.requests == []


@pytest.mark.parametrize(
    ("error", "code", "text", "delay", "outcome"),
    [
        (Busy("full"), Code.UNAVAILABLE, "full", 1.0, "refused"),
        (Busy("full", 0.25), Code.UNAVAILABLE, "full", 0.25, "refused"),
        (Invalid("bad"), Code.INVALID_ARGUMENT, "bad", None, "refused"),
        (TooLarge("big"), Code.RESOURCE_EXHAUSTED, "big", None, "refused"),
        (Unauthenticated("who"), Code.UNAUTHENTICATED, "who", None, "refused"),
        (Forbidden("not there"), Code.PERMISSION_DENIED, "not there", None, "refused"),
        (Refusal("no"), Code.UNAVAILABLE, "no", None, "refused"),
        (RuntimeError("secret"), Code.UNAVAILABLE, "the request can't be taken in right now", None, "failure"),
    ],
)
async def test_what_the_pipeline_says_becomes_a_status(error, code, text, delay, outcome):
    async with serving(grpc_config(), sink=Sink([error])) as served:
        refused = await refusal(served.port, batch(2).SerializeToString())
        assert (refused.code(), refused.details(), retry_delay(refused)) == (code, text, delay)
        assert served.outcomes("grpc")[outcome] == 1
        counted = "failed" if outcome == "failure" else "refused"
        assert served.sample(f"otelcol_receiver_{counted}_spans", "grpc") == 2
        assert served.sample("otelcol_receiver_accepted_spans", "grpc") == 0
        assert await call(served.port, ONE) == b""  # and the next one is served


@pytest.mark.parametrize(
    ("body", "options", "code"),
    [
        (b"\xff\xff", {}, Code.INVALID_ARGUMENT),
        (nested_value(200), {}, Code.INVALID_ARGUMENT),
        (b"\x1f\x8b not gzip", {}, Code.INVALID_ARGUMENT),
        (ONE, {"metadata": [("x-mlflow-run-id", "r" * 501)]}, Code.INVALID_ARGUMENT),
        (bytes(MIB + 1), {}, Code.RESOURCE_EXHAUSTED),
        (bytes(2 * MIB), {"compression": grpc.Compression.Gzip}, Code.RESOURCE_EXHAUSTED),
        (bytes(2 * MIB), {"compression": grpc.Compression.Deflate}, Code.RESOURCE_EXHAUSTED),
        (ONE, {"method": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"}, Code.UNIMPLEMENTED),
        (b"", {"method": GRPC_EXPORT_LOGS}, Code.UNIMPLEMENTED),
    ],
)
async def test_what_can_not_be_taken_is_refused_for_good(body, options, code):
    async with serving(grpc_config(max_recv_msg_size_mib=1)) as served:
        refused = await refusal(served.port, body, **options)
        assert (refused.code(), retry_delay(refused)) == (code, None)
        assert served.sink.requests == []
        assert await call(served.port, ONE) == b""


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_compressed_messages_are_taken(compression):
    async with serving(grpc_config()) as served:
        await call(served.port, batch(500).SerializeToString(), compression=compression)
        assert served.sink.requests == [batch(500)]


async def test_logs_are_taken_when_there_is_somewhere_to_put_them():
    async with serving(grpc_config(), take_logs=True) as served:
        assert await call(served.port, logs(2).SerializeToString(), method=GRPC_EXPORT_LOGS) == b""
        assert served.sink.requests == [logs(2)]
        assert served.sample("otelcol_receiver_accepted_log_records", "grpc") == 2


async def test_spans_with_bad_ids_are_a_partial_success():
    request = batch(3)
    request.resource_spans[0].scope_spans[0].spans[1].span_id = bytes(8)
    async with serving(grpc_config()) as served:
        response = ExportTraceServiceResponse.FromString(await call(served.port, request.SerializeToString()))
        assert response.partial_success.rejected_spans == 1
        assert [s.name for s in spans(served.sink.requests[0])] == ["span 1", "span 3"]
        assert served.sample("otelcol_receiver_accepted_spans", "grpc") == 2
        assert served.sample("spanbridge_receiver_rejected_spans", "grpc") == 1


async def test_the_context_comes_from_metadata_and_the_authenticator():
    seen = []

    async def authenticate(headers):
        seen.append(headers)
        return Identity("team-a")

    metadata = [
        ("x-mlflow-experiment-id", "7"),
        ("x-mlflow-experiment-name", "night shift"),
        ("x-mlflow-run-id", "r1"),
        ("x-mlflow-workspace", "w"),
        ("authorization", "Bearer t"),
        ("authorization", "Bearer u"),
        ("other-bin", b"\xff"),
    ]
    async with serving(grpc_config(), authenticate=authenticate) as served:
        await call(served.port, ONE, metadata=metadata)
        assert served.sink.contexts == [Context("7", "night shift", "r1", "w", "team-a", "otlp")]
    assert seen[0]["authorization"] == "Bearer t, Bearer u"


@pytest.mark.parametrize(
    ("error", "code"), [(Unauthenticated("who"), Code.UNAUTHENTICATED), (Forbidden("no"), Code.PERMISSION_DENIED)]
)
async def test_who_may_not_in_is_not_listened_to(error, code):
    async def authenticate(_headers):
        raise error

    async with serving(grpc_config(), authenticate=authenticate) as served:
        for body in (ONE, b"\xff\xff"):  # the message is not so much as read
            assert (await refusal(served.port, body)).code() == code
        assert served.outcomes("grpc") == {"success": 0, "refused": 2, "failure": 0}


async def test_a_call_whose_message_does_not_come_is_ended(monkeypatch):
    monkeypatch.setattr(otlp_grpc, "_READ_TIMEOUT", 0.1)
    async with serving(grpc_config()) as served, channel(served.port) as client:
        silent = client.stream_unary(GRPC_EXPORT)()
        assert await silent.code() == Code.INVALID_ARGUMENT
        assert await silent.details() == "the call's message did not come"
        empty = client.stream_unary(GRPC_EXPORT)(iter(()))
        assert await empty.code() == Code.INVALID_ARGUMENT
        assert served.outcomes("grpc")["refused"] == 2
        assert await client.unary_unary(GRPC_EXPORT)(ONE) == b""


async def test_requests_are_refused_when_too_many_bytes_are_under_way():
    gate = asyncio.Event()

    async def slow(_request, _context):
        await gate.wait()

    body = batch(4000).SerializeToString()
    assert len(body) > 0.75 * MIB
    async with serving(grpc_config(max_recv_msg_size_mib=1), sink=slow) as served, channel(served.port) as client:
        export = client.unary_unary(GRPC_EXPORT)
        calls = [asyncio.create_task(_outcome(export(body, timeout=20))) for _ in range(6)]
        finished = asyncio.as_completed(calls)
        # Half of the room is 2 MiB, so that two of one client are let in.
        assert [await next(finished) for _ in range(4)] == [(Code.UNAVAILABLE, 1.0)] * 4
        gate.set()
        assert [await outcome for outcome in finished] == [(Code.OK, None)] * 2
        assert await export(body) == b""


async def _outcome(call_):
    try:
        await call_
    except grpc.aio.AioRpcError as error:
        return error.code(), retry_delay(error)
    return Code.OK, None


async def test_a_connection_that_does_not_speak_is_closed(monkeypatch):
    monkeypatch.setattr(otlp_grpc, "_HANDSHAKE_TIMEOUT", 0.1)
    async with serving(grpc_config()) as served:
        for said in (b"", b"PRI * HT"):
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(said)
            async with asyncio.timeout(10):
                while await reader.read(1000):
                    pass
            writer.close()


# --- the SDK ----------------------------------------------------------------------------------------------------------


async def test_the_sdk_exports_and_comes_again_when_told_to():
    async with serving(grpc_config(), sink=Sink([Busy("full", 0.1)])) as served:
        await asyncio.to_thread(_export_one_span, OTLPSpanExporter(endpoint=f"127.0.0.1:{served.port}", insecure=True))
        assert [s.name for s in spans(served.sink.requests[0])] == ["handle order"]
        assert served.outcomes("grpc") == {"success": 1, "refused": 1, "failure": 0}


async def test_the_sdk_exports_compressed():
    async with serving(grpc_config()) as served:
        exporter = OTLPSpanExporter(
            endpoint=f"127.0.0.1:{served.port}", insecure=True, compression=grpc.Compression.Gzip
        )
        await asyncio.to_thread(_export_one_span, exporter)
        assert [s.name for s in spans(served.sink.requests[0])] == ["handle order"]


def _export_one_span(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("shop").start_as_current_span("handle order"):
        pass
    provider.shutdown()


# --- health -----------------------------------------------------------------------------------------------------------

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def health_request(service):
    return bytes([10, len(service)]) + service.encode() if service else b""


@pytest.mark.parametrize("service", ["", otlp_grpc.TRACES])
async def test_health_is_told_without_credentials(service):
    async def authenticate(_headers):
        raise Unauthenticated("who")

    async with serving(grpc_config(), authenticate=authenticate) as served:
        assert await call(served.port, health_request(service), method=CHECK) == SERVING


async def test_health_of_what_is_not_there():
    async with serving(grpc_config()) as served, channel(served.port) as client:
        assert (await refusal(served.port, health_request(otlp_grpc.LOGS), method=CHECK)).code() == Code.NOT_FOUND
        assert await client.unary_stream(WATCH)(health_request("other")).read() == UNKNOWN


async def test_who_watches_health_is_told_of_the_end():
    async with contextlib.AsyncExitStack() as server:
        served = await server.enter_async_context(serving(grpc_config()))
        async with channel(served.port) as client:
            watch = client.unary_stream(WATCH)(b"")
            assert await watch.read() == SERVING
            stopping = asyncio.create_task(server.aclose())
            assert await watch.read() == NOT_SERVING
            await stopping


# --- stopping ---------------------------------------------------------------------------------------------------------


class Gate:
    """An `Accept` that says when a request has arrived and lets it through when told to."""

    def __init__(self):
        self.arrived, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self, _request, _context):
        self.arrived.set()
        await self.open.wait()


async def test_calls_under_way_may_finish():
    gate = Gate()
    async with contextlib.AsyncExitStack() as server:
        served = await server.enter_async_context(serving(grpc_config(), sink=gate))
        under_way = asyncio.create_task(call(served.port, ONE))
        await gate.arrived.wait()
        stopping = asyncio.create_task(server.aclose())
        await asyncio.sleep(0)
        gate.open.set()
        assert await under_way == b""
        await stopping
    assert (await refusal(served.port, ONE)).code() == Code.UNAVAILABLE


async def test_calls_that_do_not_finish_are_cut():
    gate = Gate()
    async with contextlib.AsyncExitStack() as server:
        served = await server.enter_async_context(serving(grpc_config(), sink=gate, grace=0.1))
        under_way = asyncio.create_task(refusal(served.port, ONE))
        await gate.arrived.wait()
        started = time.monotonic()
        await server.aclose()
        assert time.monotonic() - started < 5
        assert (await under_way).code() in (Code.UNAVAILABLE, Code.CANCELLED)


# --- sockets and TLS --------------------------------------------------------------------------------------------------


async def test_unix_sockets(tmp_path):
    path = tmp_path / "otlp.sock"
    async with serving(grpc_config(transport="unix", endpoint=str(path))) as served:
        assert served.port == 0
        async with grpc.aio.insecure_channel(f"unix:{path}") as client:
            assert await client.unary_unary(GRPC_EXPORT)(ONE) == b""


@pytest.mark.parametrize("host", ["localhost", "", "127.0.0.1"])
async def test_hosts(host):
    async with serving(grpc_config(endpoint=f"{host}:0")) as served:
        assert await call(served.port, ONE) == b""


async def test_a_port_that_is_taken_is_named():
    async with serving(grpc_config()) as served:
        with pytest.raises(
            ConfigError, match=r"receivers::otlp::protocols::grpc::endpoint: can't listen on 127.0.0.1:\d+"
        ):
            async with serving(grpc_config(endpoint=f"127.0.0.1:{served.port}")):
                pass


async def test_connections_are_bounded():
    async with serving(grpc_config(max_connections=2)) as served, contextlib.AsyncExitStack() as clients:
        for _ in range(2):
            client = await clients.enter_async_context(_own_connection(served.port))
            assert await client.unary_unary(GRPC_EXPORT)(ONE) == b""
        third = await clients.enter_async_context(_own_connection(served.port))
        with pytest.raises(grpc.aio.AioRpcError):
            await third.unary_unary(GRPC_EXPORT)(ONE, timeout=1)


def _own_connection(port):
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])


def server_tls(pair, **keys):
    return {"cert_file": str(pair.cert), "key_file": str(pair.key), **keys}


async def call_tls(port, authority, pair=None):
    credentials = grpc.ssl_channel_credentials(
        authority.file.read_bytes(), *((pair.key.read_bytes(), pair.cert.read_bytes()) if pair else ())
    )
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=options) as client:
        return await client.unary_unary(GRPC_EXPORT)(ONE, timeout=2)


async def test_tls(tmp_path):
    authority = Authority(tmp_path)
    tls = server_tls(authority.issue("server"))
    async with serving(grpc_config(tls=tls)) as served:
        assert await call_tls(served.port, authority) == b""
        with pytest.raises(grpc.aio.AioRpcError):
            await call_tls(served.port, Authority(tmp_path, "stranger"))
        assert (await refusal(served.port, ONE)).code() == Code.UNAVAILABLE


async def test_certificates_in_the_configuration_itself(tmp_path):
    authority = Authority(tmp_path)
    pair = authority.issue("server")
    tls = {"cert_pem": pair.cert.read_text(), "key_pem": pair.key.read_text()}
    async with serving(grpc_config(tls=tls)) as served:
        assert await call_tls(served.port, authority) == b""


async def test_clients_must_show_a_certificate_when_there_is_a_client_ca(tmp_path):
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    tls = server_tls(authority.issue("server"), client_ca_file=str(authority.file))
    async with serving(grpc_config(tls=tls)) as served:
        assert await call_tls(served.port, authority, authority.issue("client")) == b""
        for pair in (None, stranger.issue("client of a stranger")):
            with pytest.raises(grpc.aio.AioRpcError):
                await call_tls(served.port, authority, pair)
        assert len(served.sink.requests) == 1


async def test_changed_certificates_are_read_again(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(tls_module, "time", SimpleNamespace(monotonic=lambda: now))
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    tls = server_tls(old.issue("server"), reload_interval="1m")
    async with serving(grpc_config(tls=tls)) as served:
        assert await call_tls(served.port, old) == b""
        (tmp_path / "server.crt").write_text("half written")
        now = 61.0
        assert await call_tls(served.port, old) == b""
        new.issue("server")
        assert await call_tls(served.port, old) == b""
        now = 122.0
        assert await call_tls(served.port, new) == b""


async def test_tls_files_are_checked_before_the_port_is_opened(tmp_path):
    pair = Authority(tmp_path).issue("server")
    missing = server_tls(pair, client_ca_file=str(tmp_path / "missing"))
    with pytest.raises(
        ConfigError, match=r"protocols::grpc::tls::client_ca_file: can't read '.*missing': No such file"
    ):
        async with serving(grpc_config(tls=missing)):
            pass
    pair.key.write_text("no key")
    with pytest.raises(ConfigError, match="protocols::grpc::tls::cert_file: no certificate with its unencrypted key"):
        async with serving(grpc_config(tls=server_tls(pair))):
            pass
