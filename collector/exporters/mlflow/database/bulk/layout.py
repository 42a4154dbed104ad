"""The tables that bulk rows are made for, and how those of a database and of the installed MLflow differ from them.

They are those of MLflow 3.17. A later MLflow with equal tables is written the same way; with others its own store
writes, which knows them. A column that only the database has, as somebody may add one for reports, does no harm if it
may be left out. One that MLflow's models have is filled by MLflow, and rows without it would be found by no search for
it: that is a difference even where the column may be empty.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple

from mlflow.store.db.base_sql_model import Base
from sqlalchemy import BigInteger, Engine, Float, Inspector, Integer, String, inspect, schema
from sqlalchemy.types import TypeEngine


class Kind(Enum):
    """The kinds of columns that are written; COPY has a binary form for each."""

    TEXT = "text"
    INTEGER = "integer"
    BIG_INTEGER = "big integer"
    NUMBER = "floating-point number"
    OTHER = "another type"


class Column(NamedTuple):
    """What rows hold in a column: texts of at most `length` characters (None: no bound); NULL too, if `nullable`."""

    kind: Kind
    length: int | None = None
    nullable: bool = False


class Table(NamedTuple):
    """The columns that rows have, by name, and those that tell one row from another."""

    columns: Mapping[str, Column]
    key: tuple[str, ...]


_ID = Column(Kind.TEXT, 50)
_SHORT = Column(Kind.TEXT, 50, nullable=True)
_COST = Column(Kind.NUMBER, nullable=True)
_TOKENS = Column(Kind.BIG_INTEGER, nullable=True)
_PREVIEW = Column(Kind.TEXT, 1000, nullable=True)
_MODEL = Column(Kind.TEXT, 500, nullable=True)
_END = Column(Kind.TEXT, 36)
_COSTS = dict.fromkeys(("input_cost", "output_cost", "total_cost"), _COST)
_PAIR = {"request_id": _ID, "key": Column(Kind.TEXT, 250), "value": Column(Kind.TEXT, 8000, nullable=True)}

TABLES: Mapping[str, Table] = {
    "trace_info": Table(
        {
            "request_id": _ID,
            "experiment_id": Column(Kind.INTEGER),
            "timestamp_ms": Column(Kind.BIG_INTEGER),
            "execution_time_ms": Column(Kind.BIG_INTEGER, nullable=True),
            "status": _ID,
            "client_request_id": _SHORT,
            "request_preview": _PREVIEW,
            "response_preview": _PREVIEW,
            "db_payload_generation": Column(Kind.INTEGER),
            "trace_name": Column(Kind.TEXT, 4096, nullable=True),
            "session_id": Column(Kind.TEXT, 250, nullable=True),
            "input_tokens": _TOKENS,
            "output_tokens": _TOKENS,
            "total_tokens": _TOKENS,
            "cache_read_input_tokens": _TOKENS,
            "cache_creation_input_tokens": _TOKENS,
            "cache_creation_input_tokens_above_1hr": _TOKENS,
            **_COSTS,
        },
        key=("request_id",),
    ),
    "spans": Table(
        {
            "trace_id": _ID,
            "experiment_id": Column(Kind.INTEGER),
            "span_id": _ID,
            "parent_span_id": _SHORT,
            "name": Column(Kind.TEXT, nullable=True),
            "type": Column(Kind.TEXT, 500, nullable=True),
            "status": _ID,
            "start_time_unix_nano": Column(Kind.BIG_INTEGER),
            "end_time_unix_nano": Column(Kind.BIG_INTEGER),
            "content": Column(Kind.TEXT),
            **_COSTS,
            "model_name": _MODEL,
            "model_provider": _MODEL,
        },
        key=("trace_id", "span_id"),
    ),
    "trace_tags": Table(_PAIR, key=("request_id", "key")),
    "trace_request_metadata": Table(_PAIR, key=("request_id", "key")),
    "entity_associations": Table(
        {
            "association_id": _END,
            "source_type": _END,
            "source_id": _END,
            "destination_type": _END,
            "destination_id": _END,
            "created_time": Column(Kind.BIG_INTEGER),
        },
        key=("source_type", "source_id", "destination_type", "destination_id"),
    ),
}
"""By name, the tables of a trace (mlflow/store/tracking/dbmodels/models.py)."""

_BESIDE = frozenset({*TABLES, "trace_metrics", "span_metrics", "assessments"})
"""The tables whose rows belong to a trace or a span; what is not among TABLES is empty when a trace is new."""
_REFERRED = frozenset({"experiments", "trace_info"})


def differences(engine: Engine) -> list[str]:
    """Compare what rows are made for with the database and with the models of the installed MLflow.

    Args:
        engine: Of a tracking database, which is asked for its tables: a few dozen small queries.

    Returns:
        A phrase for each difference; none if rows can be written.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: The database does not answer.
    """
    return [*_of_models(), *_of_database(inspect(engine))]


def _of_models() -> Iterator[str]:
    for name, table in Base.metadata.tables.items():
        if name in TABLES:
            yield from _of_model(name, table.columns.values())
        elif name not in _BESIDE:
            referred = {key.column.table.name for key in table.foreign_keys}
            yield from (f"MLflow has a table {name} beside {it}" for it in sorted(referred & {"trace_info", "spans"}))


def _of_model(name: str, columns: Iterable[schema.Column[Any]]) -> Iterator[str]:
    """Differences of one table's columns, as MLflow's models have them."""
    for column in columns:
        written = TABLES[name].columns.get(column.name)
        if written is None:
            if column.computed is None:
                yield f"MLflow fills {name}.{column.name}"
        elif _kind(column.type) is not written.kind:
            yield f"MLflow writes {name}.{column.name} as {column.type!r} and not as {written.kind.value}"


def _of_database(inspector: Inspector) -> Iterator[str]:
    there = set(inspector.get_table_names())
    for name, table in TABLES.items():
        if name not in there:
            yield f"there is no table {name}"
            continue
        yield from _of_columns(name, table, {column["name"]: column for column in inspector.get_columns(name)})
        yield from _of_constraints(name, table, inspector)


def _of_columns(name: str, table: Table, there: Mapping[str, Any]) -> Iterator[str]:
    """Differences of one table's columns, as reflection describes them."""
    for column, written in table.columns.items():
        if column not in there:
            yield f"there is no column {name}.{column}"
        elif why := _why_unfit(written, there[column]):
            yield f"{name}.{column} {why}"
    for column, found in there.items():
        may_be_left_out = found["nullable"] or found.get("default") is not None or found.get("computed")
        if column not in table.columns and not may_be_left_out:
            yield f"{name}.{column} is new and must not be empty"


