"""An MLflow tracking server over HTTP: OTLP for the spans, REST for what OTLP can't carry. Doesn't import mlflow.

Endpoints: mlflow/server/otel_api.py (POST /v1/traces) and mlflow/server/handlers.py (the REST API).
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from spanbridge.collector.errors import Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.experiments import Experiment, Experiments
from spanbridge.collector.exporters.mlflow.record.amendment import (
    Amendment,
    Stored,
    amendment,
    assumed,
    is_needed,
    known_state,
    must_look,
)
from spanbridge.collector.exporters.mlflow.record.record import TraceRecord
from spanbridge.collector.exporters.mlflow.routing import Route
from spanbridge.collector.exporters.mlflow.server.rest import Json, Reply, Rest, checked
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings
from spanbridge.processors.types import Batch

TRACES = "/v1/traces"
_EXPERIMENTS = "/api/2.0/mlflow/experiments"
_TRACES_V2 = "/api/2.0/mlflow/traces"
_TRACES_V3 = "/api/3.0/mlflow/traces"
_UNKNOWN = "RESOURCE_DOES_NOT_EXIST"
_SERVER_INFO = "/api/3.0/mlflow/server-info"
_MAX_LINKS = 100

OLDEST = (3, 14)
"""The first MLflow that was seen to make tags of resource attributes."""
COUNTS_ONCE = (3, 15)
"""The first whose totals of a trace leave out the spans below one that has sums: 3.14 counts those tokens twice."""


class TrackingServer:
    """A destination: an MLflow server."""

    def __init__(self, settings: MlflowSettings) -> None:
        self._rest = Rest(settings)
        self._encoding = threading.Lock()
        self._experiments = Experiments(self, create=settings.create_experiments, where=settings.tracking_uri)

    def write(self, route: Route, records: Sequence[TraceRecord]) -> None:
        """Send the spans of all records in one request, then the rest of those that need it.

        One thread encodes at a time: more would take nothing but the interpreter from those who accept spans.

        Raises:
            ExportError: As `Destination.write`.
        """
        experiment_id = self._experiments.resolve(route)
        headers = {"x-mlflow-experiment-id": experiment_id, **_scope(route)}
        if route.run_id:
            headers["x-mlflow-run-id"] = route.run_id
        with self._encoding:
            body = encode(records)
        reply = self._rest.send_otlp(TRACES, body, headers)
        if reply.error_code == _UNKNOWN:
            self._experiments.forget(route)
            raise Retryable(f"{self._rest.uri}: experiment {experiment_id} is gone; looking it up again")
        self._checked(reply, route)
        for record in records:
            if is_needed(record):
                self._amend(record, experiment_id, _scope(route))
        self._link(route, [record.mlflow_id for record in records if not record.has_root])

    def check(self, route: Route) -> Iterator[str]:
        """See `Destination`. Writing is tried with a request that holds no span.

        Raises:
            ExportError: The first thing that does not work.
        """
        reply = self._rest.get("/version", {}, {})
        version = reply.body.decode("utf-8", "replace")
        if not (numbers := re.match(r"(\d+)\.(\d+)\S*$", version)):
            checked(reply, self._rest.uri)
            raise Held(f"{self._rest.uri} is no MLflow server; check tracking_uri and its static prefix")
        yield f"{self._rest.uri} is MLflow {version}"
        if (int(numbers[1]), int(numbers[2])) < OLDEST:
            raise Held(f"{self._rest.uri}: MLflow {version} drops the tags of traces; upgrade it to 3.14 or later")
        if (int(numbers[1]), int(numbers[2])) < COUNTS_ONCE:
            yield f"MLflow {version} adds a span's tokens to those of the spans it sums up; 3.15 counts them once"
        info = checked(self._rest.get(_SERVER_INFO, {}, {}), self._rest.uri).json
        if "File" in info.get("store_type", ""):
            raise Held(f"{self._rest.uri} keeps files; start it with a database as its --backend-store-uri")
        yield self._experiments.check(route)
        if found := self._experiments.look(route):
            headers = {"x-mlflow-experiment-id": found.id, **_scope(route)}
            nothing = Batch()
            nothing.resource_spans.add()
            checked(self._rest.send_otlp(TRACES, nothing.SerializeToString(), headers), self._rest.uri)
            yield f"traces can be written to experiment {found.name!r}"

    def close(self) -> None:
        """Close the connections."""
        self._rest.close()

    def find_experiment(self, route: Route) -> Experiment | None:
        """See `Directory`."""
        path = f"{_EXPERIMENTS}/get" if route.by_id else f"{_EXPERIMENTS}/get-by-name"
        query = {"experiment_id" if route.by_id else "experiment_name": route.experiment}
        reply = self._rest.get(path, query, _scope(route))
        if reply.error_code == _UNKNOWN:
            return None
        self._checked(reply, route)
        with self._understanding():
            found = reply.json["experiment"]
            return Experiment(found["experiment_id"], found["name"], found["lifecycle_stage"] == "active")

    def create_experiment(self, route: Route) -> str:
        """See `Directory`."""
        reply = self._rest.send_json("POST", f"{_EXPERIMENTS}/create", {"name": route.experiment}, _scope(route))
        if reply.error_code == "RESOURCE_ALREADY_EXISTS" and (found := self.find_experiment(route)):
            return found.id
        self._checked(reply, route)
        with self._understanding():
            return str(reply.json["experiment_id"])

    @contextlib.contextmanager
    def _understanding(self) -> Iterator[None]:
        """An answer that says success and is not MLflow's comes from something in between, and not for ever."""
        try:
            yield
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise Retryable(f"{self._rest.uri} answers what MLflow would not; is a proxy in between?") from error

    def _checked(self, reply: Reply, route: Route) -> Reply:
        """As `checked`, but an experiment that a sender named and may not write to is no reason to hold the others."""
        if reply.status == HTTPStatus.FORBIDDEN and route.by_client and reply.message.startswith("Permission denied"):
            raise Permanent(f"{self._rest.uri} answers 403: permission denied for experiment {route.experiment!r}")
        return checked(reply, self._rest.uri)

    def _amend(self, record: TraceRecord, experiment_id: str, scope: Mapping[str, str]) -> None:
        stored = self._stored(record, scope) if must_look(record) else assumed(record, experiment_id)
        update = amendment(record, stored) if stored else None
        if update is None:
            return
        if update.client_request_id:
            reply = self._rest.send_json("POST", _TRACES_V3, _start_trace(update), scope)
        else:
            reply = self._rest.send_json("PATCH", f"{_TRACES_V2}/{update.trace_id}", _end_trace(update), scope)
        self._unless_gone(reply)

    def _stored(self, record: TraceRecord, scope: Mapping[str, str]) -> Stored | None:
        reply = self._unless_gone(self._rest.get(f"{_TRACES_V2}/{record.mlflow_id}/info", {}, scope))
        if reply is None:
            return None
        with self._understanding():
            info = reply.json["trace_info"]
            duration = info.get("execution_time_ms")
            return Stored(
                experiment_id=info["experiment_id"],
                state=known_state(info.get("status", "")),
                start_ms=int(info["timestamp_ms"]),
                duration_ms=None if duration is None else int(duration),
            )

    def _unless_gone(self, reply: Reply) -> Reply | None:
        """The reply; None if somebody has deleted the trace meanwhile, which is theirs to decide."""
        return None if reply.error_code == _UNKNOWN else checked(reply, self._rest.uri)

    def _link(self, route: Route, trace_ids: Sequence[str]) -> None:
        """Link to the run what the server doesn't: it links the traces whose root is in the request."""
        for start in range(0, len(trace_ids) if route.run_id else 0, _MAX_LINKS):
            message = {"trace_ids": list(trace_ids[start : start + _MAX_LINKS]), "run_id": route.run_id}
            self._unless_gone(self._rest.send_json("POST", f"{_TRACES_V2}/link-to-run", message, _scope(route)))


