"""Requests made to exhaust memory are refused, and what refusing them takes stays bounded.

The receiver runs in a process of its own, whose peak is read from the system.
"""

import functools
import gzip
import http.client
import os
import subprocess
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import grpc
import pytest
import urllib3
import zstandard

from tests.samples.otlp_requests import GRPC_EXPORT, SPANS, batch, message, nested_value

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")

MIB, GIB = 1 << 20, 1 << 30
LIMIT = 64 * MIB

SERVER = """
import asyncio, ctypes, gc, sys
from tests.samples.otlp_requests import grpc_config, http_config, serving

def peak():
    with open("/proc/self/status") as status:
        highest = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    gc.collect()  # a connection that is closed is a circle of objects, with the request that came over it
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/clear_refs", "w") as reset:
        reset.write("5")  # proc(5): the peak starts anew
    return highest

async def forget(request, context):
    pass

async def main():
    async with serving(grpc_config(), sink=forget) as grpc, serving(http_config(), sink=forget) as http:
        print(grpc.port, http.port, flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(peak(), flush=True)

asyncio.run(main())
"""


GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(MIB), "MALLOC_ARENA_MAX": "2"}
"""glibc gives memory back as soon as it is free, so that one test's peak is not the next one's start."""


class Receiver:
    """A receiver in another process."""

    def __init__(self, process):
        self._process = process
        self.grpc, self.http = map(int, process.stdout.readline().split())
        self._idle = self._peak()

    def grown(self):
        """The most memory it has had since it was asked last, less what it had at the start, in bytes."""
        return self._peak() - self._idle

    def _peak(self):
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline()) * 1024


@pytest.fixture(scope="module")
def receiver():
    command = [sys.executable, "-c", SERVER]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ | GIVE_BACK
    ) as process:
        yield Receiver(process)
        process.stdin.close()


def post(receiver, body, content_type="application/x-protobuf", **headers):
    with urllib3.PoolManager(retries=False, timeout=60) as pool:
        url = f"http://127.0.0.1:{receiver.http}/v1/traces"
        return pool.request("POST", url, body=body, headers={"content-type": content_type, **headers}).status


def call(receiver, body, **options):
    with grpc.insecure_channel(f"127.0.0.1:{receiver.grpc}", options=[("grpc.max_send_message_length", -1)]) as channel:
        try:
            channel.unary_unary(GRPC_EXPORT)(body, timeout=60, **options)
        except grpc.RpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@functools.cache
