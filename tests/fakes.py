"""Stand-ins that obey the contract of the real thing: an exporter in memory, and servers that no test can run."""

from __future__ import annotations

import contextlib
import gzip
import json
import re
import ssl
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanbridge.collector.errors import Permanent, Retryable
from spanbridge.collector.exporters import SerializedTrace
from spanbridge.processors.types import Trace, spans


@dataclass(frozen=True)
class Seen:
    """A request; header names are in lower case, the body is decompressed."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """An answer; a body that isn't bytes goes out as JSON."""

    status: int = 200
    body: Any = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Respond = Callable[[Seen], Answer]


@contextlib.contextmanager
def http_server(respond: Respond, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that answers each request by `respond`, several at a time; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            parts = urlsplit(self.path)
            query = {key: values[0] for key, values in parse_qs(parts.query).items()}
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = respond(Seen(self.command, parts.path, query, headers, body))
            payload = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_PUT = do_PATCH = _serve  # noqa: N815  the names http.server looks for

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # a client that goes away is its own affair
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Databricks:
    """The endpoints of a Databricks workspace that traces are written to, with experiments and artifacts in memory.

    `failures` are answered first. `experiments` are names by id, `infos` the trace infos by trace id as they were
    sent, `artifacts` the uploaded trace data by trace id, `tables` the OTLP requests by Unity Catalog table.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.failures: list[Answer] = []
        self.experiments: dict[str, str] = {}
        self.infos: dict[str, Any] = {}
        self.artifacts: dict[str, Any] = {}
        self.tables: dict[str, list[ExportTraceServiceRequest]] = {}
        self.address = ""

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        with http_server(self._respond) as self.address:
            yield self.address

    def _respond(self, seen: Seen) -> Answer:
        self.seen.append(seen)
        if seen.path.startswith("/api/") and self.failures:
            return self.failures.pop(0)
        for method, pattern, answer in self._routes():
            if seen.method == method and (match := re.fullmatch(pattern, seen.path)):
                return answer(seen, *match.groups())
        return Answer(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": f"no {seen.path}"})

    def _routes(self) -> list[tuple[str, str, Callable[..., Answer]]]:
        experiments, traces = "/api/2.0/mlflow/experiments", r"/api/[23].0/mlflow/traces"
        return [
            ("GET", f"{experiments}/get-by-name", self._by_name),
            ("GET", f"{experiments}/get", lambda seen: self._experiment(seen.query["experiment_id"])),
            ("POST", f"{experiments}/create", self._create_experiment),
            ("POST", traces, self._start_trace),
            ("GET", f"{traces}/([^/]+)", self._trace),
            ("GET", f"{traces}/([^/]+)/credentials-for-data-(?:up|down)load", self._credentials),
            ("PUT", "/artifacts/(.+)", self._upload),
            ("GET", "/artifacts/(.+)", self._download),
            ("POST", "/api/2.0/otel/v1/traces", self._otlp),
            ("GET", "/api/2.1/unity-catalog/schemas/main.traces", lambda _: Answer(body={"name": "traces"})),
            ("POST", "/api/4.0/mlflow/traces/([^/]+)/([^/]+)/info", self._uc_info),
        ]

    def _by_name(self, seen: Seen) -> Answer:
        ids = {name: identity for identity, name in self.experiments.items()}
        return self._experiment(ids.get(seen.query["experiment_name"]))

    def _create_experiment(self, seen: Seen) -> Answer:
        identity = str(len(self.experiments) + 1)
        self.experiments[identity] = seen.json["name"]
        return Answer(body={"experiment_id": identity})

    def _trace(self, _: Seen, trace_id: str) -> Answer:
        if trace_id not in self.infos:
            return Answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such trace"})
        return Answer(body={"trace": {"trace_info": self.infos[trace_id]}})

    def _credentials(self, _: Seen, trace_id: str) -> Answer:
        signed = {"signed_uri": f"{self.address}/artifacts/{trace_id}", "type": "AWS_PRESIGNED_URL"}
        return Answer(body={"credential_info": signed})

    def _upload(self, seen: Seen, trace_id: str) -> Answer:
        self.artifacts[trace_id] = seen.json
        return Answer()

    def _download(self, _: Seen, trace_id: str) -> Answer:
        return Answer(body=self.artifacts[trace_id]) if trace_id in self.artifacts else Answer(404)

    def _otlp(self, seen: Seen) -> Answer:
        table = self.tables.setdefault(seen.headers["x-databricks-uc-table-name"], [])
        table.append(ExportTraceServiceRequest.FromString(seen.body))
        return Answer()

    def _uc_info(self, seen: Seen, location: str, trace_id: str) -> Answer:
        self.infos[f"{location}/{trace_id}"] = seen.json
        return Answer(body=seen.json)

    def _experiment(self, identity: str | None) -> Answer:
        if identity not in self.experiments:
            return Answer(404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "no such experiment"})
        found = {"experiment_id": identity, "name": self.experiments[identity], "lifecycle_stage": "active"}
        return Answer(body={"experiment": found})

    def _start_trace(self, seen: Seen) -> Answer:
        info = seen.json["trace"]["trace_info"]
        location = f"dbfs:/databricks/mlflow-tracking/traces/{info['trace_id']}"
        stored = {**info, "tags": {**info.get("tags", {}), "mlflow.artifactLocation": location}}
        self.infos[info["trace_id"]] = stored
        return Answer(body={"trace": {"trace_info": stored}})


class MemoryExporter:
    """An `Exporter` that keeps what it gets by (trace id, span id), as MLflow does.

    `verdict` is asked before each send and may raise; `calls` is what was sent, in order; `rejects` is how many spans
    of a send it says it rejected.
    """

    def __init__(self, verdict: Callable[[Sequence[Trace]], None] = lambda traces: None) -> None:
        self.verdict = verdict
        self.rejects = 0
        self.spans: dict[tuple[bytes, bytes], str] = {}
        self.calls: list[list[bytes]] = []
        self._lock = threading.Lock()

    def group(self, trace: Trace) -> Hashable:
        return trace.context.experiment_name

    def send(self, traces: Sequence[SerializedTrace]) -> int:
        with self._lock:
            self.calls.append([trace.trace_id for trace in traces])
        decoded = [trace.decode() for trace in traces]
        self.verdict(decoded)
        with self._lock:
            for trace in decoded:
                for span in spans(trace.batch):
                    self.spans[(span.trace_id, span.span_id)] = span.name
        return self.rejects

    def close(self) -> None:
        pass


def refuse_spans(*names: str, error: type[Exception] = Permanent) -> Callable[[Sequence[Trace]], None]:
    """A verdict that refuses every send holding a span of these names."""

    def verdict(traces: Sequence[Trace]) -> None:
        if any(span.name in names for trace in traces for span in spans(trace.batch)):
            raise error("a span it does not like")

    return verdict


def fail_first(times: int, retry_after: float | None = None) -> Callable[[Sequence[Trace]], None]:
    """A verdict that fails the first `times` sends."""
    left = [times]

    def verdict(traces: Sequence[Trace]) -> None:
        if left[0]:
            left[0] -= 1
            raise Retryable("not now", retry_after)

    return verdict