def _scope(route: Route) -> dict[str, str]:
    return {"X-MLFLOW-WORKSPACE": route.workspace} if route.workspace else {}


def encode(records: Sequence[TraceRecord]) -> bytes:
    """Write one OTLP request of whole traces.

    MLflow takes the tags of a trace from the first of its spans that has a resource, and decodes a resource anew for
    each span under it (entities/span.py `Span.from_otel_proto`): so the head of a trace alone gets it.
    """
    request = Batch()
    for record in records:
        head = request.resource_spans.add(resource=record.resource)
        head.scope_spans.add().spans.append(record.spans[0])
        if len(record.spans) > 1:
            request.resource_spans.add().scope_spans.add().spans.extend(record.spans[1:])
    return request.SerializeToString()


def _end_trace(update: Amendment) -> Json:
    """The body of mlflow/protos EndTrace, the mildest way to add metadata or to close a trace."""
    return {
        "request_id": update.trace_id,
        "timestamp_ms": update.end_ms,
        "status": update.state,
        "request_metadata": [{"key": key, "value": value} for key, value in update.metadata.items()],
        "tags": [{"key": key, "value": value} for key, value in update.tags.items()],
    }


def _start_trace(update: Amendment) -> Json:
    """The body of mlflow/protos StartTraceV3: the one call that takes a client_request_id."""
    location = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": update.experiment_id}}
    return {
        "trace": {
            "trace_info": {
                "trace_id": update.trace_id,
                "trace_location": location,
                "request_time": _timestamp(update.start_ms),
                "execution_duration": _seconds(update.end_ms - update.start_ms),
                "state": update.state,
                "trace_metadata": update.metadata,
                "tags": update.tags,
                "client_request_id": update.client_request_id,
            }
        }
    }


def _timestamp(milliseconds: int) -> str:
    stamp = Timestamp()
    stamp.FromMilliseconds(milliseconds)
    return stamp.ToJsonString()


def _seconds(milliseconds: int) -> str:
    duration = Duration()
    duration.FromMilliseconds(milliseconds)
    return duration.ToJsonString()
