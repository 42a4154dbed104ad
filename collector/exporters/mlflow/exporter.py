"""The exporter of whole traces to MLflow, in the collector and in process."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from spanbridge.collector.errors import ExportError, Held, Permanent, Retryable
from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.exporters.mlflow.destination import Destination, open_destination
from spanbridge.collector.exporters.mlflow.record.record import Recorder
from spanbridge.collector.exporters.mlflow.routing import Route, Router
from spanbridge.collector.exporters.mlflow.settings import RESOURCE_TAGS, MlflowSettings, settings_from
from spanbridge.collector.exporters.mlflow.trace_buffer import TraceBuffer
from spanbridge.processors.types import Trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

_log = logging.getLogger(__name__)

_FIRST_WAIT = 1.0
_LONGEST_WAIT = 8.0


class MlflowSpanExporter(SpanExporter):
    """An exporter to MLflow: a tracking server, a tracking database, or Databricks.

    In the collector it is an Exporter (`group`, `send`, `close`): whole traces come from assembly, and delivery
    retries. In process it is a SpanExporter, as in `BatchSpanProcessor(MlflowSpanExporter("http://mlflow:5000", "my
    experiment"))`: it then makes whole traces itself and retries within `timeout`, but what is in memory dies with the
    process.

    Args:
        tracking_uri: Where MLflow is; see `MlflowSettings`.
        experiment: Name of an experiment, or a template over resource attributes.
        environ: The environment; what is not given is taken from the variables that MLflow's users set already.
        open_destination: Makes the destination of settings.
        options: Other fields of `MlflowSettings`.

    Raises:
        ConfigError: An address or a template can't work. No connection is opened yet.
    """

    def __init__(
        self,
        tracking_uri: str | None = None,
        experiment: str | None = None,
        *,
        environ: Mapping[str, str] = os.environ,
        open_destination: Callable[[MlflowSettings], Destination] = open_destination,
        **options: Any,
    ) -> None:
        settings = settings_from(environ, tracking_uri=tracking_uri, experiment=experiment, **options)
        self._timeout = settings.timeout
        self._router = Router(settings)
        self._record = Recorder(RESOURCE_TAGS if settings.resource_tags is None else settings.resource_tags)
        self._destination = open_destination(settings)
        self._buffer = TraceBuffer()
        self._preparing = threading.Lock()
        self._stopping = threading.Event()

    def group(self, trace: Trace) -> Route:
        """Return the route of a trace: traces of the same experiment, run and workspace go in one request.

        A request may mix resources, since MLflow takes the tags of a trace from the resource of its own spans.
        """
        return self._router(trace)

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        """Write traces of one group; see `spanbridge.collector.exporters.Exporter`.

        Raises:
            ExportError: MLflow did not take them.
        """
        with self._preparing:
            decoded = [trace.decode() for trace in traces]
        self._write(decoded)
        return 0  # MLflow takes a request as a whole or not at all

    def close(self) -> None:
        """Give back connections; no `send` follows."""
        self._destination.close()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take in spans that have ended, and send the traces that are whole."""
        from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans  # noqa: PLC0415  in process only

        if self._stopping.is_set():
            return SpanExportResult.FAILURE
        sent = self._deliver(self._buffer.add(encode_spans(spans)))
        return SpanExportResult.SUCCESS if sent else SpanExportResult.FAILURE

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send what is held, whole or not; return whether MLflow has it all."""
        return self._deliver(self._buffer.flush(), timeout_millis / 1000)

    def shutdown(self) -> None:
        """Send what is held, then close."""
        if self._stopping.is_set():
            return
        self.force_flush(int(self._timeout * 1000))
        self._stopping.set()
        self.close()

    def _write(self, traces: Sequence[Trace]) -> None:
        """Write traces of one group. Raises ExportError as `send` does.

        One thread prepares at a time: more would take nothing but the interpreter from those who accept spans.
        """
        with self._preparing:
            now = time.time_ns()
            records = [record for trace in traces if (record := self._record(trace, now)) is not None]
        if records:
            self._destination.write(self.group(traces[0]), records)

    def _deliver(self, traces: Sequence[Trace], timeout: float | None = None) -> bool:
        deadline = time.monotonic() + (self._timeout if timeout is None else timeout)
        groups: dict[Route, list[Trace]] = {}
        for trace in traces:
            groups.setdefault(self.group(trace), []).append(trace)
        return self._send_each(deadline, groups.values())

    def _send_each(self, deadline: float, groups: Iterable[Sequence[Trace]]) -> bool:
        sent = [self._send_until(deadline, group) for group in groups]  # all of them, also after one has failed
        return all(sent)

    def _send_until(self, deadline: float, traces: Sequence[Trace]) -> bool:
        """Send, and send again while it may help; a refused group is sent trace by trace."""
        wait = _FIRST_WAIT
        while True:
            try:
                self._write(traces)
            except ExportError as error:
                if isinstance(error, Permanent) and len(traces) > 1:
                    return self._send_each(deadline, ([trace] for trace in traces))
                pause = self._pause(error, wait)
                if pause is None or time.monotonic() + pause >= deadline or self._stopping.wait(pause):
                    _log.error("%d traces are lost: %s", len(traces), error)
                    return False
                wait = min(2 * wait, _LONGEST_WAIT)
            else:
                return True

    @staticmethod
    def _pause(error: ExportError, wait: float) -> float | None:
        """Seconds until the next attempt; None if there is no point in one."""
        if isinstance(error, Held) or not isinstance(error, Retryable):
            return None
        return wait * random.uniform(0.5, 1.0) if error.retry_after is None else error.retry_after  # noqa: S311
