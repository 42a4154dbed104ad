"""Traces as the bulk writer takes them, straight from OTLP: nothing is cleaned, so that it meets odd values too."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.sdk.resources import Resource as SdkResource

from spanbridge.collector.exporters.mlflow.database.bulk import NewTrace
from spanbridge.collector.exporters.mlflow.database.bulk.spans import Source
from spanbridge.collector.exporters.mlflow.database.bulk.tags import KNOWN_SERVICES
from spanbridge.collector.exporters.mlflow.record.sanitize import by_key
from spanbridge.collector.exporters.mlflow.record.tags import TRACE_TAG
from spanbridge.processors.attributes import to_python
from spanbridge.processors.types import NO_PARENT, Trace


def raw_trace(trace: Trace) -> NewTrace:
    """What MLflow's endpoint makes of a trace's resources is done here: the program makes tags of them itself."""
    sources, resources = list(_sources(trace)), [r.resource for r in trace.batch.resource_spans]
    roots = [source for source in sources if source.span.parent_span_id in NO_PARENT]
    try:
        tags = next((resource_tags(found) for found in map(_sdk, resources) if found), {})
    except TypeError:  # bytes: the endpoint fails
        sources, tags = [], {}
    named_by_root = {
        key.removeprefix(TRACE_TAG) for root in roots for key in root.attributes if key.startswith(TRACE_TAG)
    }
    tags = {key: value for key, value in tags.items() if key not in named_by_root}
    return NewTrace(trace.trace_id, sources, tags | trace.tags, trace.metadata, trace.client_request_id)


def resource_tags(attributes: Mapping[str, Any]) -> dict[str, str]:
    """As `log_spans`: no bookkeeping of SDKs or MLflow; what is not text becomes JSON."""
    return {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in attributes.items()
        if not key.startswith(("telemetry.sdk.", "mlflow."))
    }


def _sdk(resource: Resource) -> Mapping[str, Any]:
    return SdkResource({a.key: to_python(a.value) for a in resource.attributes}).attributes


def _sources(trace: Trace) -> Iterator[Source]:
    for resource_spans in trace.batch.resource_spans:
        service = next(
            (a.value.string_value for a in resource_spans.resource.attributes if a.key == "service.name"), ""
        )
        for scope_spans in resource_spans.scope_spans:
            for span in scope_spans.spans:
                yield Source(span, by_key(span.attributes), service if service in KNOWN_SERVICES else "")
