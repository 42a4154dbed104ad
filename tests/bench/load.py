"""A load generator: prepared OTLP/gRPC requests, sent as fast as they are answered or at a fixed rate."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from multiprocessing import get_context

import grpc.aio

from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@dataclass(frozen=True)
class Shape:
    """What is sent: `requests` requests of `spans` spans, 8 spans a trace, about 0.8 KB a span."""

    requests: int
    spans: int
    connections: int = 4
    in_flight: int = 16
    rate: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """Seconds it took, answers that were not OK, and the latency of OK in seconds."""

    seconds: float
    failed: int
    p50: float
    p99: float


def request(spans: int, trace_size: int = 8) -> bytes:
    """A serialized request of fresh traces of the bench mix: 9 resource attributes, 9 attributes a span."""
    batch = Batch()
    resource = batch.resource_spans.add()
    for number in range(9):
        put(resource.resource.attributes, f"service.attribute.{number}", f"value of attribute {number}")
    put(resource.resource.attributes, "service.name", "bench")
    scope = resource.scope_spans.add()
    scope.scope.name = "bench"
    for number in range(spans):
        if number % trace_size == 0:
            trace_id, root = os.urandom(16), os.urandom(8)
        first = number % trace_size == 0
        span = scope.spans.add(trace_id=trace_id, span_id=root if first else os.urandom(8), name="chat gpt-4o-mini")
        span.parent_span_id = b"" if first else root
        span.start_time_unix_nano = time.time_ns() - 1_000_000_000
        span.end_time_unix_nano = span.start_time_unix_nano + 900_000_000
        _attributes(span, number)
    return batch.SerializeToString()


def _attributes(span, number: int) -> None:
    put(span.attributes, "gen_ai.operation.name", "chat")
    put(span.attributes, "gen_ai.provider.name", "openai")
    put(span.attributes, "gen_ai.request.model", "gpt-4o-mini")
    put(span.attributes, "gen_ai.usage.input_tokens", 40 + number % 7)
    put(span.attributes, "gen_ai.usage.output_tokens", 7)
    put(span.attributes, "gen_ai.request.temperature", 0.5)
    question = '[{"role": "user", "parts": [{"type": "text", "content": "What is the weather in Paris? %s"}]}]'
    answer = '[{"role": "assistant", "parts": [{"type": "text", "content": "It is sunny in Paris. %s"}]}]'
    put(span.attributes, "gen_ai.input.messages", question % ("x" * 60))
    put(span.attributes, "gen_ai.output.messages", answer % ("y" * 60))
    put(span.attributes, "session.id", f"session {number % 50}")


def run(port: int, shape: Shape) -> Outcome:
    """Send from a process of its own, so that it shares no interpreter with anything that is measured."""
    context = get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_main, args=(port, shape, queue))
    process.start()
    outcome = queue.get(timeout=300)
    process.join()
    return outcome


def _main(port: int, shape: Shape, queue) -> None:
    payloads = [request(shape.spans) for _ in range(shape.requests)]
    queue.put(asyncio.run(_send(port, shape, payloads)))


async def _send(port: int, shape: Shape, payloads: list[bytes]) -> Outcome:
    options = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options) for _ in range(shape.connections)]
    calls = [channel.unary_unary(EXPORT) for channel in channels]
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    latencies: list[float] = []
    failed = 0
    gate = asyncio.Semaphore(shape.in_flight)

    async def one(number: int, payload: bytes) -> None:
        nonlocal failed
        async with gate:
            started = time.perf_counter()
            try:
                await calls[number % len(calls)](payload, timeout=60)
                latencies.append(time.perf_counter() - started)
            except grpc.aio.AioRpcError:
                failed += 1

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number, payload in enumerate(payloads):
            if shape.rate:
                await asyncio.sleep(max(0.0, began + number / shape.rate - time.perf_counter()))
            group.create_task(one(number, payload))
    seconds = time.perf_counter() - began
    for channel in channels:
        await channel.close()
    latencies.sort()
    return Outcome(seconds, failed, statistics.median(latencies), latencies[int(len(latencies) * 0.99)])
