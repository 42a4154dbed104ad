"""The head stage: what is done to a request before it is committed to the journal, and OK is said."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.journal import Entry, Journal, Signal
from spanbridge.collector.otlp.requests import count
from spanbridge.collector.receivers import Accept
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.stages import RequestProcessor
from spanbridge.processors.types import Batch, Context, Request, span_count

PORTION = 512
"""Spans of a large request that the head stage works on at a time, some 20 ms with everything switched on. What is more
than twice that is large, of requests and of traces."""


@dataclass(frozen=True, slots=True)
class HeadStage:
    """A request processor under its component id.

    One that `observes` changes nothing and is called with what came to it once the request is committed, so that a
    request which its sender has to repeat is not counted twice.
    """

    name: str
    process: RequestProcessor
    observes: bool = False


class Head:
    """The head stage: each processor in turn, then the journal. Its `accept` is what receivers call."""

    def __init__(self, stages: Sequence[HeadStage], journal: Journal, telemetry: Telemetry) -> None:
        self._stages = stages
        self._journal = journal
        self._telemetry = telemetry

    async def accept(self, request: Request, context: Context) -> None:
        """Return once what the stages leave of a request is committed, all of it at once.

        Args:
            request: Spans or log records, edited in place.
            context: What is known of how they came.

        Raises:
            Busy: there is no room for it now, in memory or in the journal.
            TooLarge: it would not even fit into an empty journal.
        """
        signal: Signal = "traces" if isinstance(request, Batch) else "logs"
        observed: list[tuple[RequestProcessor, Request]] = []
        payloads = []
        for portion in portions(request):
            payloads.append(self._run(portion, signal, observed))
            if portion is not request:
                await asyncio.sleep(0)  # others have their turn
        if payload := b"".join(payloads):
            await self._journal.put(Entry(payload, context, signal, sound=True))
        for observe, original in observed:
            observe(original)

    def _run(self, request: Request, signal: Signal, observed: list[tuple[RequestProcessor, Request]]) -> bytes:
        """Return what the stages leave of a request, serialized; nothing if that is nothing."""
        items = count(request)
        for stage in self._stages:
            if stage.observes:
                observed.append((stage.process, deepcopy(request)))  # the stages that follow edit it
                continue
            self._telemetry.incoming_items.labels(stage.name, signal).inc(items)
            request = stage.process(request)
            items = count(request)
            self._telemetry.outgoing_items.labels(stage.name, signal).inc(items)
            if items == 0:
                break
        return request.SerializeToString() if items else b""


def portions(request: Request) -> Iterator[Request]:
    """Yield the request itself, or a large one in requests of `PORTION` spans each, between which others have a turn.

    What is made of them is one entry of the journal again: a concatenation of requests, serialized, is a request.
    """
    if not isinstance(request, Batch) or span_count(request) <= 2 * PORTION:
        yield request
        return
    portion, spans = Batch(), 0
    for resource_spans in request.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            for start in range(0, len(scope_spans.spans), PORTION):
                target = portion.resource_spans.add(schema_url=resource_spans.schema_url)
                target.resource.CopyFrom(resource_spans.resource)
                scope = target.scope_spans.add(schema_url=scope_spans.schema_url)
                scope.scope.CopyFrom(scope_spans.scope)
                scope.spans.extend(scope_spans.spans[start : start + PORTION])
                spans += len(scope.spans)
                if spans >= PORTION:
                    yield portion
                    portion, spans = Batch(), 0
    if spans:
        yield portion


def fan_out(accepts: Sequence[Accept]) -> Accept:
    """Return one `Accept` for several pipelines: each gets a copy of its own, and OK means that all have committed.

    When one of them is busy the sender sends again, and those that had room meet the same spans twice: MLflow's upsert
    by span id makes that harmless, their span_metrics count them twice.

    Raises:
        ConfigError: there is none.
    """
    if len(accepts) == 1:
        return accepts[0]
    if not accepts:
        raise ConfigError(
            ["receivers: a receiver that is in a logs pipeline alone takes no spans; add a traces pipeline"]
        )

    async def accept(request: Request, context: Context) -> None:
        for each in accepts:
            await each(deepcopy(request), context)

    return accept
