"""OTLP/HTTP against a real server: what clients see, row by row."""

import asyncio
import contextlib
import gzip
import json
import ssl
import time
import zlib
from types import SimpleNamespace

import pytest
import urllib3
import zstandard
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanbridge.collector.errors import Busy, ConfigError, Forbidden, Invalid, Refusal, TooLarge, Unauthenticated
from spanbridge.collector.extensions.authentication import Identity
from spanbridge.collector.net import http_connection
from spanbridge.collector.net import tls as tls_module
from spanbridge.collector.net.tls import TlsClientConfig
from spanbridge.processors.types import Context, spans
from tests.paths import DATA
from tests.samples.otlp_requests import Sink, as_json, batch, eventually, http_config, logs, nested_value, serving
from tests.servers.certificates import Authority

PROTOBUF, JSON = "application/x-protobuf", "application/json"
CAPTURES = sorted((DATA / "captures").glob("vercel*.json"))
KIB = 1024


def body_of(request, content_type):
    return request.SerializeToString() if content_type == PROTOBUF else json.dumps(as_json(request)).encode()


async def post(port, body=b"", content_type=PROTOBUF, *, path="/v1/traces", method="POST", headers=None, **pool):
    """One request on a connection of its own, without redirects or retries."""

    def send():
        with urllib3.PoolManager(retries=False, timeout=20, **pool) as manager:
            scheme = "https" if pool else "http"
            sent = {"content-type": content_type, **(headers or {})}
            return manager.request(method, f"{scheme}://localhost:{port}{path}", body=body, headers=sent)

    return await asyncio.to_thread(send)


def rpc_status(response):
    """Code, message and RetryInfo's seconds of an error body, in whichever encoding it came."""
    if response.headers["content-type"] == JSON:
        status = json.loads(response.data)
        details = status.get("details")
        return status["code"], status["message"], details and float(details[0]["retryDelay"].rstrip("s"))
    status, info = RpcStatus.FromString(response.data), RetryInfo()
    delay = (
        status.details[0].Unpack(info) and info.retry_delay.ToTimedelta().total_seconds() if status.details else None
    )
    return status.code, status.message, delay


ONE = batch().SerializeToString()
encodings = pytest.mark.parametrize("content_type", [PROTOBUF, JSON])


@encodings
async def test_a_request_is_handed_over_whole_and_answered_in_its_encoding(content_type):
    async with serving(http_config()) as served:
        response = await post(served.port, body_of(batch(3), content_type), content_type)
        assert (response.status, response.headers["content-type"]) == (200, content_type)
        assert response.data == (b"" if content_type == PROTOBUF else b"{}")
        assert served.sink.requests == [batch(3)]
        assert served.sink.contexts == [Context(receiver="otlp")]
        assert served.sample("otelcol_receiver_accepted_spans", "http") == 3
        assert served.outcomes("http") == {"success": 1, "refused": 0, "failure": 0}


@pytest.mark.parametrize(("content_type", "body"), [(PROTOBUF, b""), (JSON, b"{}"), (JSON, b'{"resourceSpans":[]}')])
async def test_an_empty_request_is_success_and_goes_nowhere(content_type, body):
    async with serving(http_config()) as served:
        assert (await post(served.port, body, content_type)).status == 200
        assert served.sink.requests == []


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
async def test_what_the_javascript_exporter_sends_is_taken(path):
    async with serving(http_config()) as served:
        response = await post(served.port, path.read_bytes(), JSON)
        assert (response.status, response.data) == (200, b"{}")
        assert sum(1 for _ in spans(served.sink.requests[0])) == 1


@encodings
@pytest.mark.parametrize(
    ("error", "http", "rpc", "retry_after"),
    [
        (Busy("full"), 503, (14, "full", 1.0), "1"),
        (Busy("full", 0.25), 503, (14, "full", 0.25), "1"),
        (Invalid("bad"), 400, (3, "bad", None), None),
        (TooLarge("big"), 413, (8, "big", None), None),
        (Unauthenticated("who"), 401, (16, "who", None), None),
        (Forbidden("not there"), 403, (7, "not there", None), None),
        (Refusal("no"), 503, (14, "no", None), None),
        (RuntimeError("secret"), 503, (14, "the request can't be taken in right now", None), None),
    ],
)
async def test_what_the_pipeline_says_becomes_a_status(content_type, error, http, rpc, retry_after):
    async with serving(http_config(), sink=Sink([error])) as served:
        response = await post(served.port, body_of(batch(2), content_type), content_type)
        assert (response.status, response.headers["content-type"]) == (http, content_type)
        assert response.headers.get("retry-after") == retry_after
        assert rpc_status(response) == rpc
        foreseen = isinstance(error, Refusal)
        assert served.outcomes("http")["refused" if foreseen else "failure"] == 1
        assert served.sample(f"otelcol_receiver_{'refused' if foreseen else 'failed'}_spans", "http") == 2
        assert (await post(served.port, ONE)).status == 200  # and the next one is served


