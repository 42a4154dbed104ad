"""Traffic to sample: whole traces in mixed requests, of which some must be kept."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from opentelemetry.proto.trace.v1.trace_pb2 import Status

from spanbridge.processors.attributes import put
from spanbridge.processors.types import Batch, Trace, spans

SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
POLICIES = [
    {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
    {"name": "slow", "type": "latency", "latency": {"threshold_ms": 5000}},
    {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 10}},
]


@dataclass
class Sent:
    """What was sent one way: span ids by trace id, in hex, and the traces for the reckoning."""

    ids: dict[str, set[str]] = field(default_factory=dict)
    whole: list[Trace] = field(default_factory=list)


def make_trace(chance: random.Random, sent: Sent) -> list[Batch]:
    """A trace of two services, a request for each span, the root last. One in 20 fails, one in 20 is slow."""
    trace_id, root = chance.randbytes(16), chance.randbytes(8)
    size, fault = chance.randint(2, 9), chance.random()
    failing = chance.randrange(size) if fault < 0.05 else -1
    slow = chance.randrange(size) if 0.05 <= fault < 0.1 else -1
    parts = []
    for number in range(size):
        batch = Batch()
        resource_spans = batch.resource_spans.add()
        put(resource_spans.resource.attributes, "service.name", f"service {number % 2}")
        is_root = number == size - 1
        span = resource_spans.scope_spans.add().spans.add(trace_id=trace_id, name="root" if is_root else "child")
        span.span_id, span.parent_span_id = (root, b"") if is_root else (chance.randbytes(8), root)
        span.start_time_unix_nano, span.end_time_unix_nano = START, START + (6 if number == slow else 1) * SECOND
        if number == failing:
            span.status.code = Status.STATUS_CODE_ERROR
        parts.append(batch)
    whole = Batch()
    for part in parts:
        whole.MergeFrom(part)
    sent.ids[trace_id.hex()] = {span.span_id.hex() for span in spans(whole)}
    sent.whole.append(Trace(trace_id, whole))
    return parts


def wave(chance: random.Random, count: int, sent: Sent) -> list[Batch]:
    """Requests that mix the spans of `count` traces; those of a trace keep their order."""
    queues = [make_trace(chance, sent) for _ in range(count)]
    requests = [Batch()]
    while queues:
        queue = chance.choice(queues)
        requests[-1].MergeFrom(queue.pop(0))
        if not queue:
            queues.remove(queue)
        if chance.random() < 0.2:
            requests.append(Batch())
    return [request for request in requests if request.resource_spans]


def must_be_kept(trace: Trace) -> bool:
    """The rule of the two policies, told in other words."""
    for span in spans(trace.batch):
        if span.status.code == Status.STATUS_CODE_ERROR or span.end_time_unix_nano - START >= 5 * SECOND:
            return True
    return False
