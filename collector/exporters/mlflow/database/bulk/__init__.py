"""The fast way into a tracking database: whole new traces as bulk rows, the rows that MLflow's `log_spans` would leave.

A `BulkWriter` writes beside MLflow's own `SqlAlchemyStore`. What `BulkWriter.write` leaves (traces the store has
already, and all that is not known here) goes through the store's own `log_spans`. Of an MLflow before 3.17, whose
tables are others, this package can't be imported.

To read: `values` and `spans` (a span -> its row), `tags`, `totals` and `traces` (a trace -> the rows of all tables),
`layout` (are the tables those that rows are made for), `tables` (rows -> database), `failures`, `foreign_keys` and
`writer` (transactions). `mlflow_translation` and `prices` ask MLflow.

"The rows MLflow would leave" is what its endpoint /v1/traces (`mlflow.server.otel_api`) makes of the same spans, byte
for byte in `spans.content`. Departures, each for the better:

- A span that is in a trace twice is stored and counted once. MLflow counts it twice; on PostgreSQL it fails.
- Tags, metadata, the client's request id and a state without a root, given by a `NewTrace`, are written with the
  trace; OTLP has no place for them. Without them a trace is as MLflow leaves it.
- A span whose span type is given is taken although MLflow's translators would fail on its other attributes.
- Prices are fetched for the providers MLflow knows, not for whatever name a span brings.
"""

from spanbridge.collector.exporters.mlflow.database.bulk.traces import NewTrace
from spanbridge.collector.exporters.mlflow.database.bulk.writer import BulkWriter

__all__ = ["BulkWriter", "NewTrace"]