@pytest.mark.parametrize(
    ("request_", "http", "rpc_code"),
    [
        ({"body": b"\xff\xff"}, 400, 3),
        ({"body": b"{", "content_type": JSON}, 400, 3),
        ({"body": b"", "content_type": JSON}, 400, 3),
        ({"body": nested_value(200)}, 400, 3),
        ({"body": b"{}", "content_type": "application/json; charset=utf-16"}, 200, None),
        ({"body": b"not gzip", "headers": {"content-encoding": "gzip"}}, 400, 3),
        ({"body": gzip.compress(ONE)[:-1], "headers": {"content-encoding": "gzip"}}, 400, 3),
        ({"body": ONE, "headers": {"x-mlflow-run-id": "r" * 501}}, 400, 3),
        ({"body": ONE, "headers": {"x-mlflow-experiment-name": "a\tb"}}, 400, 3),
        ({"body": bytes(64 * KIB + 1)}, 413, 8),
        ({"body": gzip.compress(bytes(64 * KIB + 1)), "headers": {"content-encoding": "gzip"}}, 413, 8),
        ({"method": "GET"}, 405, None),
        ({"method": "PUT", "body": ONE}, 405, None),
        ({"method": "OPTIONS"}, 405, None),
        ({"content_type": "text/plain", "body": ONE}, 415, None),
        ({"content_type": "application/x-protobuf-evil", "body": ONE}, 415, None),
        ({"content_type": "", "body": ONE}, 415, None),
        ({"body": ONE, "headers": {"content-encoding": "br"}}, 415, None),
        ({"body": ONE, "headers": {"content-encoding": "gzip, gzip"}}, 415, None),
        ({"path": "/v1/logs"}, 404, None),
        ({"path": "/v1/metrics"}, 404, None),
        ({"path": "/"}, 404, None),
        ({"path": "/v1/traces/"}, 404, None),
        ({"path": "//v1/traces"}, 404, None),
        ({"path": "/v1%2ftraces"}, 404, None),
        ({"path": "/v1/traces?a=b", "body": ONE}, 200, None),
    ],
)
async def test_what_can_not_be_taken_is_refused_for_good(request_, http, rpc_code):
    async with serving(http_config(max_request_body_size=64 * KIB)) as served:
        response = await post(served.port, **request_)
        assert response.status == http
        assert "retry-after" not in response.headers
        if rpc_code:
            assert rpc_status(response)[0] == rpc_code
        elif http != 200:
            assert response.headers["content-type"].startswith("text/plain")
        assert (await post(served.port, ONE)).status == 200


async def test_the_headers_of_a_refusal_say_what_would_do():
    async with serving(http_config(compression_algorithms=["", "zstd"])) as served:
        assert (await post(served.port, method="GET")).headers["allow"] == "POST"
        packed = {"content-encoding": "gzip"}
        assert (await post(served.port, gzip.compress(ONE), headers=packed)).headers["accept-encoding"] == "zstd"


@encodings
@pytest.mark.parametrize(
    ("coding", "pack"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("deflate", zlib.compress),
        ("zlib", zlib.compress),
        ("zstd", zstandard.compress),
        ("identity", bytes),
    ],
)
async def test_compressed_bodies_are_taken(content_type, coding, pack):
    async with serving(http_config()) as served:
        body = pack(body_of(batch(500), content_type))
        response = await post(served.port, body, content_type, headers={"content-encoding": coding})
        assert response.status == 200
        assert served.sink.requests == [batch(500)]


