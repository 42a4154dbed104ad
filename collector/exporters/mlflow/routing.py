"""The route of a trace: which experiment and run it belongs to. Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from spanbridge.collector.errors import ConfigError, Denied
from spanbridge.collector.exporters.mlflow.record.values import plain_text
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings
from spanbridge.collector.tenancy import may_write
from spanbridge.processors.attributes import find
from spanbridge.processors.types import NO_PARENT, Trace

NAME_LENGTH = 250
"""MLflow's column holds 256 characters (dbmodels/models.py SqlExperiment.name)."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Route:
    """The experiment, run and workspace of a trace.

    `by_id` says that `experiment` is an id, `by_client` that its sender named it, `by_attributes` that attributes of
    the trace are in its name.
    """

    experiment: str
    by_id: bool = False
    by_client: bool = False
    by_attributes: bool = False
    run_id: str = ""
    workspace: str = ""


class Router:
    """The decision where a trace goes: by the sender's headers, then `experiment_id`, then the template `experiment`.

    Raises:
        ConfigError: `experiment` is no template.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        self._settings = settings
        self._template = settings.experiment or settings.default_experiment
        self._keys = _PLACEHOLDER.findall(self._template)
        if "" in self._keys or re.search(r"[{}]", _PLACEHOLDER.sub("", self._template)):
            raise ConfigError(
                [f"experiment: {self._template!r} is no template; write resource attributes as {{service.name}}"]
            )

    def __call__(self, trace: Trace) -> Route:
        """Return the route of a trace; cheap, as it is asked for each.

        Raises:
            Denied: The trace's tenant may not write there.
        """
        route = self._route(trace)
        allow = trace.context.allow_experiments
        if allow and not may_write(allow, route.experiment, by_id=route.by_id):
            kind = "experiment id" if route.by_id else "experiment"
            raise Denied(f"tenant {trace.context.tenant!r} may not write to {kind} {route.experiment!r}")
        return route

    def _route(self, trace: Trace) -> Route:
        context, settings = trace.context, self._settings
        run_id = context.run_id or settings.run_id
        workspace = context.workspace or settings.workspace
        if context.experiment_id:
            return Route(context.experiment_id, by_id=True, by_client=True, run_id=run_id, workspace=workspace)
        if name := bounded(context.experiment_name):
            return Route(name, by_client=True, run_id=run_id, workspace=workspace)
        if settings.experiment_id:
            return Route(settings.experiment_id, by_id=True, run_id=run_id, workspace=workspace)
        if name := self._filled(trace):
            return Route(name, by_attributes=True, run_id=run_id, workspace=workspace)
        fixed = settings.default_experiment if self._keys else self._template
        return Route(fixed, run_id=run_id, workspace=workspace)

    def _filled(self, trace: Trace) -> str:
        """The template with the attributes of the root's resource (else the first) in it.

        It is filled in one pass, so a value can't bring a placeholder; in a template that is a path
        (Databricks), it can't bring a slash either. Empty if it takes no attribute, or one that is missing.
        """
        if not self._keys:
            return ""
        attributes = _resource_attributes(trace)
        values = {key: _value(attributes, key) for key in self._keys}
        if not all(values.values()):
            return ""
        if self._template.startswith("/"):
            values = {key: value.replace("/", "_") for key, value in values.items()}
        return bounded(_PLACEHOLDER.sub(lambda match: values[match[1]], self._template))


def bounded(name: str) -> str:
    """Make a name one that MLflow can hold: no control characters; if too long cut, a digest keeps it apart."""
    name = _CONTROL.sub("", name).strip()
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "replace")).hexdigest()[:8]
    return f"{name[: NAME_LENGTH - 9]}-{digest}"


def _resource_attributes(trace: Trace) -> Iterable[KeyValue]:
    first = None
    for resource_spans in trace.batch.resource_spans:
        first = first or resource_spans
        for scope_spans in resource_spans.scope_spans:
            if any(span.parent_span_id in NO_PARENT for span in scope_spans.spans):
                return resource_spans.resource.attributes
    return first.resource.attributes if first else ()


def _value(attributes: Iterable[KeyValue], key: str) -> str:
    value = find(attributes, key)
    return _CONTROL.sub("", plain_text(value)).strip() if value is not None else ""
