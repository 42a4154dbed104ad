"""Many connections that say nothing or little, requests in requests, and paths that are others in disguise."""

import asyncio
import contextlib
import resource

import grpc
import grpc.aio
import pytest

from spanbridge.collector.receivers.otlp import grpc_server as otlp_grpc
from tests.samples.otlp_requests import GRPC_EXPORT, batch, eventually, grpc_config, http_config, serving

ONE = batch().SerializeToString()
PROTOBUF = "application/x-protobuf"
IDLE = 2000
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])  # and an empty SETTINGS frame


@pytest.fixture(autouse=True)
def enough_descriptors():
    """Both ends of 2,000 connections are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * IDLE + 500), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextlib.asynccontextmanager
async def crowd(port, count, said=b""):
    """Connections that send `said` and no more; those the server turns away at once count too."""
    gate = asyncio.Semaphore(100)

    async def connect():
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            with contextlib.suppress(ConnectionError):
                writer.write(said)
                await writer.drain()
            return reader, writer

    clients = await asyncio.gather(*(connect() for _ in range(count)))
    try:
        yield clients
    finally:
        for _, writer in clients:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in clients), return_exceptions=True)


def request(path="/v1/traces", body=ONE, more=""):
    length = f"content-length: {len(body)}\r\n"
    return f"POST {path} HTTP/1.1\r\nhost: h\r\ncontent-type: {PROTOBUF}\r\n{length}{more}\r\n".encode() + body


async def said(port, sent):
    """Everything the server answers to some bytes until it closes or falls silent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    writer.write(sent)
    with contextlib.suppress(ConnectionError, TimeoutError):
        while True:
            async with asyncio.timeout(1.5):
                more = await reader.read(65536)
            if not more:
                break
            answer += more
    writer.close()
    with contextlib.suppress(ConnectionError):
        await writer.wait_closed()
    return answer


async def good_http(port):
    return (await said(port, request(more="connection: close\r\n"))).startswith(b"HTTP/1.1 200 ")


async def good_grpc(port):
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as client:
        try:
            return await client.unary_unary(GRPC_EXPORT)(ONE, timeout=2) == b""
        except grpc.aio.AioRpcError:
            return False


async def until_good(good, port):
    async with asyncio.timeout(30):
        while not await good(port):  # noqa: ASYNC110  it asks a server
            await asyncio.sleep(0.05)


async def test_2000_idle_connections_do_not_shut_others_out_of_http():
    async with serving(http_config()) as served, crowd(served.port, IDLE):
        assert await good_http(served.port)  # an idle one makes room at once


async def test_2000_idle_connections_do_not_shut_others_out_of_grpc(monkeypatch):
    monkeypatch.setattr(otlp_grpc, "_HANDSHAKE_TIMEOUT", 1.0)
    async with serving(grpc_config()) as served, crowd(served.port, IDLE):
        await until_good(good_grpc, served.port)


async def test_idle_grpc_connections_that_spoke_go_after_their_time():
    keepalive = {"server_parameters": {"max_connection_idle": "1s"}}
    async with (
        serving(grpc_config(max_connections=50, keepalive=keepalive)) as served,
        crowd(served.port, 200, PREFACE),
    ):
        await until_good(good_grpc, served.port)


@pytest.mark.parametrize("sent", [b"P", b"POST /v1/traces HTTP/1.1\r\nx: ", request()[:-1]])
async def test_600_slow_clients_do_not_shut_others_out_of_http(sent):
    config = http_config(read_header_timeout="1s", read_timeout="1s")
    async with serving(config) as served, crowd(served.port, 600, sent) as clients:
        await until_good(good_http, served.port)
        for reader, _ in clients:  # all of them are cut, not only those above the bound
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(20):
                    await reader.read()
        assert served.sink.requests == [batch()] * len(served.sink.requests)


async def test_slow_grpc_calls_do_not_shut_others_out(monkeypatch):
    monkeypatch.setattr(otlp_grpc, "_READ_TIMEOUT", 1.0)
    config = grpc_config(max_concurrent_streams=100)
    async with serving(config) as served, grpc.aio.insecure_channel(f"127.0.0.1:{served.port}") as slow:
        calls = [slow.stream_unary(GRPC_EXPORT)() for _ in range(100)]
        assert await good_grpc(served.port)
        assert {await call.code() for call in calls} == {grpc.StatusCode.INVALID_ARGUMENT}