async def test_a_large_body_is_taken_and_the_small_ones_beside_it():
    request = batch(3000)
    body = json.dumps(as_json(request)).encode()
    async with serving(http_config()) as served:
        large, *small = await asyncio.gather(post(served.port, body, JSON), *(post(served.port, ONE) for _ in range(3)))
        assert [large.status, *(r.status for r in small)] == [200] * 4
        assert request in served.sink.requests


async def test_chunked_bodies_need_no_length():
    async with serving(http_config(max_request_body_size=KIB)) as served:
        assert (await post(served.port, iter([ONE[:10], ONE[10:]]))).status == 200
        assert served.sink.requests == [batch()]
        refused = await post(served.port, iter([bytes(KIB), b"\0"]))
        assert (refused.status, rpc_status(refused)[0]) == (413, 8)


async def test_logs_are_taken_when_there_is_somewhere_to_put_them():
    async with serving(http_config(), take_logs=True) as served:
        response = await post(served.port, logs(2).SerializeToString(), path="/v1/logs")
        assert (response.status, response.data) == (200, b"")
        assert served.sink.requests == [logs(2)]
        assert served.sample("otelcol_receiver_accepted_log_records", "http") == 2


@encodings
async def test_spans_with_bad_ids_are_a_partial_success(content_type):
    request = batch(3)
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = b"short"
    async with serving(http_config()) as served:
        response = await post(served.port, body_of(request, content_type), content_type)
        assert response.status == 200
        if content_type == JSON:
            assert json.loads(response.data)["partialSuccess"]["rejectedSpans"] == "1"
        else:
            assert ExportTraceServiceResponse.FromString(response.data).partial_success.rejected_spans == 1
        assert [s.name for s in spans(served.sink.requests[0])] == ["span 1", "span 3"]
        assert served.sample("spanbridge_receiver_rejected_spans", "http") == 1


async def test_paths_and_response_headers_are_the_configuration_s():
    config = http_config(
        traces_url_path="spans", response_headers={"x-served-by": "spanbridge"}, keep_alives_enabled=False
    )
    async with serving(config) as served:
        response = await post(served.port, ONE, path="/spans")
        assert (response.status, response.headers["x-served-by"]) == (200, "spanbridge")
        assert response.headers["connection"] == "close"
        assert (await post(served.port, ONE)).status == 404


async def test_the_context_comes_from_headers_and_the_authenticator():
    seen = []

    async def authenticate(headers):
        seen.append(headers)
        return Identity("team-a")

    headers = urllib3.HTTPHeaderDict(
        {
            "X-MLflow-Experiment-Id": "7",
            "x-mlflow-experiment-name": "Nachtschicht für Ä".encode(),
            "x-mlflow-run-id": "r1",
            "x-mlflow-workspace": "w",
            "content-type": PROTOBUF,
        }
    )
    headers.add("authorization", "Bearer t")
    headers.add("authorization", "Bearer u")

    def send(port):
        with urllib3.PoolManager(retries=False) as manager:
            return manager.request("POST", f"http://localhost:{port}/v1/traces", body=ONE, headers=headers).status

    async with serving(http_config(), authenticate=authenticate) as served:
        assert await asyncio.to_thread(send, served.port) == 200
        assert served.sink.contexts == [Context("7", "Nachtschicht für Ä", "r1", "w", "team-a", "otlp")]
    assert seen[0]["authorization"] == "Bearer t, Bearer u"


@encodings
@pytest.mark.parametrize(("error", "status"), [(Unauthenticated("who"), 401), (Forbidden("no"), 403)])
async def test_who_may_not_in_is_not_listened_to(content_type, error, status):
    async def authenticate(_headers):
        raise error

    async with serving(http_config(), authenticate=authenticate) as served:
        for body in (ONE, b"\xff\xff"):  # the body is not so much as read
            response = await post(served.port, body, content_type)
            assert (response.status, response.headers["content-type"]) == (status, content_type)
        async with connection(served.port) as (reader, writer):
            writer.write(head(content_length=1 << 40, more=f"content-type: {content_type}\r\n"))
            assert await status_line(reader) == status


# --- the SDK ----------------------------------------------------------------------------------------------------------


async def test_the_sdk_exports_and_comes_again_when_told_to():
    async with serving(http_config(), sink=Sink([Busy("full", 0.1)])) as served:
        exporter = OTLPSpanExporter(endpoint=f"http://localhost:{served.port}/v1/traces")
        await asyncio.to_thread(_export_one_span, exporter)
        assert [s.name for s in spans(served.sink.requests[0])] == ["handle order"]
        assert served.outcomes("http") == {"success": 1, "refused": 1, "failure": 0}