def deflated(wbits):
    """More than 4 GiB of zeros in a few MB: a block that stands for 16 MiB, over and over."""
    squeezer = zlib.compressobj(9, wbits=wbits)
    start = squeezer.compress(bytes(16 * MIB)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    block = squeezer.compress(bytes(16 * MIB)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return start + block * 260


def zstd_blocks():
    """More than 100 GiB of zeros in 4 MB: blocks of one byte that stands for 128 KiB (RFC 8878 3.1.1.2)."""
    header = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x58"
    block = ((128 * 1024) << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    return header + block * MIB


BOMBS = {
    "gzip": ("gzip", lambda: deflated(31)),
    "gzip of many members": ("gzip", lambda: gzip.compress(bytes(32 * MIB)) * 130),
    "deflate in zlib": ("deflate", lambda: deflated(15)),
    "deflate raw": ("deflate", lambda: deflated(-15)),
    "zstd": ("zstd", zstd_blocks),
    "zstd of many frames": ("zstd", lambda: zstandard.compress(bytes(32 * MIB)) * 130),
}


def test_the_bombs_are_bombs():
    plain = zlib.decompressobj(31).decompress(deflated(31), 17 * MIB)
    assert plain == bytes(17 * MIB)
    reader = zstandard.ZstdDecompressor().stream_reader(zstd_blocks())
    assert reader.read(MIB) == bytes(MIB)


@pytest.mark.parametrize(("coding", "make"), BOMBS.values(), ids=BOMBS)
def test_compressed_bombs(receiver, coding, make):
    bomb = make()
    assert len(bomb) < 5 * MIB
    assert post(receiver, bomb, **{"content-encoding": coding}) == 413
    if coding != "zstd" and bomb[:1] in (b"\x1f", b"\x78"):
        assert call(receiver, bomb) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert receiver.grown() < 3 * LIMIT
    assert post(receiver, batch().SerializeToString()) == 200


def test_bombs_at_once_do_not_add_up_without_end(receiver):
    bomb = zstd_blocks()
    with ThreadPoolExecutor(10) as senders:
        statuses = list(senders.map(lambda _: post(receiver, bomb, **{"content-encoding": "zstd"}), range(20)))
    assert set(statuses) <= {413, 503}
    assert receiver.grown() < 10 * LIMIT


def test_what_grpc_itself_compressed(receiver):
    packed = grpc.Compression.Gzip
    assert call(receiver, bytes(256 * MIB), compression=packed) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert receiver.grown() < 3 * LIMIT


def test_one_byte_too_many(receiver):
    body = bytes(LIMIT + 1)
    assert post(receiver, body) == 413
    assert post(receiver, iter([body])) == 413
    assert call(receiver, body) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert receiver.grown() < 3 * LIMIT


def test_a_request_that_fills_the_limit_is_taken(receiver):
    name = LIMIT - len(message(*SPANS, 2, 5, payload=bytes(LIMIT))) + LIMIT
    body = message(
        *SPANS, 2, payload=b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8 + message(5, payload=b"n" * (name - 28))
    )
    assert len(body) == LIMIT
    assert post(receiver, body) == 200
    assert call(receiver, body) == grpc.StatusCode.OK
    assert post(receiver, body + b"\0") == 413


EMPTY = LIMIT // 2 - 64
UNFOLDING = {
    "spans of nothing": ("application/x-protobuf", lambda: message(*SPANS, payload=b"\x12\x00" * EMPTY)),
    "attributes of nothing": ("application/x-protobuf", lambda: message(*SPANS, 2, payload=b"\x4a\x00" * EMPTY)),
    "events of nothing": ("application/x-protobuf", lambda: message(*SPANS, 2, payload=b"\x5a\x00" * EMPTY)),
    "JSON spans of nothing": (
        "application/json",
        lambda: b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * (LIMIT // 4) + b"{}]}]}]}",
    ),
}


@pytest.mark.parametrize(("content_type", "make"), UNFOLDING.values(), ids=UNFOLDING)
def test_requests_made_of_nothing(receiver, content_type, make):
    assert post(receiver, make(), content_type) == 413
    assert receiver.grown() < 4 * LIMIT


def test_a_million_attributes_are_taken_within_bounds(receiver):
    attribute = message(9, payload=b"\x0a\x05key%02d\x12\x0c\x0a\x0avalue%05d" % (1, 1))
    body = message(*SPANS, 2, payload=b"\x0a\x10" + b"t" * 16 + b"\x12\x08" + b"s" * 8 + attribute * 1_000_000)
    assert post(receiver, body) == 200
    assert receiver.grown() < 5 * LIMIT


@pytest.mark.parametrize("depth", [100, 10_000])
def test_bottomless_nesting(receiver, depth):
    assert post(receiver, nested_value(depth)) == 400
    assert call(receiver, nested_value(depth)) == grpc.StatusCode.INVALID_ARGUMENT
    assert post(receiver, b'{"resourceSpans":' * depth, "application/json") == 400
    assert post(receiver, b"[" * depth, "application/json") == 400
    assert receiver.grown() < LIMIT


def test_a_message_announced_and_not_sent_costs_nothing(receiver):
    with closing(http.client.HTTPConnection("127.0.0.1", receiver.http, timeout=20)) as connection:
        connection.putrequest("POST", "/v1/traces")
        connection.putheader("content-type", "application/x-protobuf")
        connection.putheader("content-length", str(4 * GIB))
        connection.endheaders()
        assert connection.getresponse().status == 413
    assert receiver.grown() < LIMIT
