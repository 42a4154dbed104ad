"""The fast way into a tracking database: whole new traces as bulk rows, the same rows `log_spans` would leave.

`prepare_database` first, then a `SqlAlchemyStore`, then a `BulkWriter` of it. What `BulkWriter.write` hands back goes
through the store's own `log_spans`.

Reading order: `values` and `spans` (one span -> its row), `tags` and `traces` (a trace -> rows of all tables), `tables`
(rows -> database), `writer` (transactions, conflicts). `foreign` and `prices` are where MLflow is asked.
"""

from collector.exporters.mlflow.bulk.schema import prepare_database
from collector.exporters.mlflow.bulk.writer import BulkWriter

__all__ = ["BulkWriter", "prepare_database"]