@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.Deflate])
async def test_the_sdk_exports_compressed(compression):
    async with serving(http_config()) as served:
        exporter = OTLPSpanExporter(endpoint=f"http://localhost:{served.port}/v1/traces", compression=compression)
        await asyncio.to_thread(_export_one_span, exporter)
        assert [s.name for s in spans(served.sink.requests[0])] == ["handle order"]


def _export_one_span(exporter):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("shop").start_as_current_span("handle order"):
        pass
    provider.shutdown()


# --- CORS -------------------------------------------------------------------------------------------------------------

PREFLIGHT = {
    "origin": "https://app.example.com",
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type",
}


@pytest.mark.parametrize(
    ("cors", "request_", "expected"),
    [
        (
            {"allowed_origins": ["https://*.example.com"]},
            {},
            {"origin": "https://app.example.com", "credentials": "true"},
        ),
        ({"allowed_origins": ["HTTPS://APP.example.com"]}, {}, {"origin": "https://app.example.com"}),
        ({"allowed_origins": ["*"]}, {}, {"origin": "*", "credentials": None, "headers": "content-type"}),
        ({"allowed_origins": ["https://example.com"]}, {}, {"origin": None}),
        (
            {"allowed_origins": ["https://a.example.com", "https://*.example.com"], "max_age": 600},
            {},
            {"max-age": "600"},
        ),
        ({"allowed_origins": ["*"]}, {"access-control-request-headers": "x-token"}, {"origin": None}),
        (
            {"allowed_origins": ["*"], "allowed_headers": ["X-Token"]},
            {"access-control-request-headers": "content-type,x-token"},
            {"headers": "content-type, x-token"},
        ),
        (
            {"allowed_origins": ["*"], "allowed_headers": ["*"]},
            {"access-control-request-headers": "x-any"},
            {"headers": "x-any"},
        ),
        ({"allowed_origins": ["*"]}, {"access-control-request-method": "DELETE"}, {"origin": None}),
        ({"allowed_origins": ["https://*.example.com"]}, {"origin": "https://app.example.com.evil"}, {"origin": None}),
    ],
)
async def test_preflight(cors, request_, expected):
    async with serving(http_config(cors=cors)) as served:
        response = await post(served.port, method="OPTIONS", headers={**PREFLIGHT, **request_})
        assert (response.status, response.data) == (204, b"")
        names = {"origin", "credentials", "headers", "methods"}
        headers = {n: response.headers.get(f"access-control-{'allow-' if n in names else ''}{n}") for n in expected}
        assert headers == expected


async def test_pages_may_read_answers_and_refusals():
    cors = {"allowed_origins": ["https://app.example.com"], "exposed_headers": ["x-a", "x-b"]}
    origin = {"origin": "https://app.example.com"}
    async with serving(http_config(cors=cors)) as served:
        for body, status in ((ONE, 200), (b"\xff", 400)):
            response = await post(served.port, body, headers=origin)
            assert response.status == status
            assert response.headers["access-control-allow-origin"] == "https://app.example.com"
            assert response.headers["access-control-expose-headers"] == "x-a, x-b"
            assert response.headers["vary"] == "origin"
        stranger = await post(served.port, ONE, headers={"origin": "https://evil.example.com"})
        assert "access-control-allow-origin" not in stranger.headers


# --- connections ------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def connection(port):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def head(method="POST", path="/v1/traces", *, content_length=None, more=""):
    length = "" if content_length is None else f"content-length: {content_length}\r\n"
    return f"{method} {path} HTTP/1.1\r\nhost: h\r\n{length}{more}\r\n".encode()


def whole(body=ONE, more=""):
    return head(content_length=len(body), more=f"content-type: {PROTOBUF}\r\n{more}") + body


async def status_line(reader):
    async with asyncio.timeout(10):
        return int((await reader.readline()).split()[1])


async def answer(reader):
    """The status of one response, which is read to its end."""
    status = await status_line(reader)
    async with asyncio.timeout(10):
        headers = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in headers.splitlines() if line.startswith(b"content-length"))
        await reader.readexactly(length)
    return status


