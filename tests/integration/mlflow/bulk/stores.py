"""Two tracking databases side by side: one written by MLflow's own endpoint, one by the bulk writer."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from mlflow.server import otel_api
from mlflow.store.db.base_sql_model import Base
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore
from sqlalchemy import make_url, select
from starlette.requests import Request

from spanbridge.collector.exporters.mlflow.database.bulk import BulkWriter
from spanbridge.collector.exporters.mlflow.database.schema import prepare_database
from spanbridge.processors.types import Batch, Context, Trace
from tests.samples.raw_traces import raw_trace
from tests.servers.postgres import Cluster

os.environ["MLFLOW_MODEL_CATALOG_URI"] = ""  # prices that came with MLflow, none from the network

ARTIFACTS = "/srv/artifacts?region=eu"
"""A root with a query, so that the place of a trace's artifacts is no plain concatenation."""

_VOLATILE = {"association_id", "created_time"}


@dataclass
class Pair:
    """`truth` is written by MLflow's endpoint, `ours` by `writer` and, for what that hands back, by the endpoint."""

    truth: SqlAlchemyStore
    ours: SqlAlchemyStore
    writer: BulkWriter

    def write(self, traces: list[Trace], run_id: str = "") -> list[Trace]:
        """Write the same traces to both; return what the bulk writer handed back."""
        for trace in traces:
            assert log_by_endpoint(self.truth, trace.batch, run_id) == 200
        rest = left(self.writer, traces, run_id=run_id)
        for trace in rest:
            assert log_by_endpoint(self.ours, trace.batch, run_id) == 200
        return rest

    def assert_equal(self, trace_ids: Iterable[bytes] = ()) -> None:
        """Every row of every table, or all rows of some traces, are the same in both."""
        wanted = {f"tr-{trace_id.hex()}" for trace_id in trace_ids}
        for truth, ours in zip(rows(self.truth, wanted), rows(self.ours, wanted), strict=True):
            assert ours == truth


def left(writer: BulkWriter, traces: Sequence[Trace], experiment_id: str = "0", **more: str) -> list[Trace]:
    """Write traces in bulk; return those the writer left."""
    return [traces[index] for index in writer.write(list(map(raw_trace, traces)), experiment_id, **more)]


def log_by_endpoint(store: SqlAlchemyStore, batch: Batch, run_id: str = "", experiment_id: str = "0") -> int:
    """Hand a request to MLflow's own /v1/traces; return the HTTP status."""
    body = batch.SerializeToString()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def post() -> int:
        response = await otel_api.export_traces(
            Request({"type": "http", "method": "POST", "path": "/", "headers": []}, receive),
            x_mlflow_experiment_id=experiment_id,
            x_mlflow_run_id=run_id or None,
            content_type="application/x-protobuf",
            content_encoding=None,
            user_agent=None,
            x_mlflow_workspace=None,
        )
        return response.status_code

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(otel_api, "_get_tracking_store", lambda: store)
        try:
            return asyncio.run(post())
        except otel_api.HTTPException as error:
            return error.status_code


def rows(store: SqlAlchemyStore, trace_ids: set[str]) -> Iterator[tuple[str, list[tuple[Any, ...]]]]:
    """The rows of every table of MLflow, ordered, less ids and times that are made on writing."""
    with store.engine.connect() as connection:
        for table in Base.metadata.sorted_tables:
            if table.name == "experiments":
                continue
            columns = [column for column in table.columns if column.name not in _VOLATILE]
            query = select(*columns)
            key = next((name for name in ("request_id", "trace_id", "source_id") if name in table.columns), None)
            if trace_ids:
                if key is None:
                    continue
                query = query.where(table.c[key].in_(trace_ids))
            yield table.name, sorted(map(tuple, connection.execute(query)), key=repr)


def split(batches: Iterable[Batch], context: Context | None = None) -> list[Trace]:
    """The traces of some requests, each with its spans in their order, resources and scopes kept."""
    traces: dict[bytes, Trace] = {}
    for batch in batches:
        for resource_spans in batch.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    trace = traces.setdefault(span.trace_id, Trace(span.trace_id, Batch(), context or Context()))
                    into = trace.batch.resource_spans
                    if not into or into[-1].resource != resource_spans.resource:
                        into.add().resource.CopyFrom(resource_spans.resource)
                    if not into[-1].scope_spans or into[-1].scope_spans[-1].scope != scope_spans.scope:
                        into[-1].scope_spans.add().scope.CopyFrom(scope_spans.scope)
                    into[-1].scope_spans[-1].spans.append(span)
    return list(traces.values())


class Databases:
    """Makes fresh databases with MLflow's schema, by copying one that was migrated once."""

    def __init__(self, directory: Path, cluster: Cluster | None) -> None:
        self._directory = directory
        self._cluster = cluster
        self._made = 0
        if cluster is None:
            self._template = directory / "template.db"
            prepare_database(f"sqlite:///{self._template}")
        else:
            prepare_database(cluster.database("template_mlflow"))

    def new(self) -> str:
        """The URI of a fresh database."""
        self._made += 1
        if self._cluster is None:
            path = self._directory / f"{self._made}.db"
            shutil.copy(self._template, path)
            return f"sqlite:///{path}"
        return self._cluster.database(f"mlflow_{self._made}", "template_mlflow")

    @contextmanager
    def one(self) -> Iterator[str]:
        """The URI of a fresh database, which is gone at the end."""
        uri = self.new()
        try:
            yield uri
        finally:
            name = str(make_url(uri).database)
            if self._cluster is None:
                Path(name).unlink()
            else:
                self._cluster.run(f'DROP DATABASE "{name}" WITH (FORCE)')

    @contextmanager
    def store(self) -> Iterator[SqlAlchemyStore]:
        """MLflow's store on a fresh database."""
        with self.one() as uri:
            store = SqlAlchemyStore(uri, ARTIFACTS)
            try:
                yield store
            finally:
                store.engine.dispose()

    @contextmanager
    def pair(self) -> Iterator[Pair]:
        """Two stores on fresh databases."""
        with self.store() as truth, self.store() as ours:
            yield Pair(truth, ours, BulkWriter(ours))


DatabasesOf: TypeAlias = Callable[[str], Databases]
"""Databases of "sqlite" or "postgresql"."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"], name="databases")
def fixture_databases(request: pytest.FixtureRequest, databases_of: DatabasesOf) -> Databases:
    """Databases of either kind, one after the other."""
    return databases_of(request.param)


@pytest.fixture(name="store")
def fixture_store(databases: Databases) -> Iterator[SqlAlchemyStore]:
    """MLflow's store on a fresh database."""
    with databases.store() as store:
        yield store


@pytest.fixture(name="pair")
def fixture_pair(databases: Databases) -> Iterator[Pair]:
    """Two stores on fresh databases."""
    with databases.pair() as pair:
        yield pair