async def test_a_client_that_is_slow_with_large_requests_does_not_shut_others_out():
    """Who has no name is known by the address."""
    config = http_config(max_request_body_size=1000)
    stalled = request(body=bytes(1000))[:-1]
    async with serving(config) as served, crowd(served.port, 8, stalled):
        await eventually(lambda: served.outcomes("http")["refused"] == 6)
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port, local_addr=("127.0.0.2", 0))
        writer.write(request(more="connection: close\r\n"))
        assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
        writer.close()
        await writer.wait_closed()


INNER = request(more="x-mlflow-experiment-name: smuggled\r\n")
SMUGGLED = {
    "length and chunked": f"content-length: {len(INNER)}\r\ntransfer-encoding: chunked\r\n",
    "chunked and length": f"transfer-encoding: chunked\r\ncontent-length: {len(INNER)}\r\n",
    "two lengths": f"content-length: 0\r\ncontent-length: {len(INNER)}\r\n",
    "a list of lengths": f"content-length: 0, {len(INNER)}\r\n",
    "a signed length": f"content-length: +{len(INNER)}\r\n",
    "a length in hex": f"content-length: {len(INNER):#x}\r\n",
    "a length with a space before the colon": f"content-length : {len(INNER)}\r\n",
    "a folded length": f"content-length:\r\n {len(INNER)}\r\n",
    "a coding that is not chunked": "transfer-encoding: xchunked\r\n",
    "chunked not last": "transfer-encoding: chunked, identity\r\n",
    "chunked twice": "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
    "a vertical tab before chunked": "transfer-encoding: \x0bchunked\r\n",
    "a bare line feed": f"x: y\ncontent-length: {len(INNER)}\r\n",
    "a NUL in a header": f"x: \0\r\ncontent-length: {len(INNER)}\r\n",
}


@pytest.mark.parametrize("fields", SMUGGLED.values(), ids=SMUGGLED)
async def test_a_request_in_a_request_is_not_found(fields):
    """Whatever stands in front may read a length otherwise: none that could be read otherwise is taken."""
    head = f"POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: {PROTOBUF}\r\n{fields}\r\n".encode()
    async with serving(http_config()) as served:
        answer = await said(served.port, head + INNER)
        assert not answer.startswith(b"HTTP/1.1 2")
        assert served.sink.contexts == []
        assert await good_http(served.port)


async def test_bodies_that_lie_about_their_chunks_are_refused():
    head = f"POST /v1/traces HTTP/1.1\r\nhost: h\r\ncontent-type: {PROTOBUF}\r\ntransfer-encoding: chunked\r\n\r\n"
    async with serving(http_config()) as served:
        for size in (b"0x5", b"-1", b"5 5", b"ffffffffffffffff1", b""):
            answer = await said(served.port, head.encode() + size + b"\r\n" + b"hello\r\n0\r\n\r\n" + INNER)
            assert answer.startswith(b"HTTP/1.1 400 "), size
        assert served.sink.contexts == []


@pytest.mark.parametrize(
    "path",
    [
        "/v1/traces/",
        "//v1/traces",
        "/v1//traces",
        "/v1/./traces",
        "/v1/x/../traces",
        "/../v1/traces",
        "/v1/%74races",
        "/v1%2ftraces",
        "/v1/traces%00",
        "/v1/traces;x",
        "/V1/TRACES",
        "/v1/traces%0d%0ax:%20y",
        "/etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/metrics",
        "/",
        "*",
    ],
)
async def test_a_path_is_what_it_says_and_nothing_else(path):
    async with serving(http_config()) as served:
        status = (await said(served.port, request(path, more="connection: close\r\n")))[9:12]
        assert status in (b"400", b"404")
        assert served.sink.requests == []


async def test_an_absolute_url_and_a_query_lead_no_further():
    """Both are legal; neither chooses anything but the path."""
    async with serving(http_config()) as served:
        for path in ("/v1/traces?path=/etc/passwd", "/v1/traces?x-mlflow-experiment-name=y"):
            answer = await said(served.port, request(path, more="connection: close\r\n"))
            assert answer.startswith(b"HTTP/1.1 200 ")
        await eventually(lambda: len(served.sink.contexts) == 2)
        assert {context.experiment_name for context in served.sink.contexts} == {""}