async def closed(reader):
    """Whether the server closes the connection, and what it said before."""
    with contextlib.suppress(ConnectionResetError):
        async with asyncio.timeout(10):
            return await reader.read()
    return b""


async def test_a_connection_serves_many_requests_also_when_they_come_at_once():
    async with serving(http_config()) as served, connection(served.port) as (reader, writer):
        for _ in range(2):
            writer.write(whole())
            assert await answer(reader) == 200
        writer.write(whole() * 5)
        assert [await answer(reader) for _ in range(5)] == [200] * 5
        assert len(served.sink.requests) == 7


@pytest.mark.parametrize(
    ("keys", "sent"),
    [
        ({"read_header_timeout": "100ms"}, b""),
        ({"read_header_timeout": "100ms"}, b"POST /v1/tr"),
        ({"read_header_timeout": "100ms"}, b"\r\n"),
        ({"read_timeout": "100ms"}, head(content_length=100, more=f"content-type: {PROTOBUF}\r\n") + b"\0"),
        (
            {"read_timeout": "100ms"},
            head(more=f"content-type: {PROTOBUF}\r\ntransfer-encoding: chunked\r\n") + b"5\r\n",
        ),
        ({"read_timeout": "100ms"}, head("GET", content_length=100)),
        ({"idle_timeout": "100ms"}, whole()),
        ({"idle_timeout": "100ms"}, head("GET", content_length=1) + b"\0"),
    ],
)
async def test_slow_clients_are_cut(keys, sent):
    async with serving(http_config(**keys)) as served, connection(served.port) as (reader, writer):
        writer.write(sent)
        started = time.monotonic()
        await closed(reader)
        assert 0.09 < time.monotonic() - started < 5


async def test_dribbling_headers_do_not_put_the_end_off():
    async with serving(http_config(read_header_timeout="300ms")) as served, connection(served.port) as (reader, writer):
        end = asyncio.create_task(closed(reader))
        started = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while not end.done():
                writer.write(b"POST / HTTP/1.1\r\nx: " if time.monotonic() - started < 0.05 else b"y")
                await asyncio.wait([end], timeout=0.05)
        await end
        assert time.monotonic() - started < 5


async def keep_sending(writer, data, pause):
    async with asyncio.timeout(20):
        while True:
            writer.write(data)
            await writer.drain()
            await asyncio.sleep(pause)


async def test_a_client_that_does_not_read_is_cut():
    config = http_config(write_timeout="100ms", response_headers={"x-long": "y" * 50_000})
    async with serving(config) as served, connection(served.port) as (_, writer):
        writer.transport.pause_reading()
        with pytest.raises(ConnectionError):
            await keep_sending(writer, whole(), pause=0.005)


async def test_a_client_that_sends_ahead_without_end_is_cut():
    gate = Gate()
    async with serving(http_config(), sink=gate) as served, connection(served.port) as (_, writer):
        with pytest.raises(ConnectionError):
            await keep_sending(writer, whole() * 10, pause=0)
        gate.open.set()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST /v1/traces HTTP/1.1\r\n" + b"x: " + b"y" * (400 * KIB), 431),
        (b"POST /" + b"x" * (400 * KIB), 431),
        (head(more="".join(f"x-{n}: 1\r\n" for n in range(200))), 400),
        (head("CONNECT", "h:80"), 400),
        (b"\x16\x03\x01\x02\x00\x01", 400),
        (head(more="content-length: 3\r\ntransfer-encoding: chunked\r\n"), 400),
        (head(more="content-length: 3\r\ncontent-length: 4\r\n"), 400),
        (head(more="x: a\rb: c\r\n"), 400),
        (head(content_length=-1), 400),
    ],
)
async def test_malformed_requests_are_refused_and_the_connection_closed(sent, status, monkeypatch):
    monkeypatch.setattr(http_connection, "_LINGER", 0.1)
    async with serving(http_config()) as served, connection(served.port) as (reader, writer):
        writer.write(sent)
        assert (await closed(reader)).startswith(f"HTTP/1.1 {status} ".encode())
        assert (await post(served.port, ONE)).status == 200


