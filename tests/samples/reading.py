"""What MLflow shows of an experiment, read through its public client only."""

from __future__ import annotations

from collections.abc import Iterator

from mlflow import MlflowClient
from mlflow.entities import Trace


def traces(uri: str, experiment: str, *, spans: bool = True) -> Iterator[Trace]:
    """Every trace of an experiment, none if it does not exist yet."""
    client = MlflowClient(uri)
    found = client.get_experiment_by_name(experiment)
    token: str | None = ""
    while found is not None and token is not None:
        page = client.search_traces(
            locations=[found.experiment_id], max_results=200, page_token=token or None, include_spans=spans
        )
        yield from page
        token = page.token or None


def span_ids(uri: str, experiment: str) -> list[tuple[str, str]]:
    """(trace id, span id) in hex of every span there is, in no order; one that is there twice comes twice."""
    return [
        (trace.info.trace_id.removeprefix("tr-"), span.span_id)
        for trace in traces(uri, experiment)
        for span in trace.data.spans
    ]