def _why_unfit(written: Column, found: Mapping[str, Any]) -> str:
    kind = _kind(found["type"])
    if kind is not written.kind:
        return f"is {found['type']} and not {written.kind.value}"
    length = getattr(found["type"], "length", None)
    if kind is Kind.TEXT and length is not None and (written.length is None or length < written.length):
        return f"holds {length} characters and not {written.length or 'any number'}"
    return "must not be empty" if written.nullable and not found["nullable"] else ""


def _kind(found: TypeEngine[Any]) -> Kind:
    match found:
        case BigInteger():
            return Kind.BIG_INTEGER
        case Integer():
            return Kind.INTEGER
        case Float():
            return Kind.NUMBER
        case String():
            return Kind.TEXT
    return Kind.OTHER


def _of_constraints(name: str, table: Table, inspector: Inspector) -> Iterator[str]:
    """Differences of what one table demands of its rows."""
    key = inspector.get_pk_constraint(name)["constrained_columns"]
    if set(key) != set(table.key):
        yield f"the key of {name} is ({', '.join(key)}) and not ({', '.join(table.key)})"
    for unique in _unique(name, inspector):
        if not set(unique) >= set(table.key):
            yield f"{name} has a new unique constraint on ({', '.join(unique)})"
    for check in inspector.get_check_constraints(name):
        yield f"{name} has a new check: {check['sqltext']}"
    for foreign in inspector.get_foreign_keys(name):
        if foreign["referred_table"] not in _REFERRED:
            yield f"{name} has a new reference to {foreign['referred_table']}"


def _unique(name: str, inspector: Inspector) -> list[tuple[str, ...]]:
    """The columns of each unique constraint and index; some databases tell of one as of the other, too."""
    told: list[Sequence[str | None]] = [
        constraint["column_names"] for constraint in inspector.get_unique_constraints(name)
    ]
    told += [index["column_names"] for index in inspector.get_indexes(name) if index["unique"]]
    return sorted({tuple(map(str, columns)) for columns in told})