async def test_trailers_are_neither_kept_nor_without_bound():
    start = head(more=f"content-type: {PROTOBUF}\r\ntransfer-encoding: chunked\r\n") + b"%x\r\n%b\r\n0\r\n" % (
        len(ONE),
        ONE,
    )
    async with serving(http_config()) as served:
        async with connection(served.port) as (reader, writer):
            writer.write(start + b"x-mlflow-run-id: forged\r\n\r\n")
            assert await answer(reader) == 200
            assert served.sink.contexts == [Context(receiver="otlp")]
        async with connection(served.port) as (reader, writer):
            writer.write(start)
            with contextlib.suppress(ConnectionError):
                for _ in range(100):
                    writer.write(b"x: " + b"y" * (10 * KIB) + b"\r\n")
                    await writer.drain()
            await closed(reader)
        assert len(served.sink.requests) == 1


async def test_an_oversized_body_is_refused_before_it_comes_and_the_connection_goes_on():
    async with serving(http_config(max_request_body_size=KIB)) as served, connection(served.port) as (reader, writer):
        writer.write(head(content_length=200 * KIB, more=f"content-type: {PROTOBUF}\r\n"))
        assert await answer(reader) == 413
        writer.write(bytes(200 * KIB) + whole())
        assert await answer(reader) == 200


async def test_the_rest_of_a_refused_body_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(http_connection, "_LINGER", 0.1)
    async with serving(http_config(max_request_body_size=KIB)) as served, connection(served.port) as (reader, writer):
        writer.write(head(content_length=200 * KIB, more=f"content-type: {PROTOBUF}\r\n"))
        assert await answer(reader) == 413
        assert await closed(reader) == b""


async def test_continue_is_said_only_to_what_would_be_taken():
    expecting = f"content-type: {PROTOBUF}\r\nexpect: 100-continue\r\n"
    async with serving(http_config(max_request_body_size=KIB)) as served:
        async with connection(served.port) as (reader, writer):
            writer.write(head(content_length=len(ONE), more=expecting))
            assert await status_line(reader) == 100
            await reader.readline()
            writer.write(ONE)
            assert await answer(reader) == 200
        async with connection(served.port) as (reader, writer):
            writer.write(head(content_length=KIB + 1, more=expecting))
            assert await status_line(reader) == 413


async def test_an_offer_to_upgrade_is_passed_over():
    offer = "connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABk\r\n"
    async with serving(http_config()) as served, connection(served.port) as (reader, writer):
        sent = whole(more=offer)
        writer.write(sent[:-20])
        await asyncio.sleep(0)
        writer.write(sent[-20:] + whole(more=offer) + whole())
        assert [await answer(reader) for _ in range(3)] == [200] * 3
        assert served.sink.requests == [batch()] * 3


async def test_connections_are_bounded_and_the_idle_ones_make_room():
    async with serving(http_config(max_connections=3)) as served, contextlib.AsyncExitStack() as clients:
        idle = [await clients.enter_async_context(connection(served.port)) for _ in range(3)]
        reader, writer = await clients.enter_async_context(connection(served.port))
        assert await closed(idle[0][0]) == b""
        writer.write(whole())
        assert await answer(reader) == 200
        idle[1][1].write(whole())
        assert await answer(idle[1][0]) == 200


async def test_when_no_connection_is_idle_the_new_one_is_asked_to_come_again():
    async with serving(http_config(max_connections=2)) as served, contextlib.AsyncExitStack() as clients:
        for _ in range(2):
            reader, writer = await clients.enter_async_context(connection(served.port))
            writer.write(head(content_length=10, more=f"content-type: {PROTOBUF}\r\nexpect: 100-continue\r\n"))
            assert await status_line(reader) == 100
        reader, _ = await clients.enter_async_context(connection(served.port))
        refused = await closed(reader)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in refused


async def by_header(headers):
    return Identity(headers.get("authorization", ""))


async def test_requests_are_refused_when_too_many_bytes_are_under_way():
    """Four of the largest fit in, and two of them are all that one client may have."""
    gate = Gate()
    body = batch(5).SerializeToString()
    config = http_config(max_request_body_size=len(body))
    async with serving(config, sink=gate, authenticate=by_header) as served:
        taken = []
        for tenant in ("a", "b"):
            taken += [asyncio.create_task(post(served.port, body, headers={"authorization": tenant})) for _ in range(2)]
            for _ in range(2):
                await gate.arrived.acquire()
            refused = await post(served.port, body, headers={"authorization": tenant})
            assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        assert (await post(served.port, body, headers={"authorization": "c"})).status == 503
        gate.open.set()
        assert [response.status for response in await asyncio.gather(*taken)] == [200] * 4
        assert (await post(served.port, body, headers={"authorization": "a"})).status == 200


async def test_a_client_that_leaves_is_no_error(caplog):
    async with serving(http_config()) as served:
        async with connection(served.port) as (_, writer):
            writer.write(head(content_length=100, more=f"content-type: {PROTOBUF}\r\n") + b"\0")
            await writer.drain()
        await eventually(lambda: served.outcomes("http")["refused"] == 1)
        assert (await post(served.port, ONE)).status == 200
    assert not caplog.records


async def test_bugs_are_logged_but_not_at_every_request(caplog):
    async with serving(http_config(), sink=Sink([RuntimeError("a bug")] * 3)) as served:
        for _ in range(3):
            assert (await post(served.port, ONE)).status == 503
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "failed on a request (RuntimeError)" in caplog.text
    assert "a bug" not in caplog.text


# --- stopping ---------------------------------------------------------------------------------------------------------


class Gate:
    """An `Accept` that counts what has arrived and lets it through when told to."""

    def __init__(self):
        self.arrived, self.open = asyncio.Semaphore(0), asyncio.Event()

    async def __call__(self, _request, _context):
        self.arrived.release()
        await self.open.wait()


async def test_requests_under_way_may_finish():
    gate = Gate()
    async with contextlib.AsyncExitStack() as server:
        served = await server.enter_async_context(serving(http_config(), sink=gate))
        async with connection(served.port) as (idle, _), connection(served.port) as (reader, writer):
            writer.write(whole())
            await gate.arrived.acquire()
            stopping = asyncio.create_task(server.aclose())
            assert await closed(idle) == b""
            gate.open.set()
            assert (await closed(reader)).startswith(b"HTTP/1.1 200 ")
            await stopping
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", served.port)


async def test_requests_that_do_not_finish_are_cut():
    gate = Gate()
    async with contextlib.AsyncExitStack() as server:
        served = await server.enter_async_context(serving(http_config(), sink=gate, grace=0.1))
        async with connection(served.port) as (reader, writer), connection(served.port) as (half, half_writer):
            writer.write(whole())
            half_writer.write(head(content_length=100, more=f"content-type: {PROTOBUF}\r\n"))
            await gate.arrived.acquire()
            started = time.monotonic()
            await server.aclose()
            assert time.monotonic() - started < 5
            assert (await closed(reader), await closed(half)) == (b"", b"")


# --- sockets and TLS --------------------------------------------------------------------------------------------------


async def test_unix_sockets(tmp_path):
    path = tmp_path / "otlp.sock"
    for _ in range(2):  # a socket that a killed program left behind is no obstacle
        async with serving(http_config(transport="unix", endpoint=str(path))) as served:
            assert served.port == 0
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(whole())
            assert await answer(reader) == 200
            writer.close()
        assert not path.exists()


@pytest.mark.parametrize("host", ["localhost", "", "127.0.0.1"])
async def test_hosts(host):
    async with serving(http_config(endpoint=f"{host}:0")) as served:
        assert (await post(served.port, ONE)).status == 200


async def test_a_port_that_is_taken_is_named():
    async with serving(http_config()) as served:
        with pytest.raises(ConfigError, match=r"protocols::http::endpoint: can't listen on .*: Address already in use"):
            async with serving(http_config(endpoint=f"127.0.0.1:{served.port}")):
                pass


def server_tls(pair, **keys):
    return {"cert_file": str(pair.cert), "key_file": str(pair.key), **keys}


async def post_tls(port, authority, pair=None):
    client = {"cert_file": str(pair.cert), "key_file": str(pair.key)} if pair else {}
    return (await post(port, ONE, ssl_context=authority.client_context(), **client)).status


async def test_tls(tmp_path):
    authority = Authority(tmp_path)
    async with serving(http_config(tls=server_tls(authority.issue("server")))) as served:
        assert await post_tls(served.port, authority) == 200
        with pytest.raises(urllib3.exceptions.SSLError):
            await post_tls(served.port, Authority(tmp_path, "stranger"))
        async with connection(served.port) as (reader, writer):
            writer.write(whole())  # in plain text
            assert not (await closed(reader)).startswith(b"HTTP")
        assert await post_tls(served.port, authority) == 200


@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")  # which is what one of the rows asks for
@pytest.mark.parametrize(
    ("keys", "trusted"),
    [
        ({"ca_file": "authority.pem"}, True),
        ({"ca_file": "authority.pem", "include_system_ca_certs_pool": True}, True),
        ({}, False),
        ({"ca_file": "stranger.pem"}, False),
        ({"ca_file": "stranger.pem", "insecure_skip_verify": True}, True),
    ],
)
async def test_our_own_clients_trust_whom_they_are_told_to(tmp_path, monkeypatch, keys, trusted):
    monkeypatch.chdir(tmp_path)
    authority, _ = Authority(tmp_path), Authority(tmp_path, "stranger")
    own = authority.issue("client")
    config = TlsClientConfig(cert_file=str(own.cert), key_file=str(own.key), **keys)
    tls = server_tls(authority.issue("server"), client_ca_file=str(authority.file))
    async with serving(http_config(tls=tls)) as served:
        outcome = post(served.port, ONE, ssl_context=tls_module.client_ssl_context(config))
        if trusted:
            assert (await outcome).status == 200
        else:
            with pytest.raises(urllib3.exceptions.SSLError):
                await outcome


async def test_cipher_suites_are_kept_to(tmp_path):
    authority = Authority(tmp_path)
    tls = server_tls(
        authority.issue("server"), cipher_suites=["TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"], max_version="1.2"
    )
    async with serving(http_config(tls=tls)) as served:
        assert await post_tls(served.port, authority) == 200
        other = authority.client_context()
        other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
        with pytest.raises(urllib3.exceptions.SSLError):
            await post(served.port, ONE, ssl_context=other)


async def test_old_tls_versions_are_refused(tmp_path):
    authority = Authority(tmp_path)
    async with serving(http_config(tls=server_tls(authority.issue("server"), min_version="1.3"))) as served:
        assert await post_tls(served.port, authority) == 200
        old = authority.client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(urllib3.exceptions.SSLError):
            await post(served.port, ONE, ssl_context=old)


async def test_clients_must_show_a_certificate_when_there_is_a_client_ca(tmp_path):
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    tls = server_tls(authority.issue("server"), client_ca_file=str(authority.file))
    async with serving(http_config(tls=tls)) as served:
        assert await post_tls(served.port, authority, authority.issue("client")) == 200
        for pair in (None, stranger.issue("client of a stranger")):
            with pytest.raises((urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError)):
                await post_tls(served.port, authority, pair)
        assert len(served.sink.requests) == 1


async def test_changed_certificates_are_read_again(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(tls_module, "time", SimpleNamespace(monotonic=lambda: now))
    old, new = Authority(tmp_path, "old"), Authority(tmp_path, "new")
    tls = server_tls(
        old.issue("server"), reload_interval="1m", client_ca_file=str(old.file), client_ca_file_reload=True
    )
    async with serving(http_config(tls=tls)) as served:
        assert await post_tls(served.port, old, old.issue("client")) == 200
        (tmp_path / "server.crt").write_text("half written")
        now = 61.0
        assert await post_tls(served.port, old, old.issue("client")) == 200
        new.issue("server")
        old.file.write_bytes(new.file.read_bytes())  # which clients are trusted changes with it
        now = 122.0
        assert await post_tls(served.port, new, new.issue("client")) == 200


async def test_a_client_authority_that_was_replaced_is_trusted_no_more(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(tls_module, "time", SimpleNamespace(monotonic=lambda: now))
    server, left, joined = (Authority(tmp_path, name) for name in ("of the server", "left", "joined"))
    clients = tmp_path / "clients.pem"
    clients.write_bytes(left.file.read_bytes())
    tls = server_tls(server.issue("server"), client_ca_file=str(clients), client_ca_file_reload=True)
    async with serving(http_config(tls=tls)) as served:
        assert await post_tls(served.port, server, left.issue("l")) == 200
        clients.write_bytes(joined.file.read_bytes())
        now = 2.0
        assert await post_tls(served.port, server, joined.issue("j")) == 200
        with pytest.raises((urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError)):
            await post_tls(served.port, server, left.issue("l"))
