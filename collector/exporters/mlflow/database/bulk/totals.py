"""The tokens and the cost of a trace: the sums of its spans, each branch of the tree counted once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from mlflow.store.tracking.utils.trace_analytics import (
    COST_COLUMN_BY_KEY,
    TOKEN_COLUMN_BY_KEY,
    finite_float_or_none,
    token_count_or_none,
)
from mlflow.tracing.constant import TokenUsageKey

from spanbridge.collector.exporters.mlflow.database.bulk.spans import SpanFacts
from spanbridge.collector.exporters.mlflow.database.bulk.values import Unfit

_MOST = (1 << 63) - 1
_ALWAYS = (TokenUsageKey.INPUT_TOKENS, TokenUsageKey.OUTPUT_TOKENS, TokenUsageKey.TOTAL_TOKENS)


def totals(spans: Sequence[SpanFacts]) -> dict[str, int | float]:
    """Add up the token and cost columns of `trace_info`: of each branch the topmost span that says something.

    As `mlflow.tracing.utils._aggregate_from_nodes` sums, which takes an object a span, and a walk each for both.

    Raises:
        Unfit: A count or an amount is not a number.
    """
    usages, costs = _topmost(spans)
    columns: dict[str, int | float] = {}
    try:
        for key, column in TOKEN_COLUMN_BY_KEY.items() if usages else ():
            if key in _ALWAYS or any(key in usage for usage in usages):
                count = _sum(usages, key, 0)
                if type(count) is not int or abs(count) > _MOST:
                    count = token_count_or_none(count)  # by way of Decimal: slow
                if count is not None:
                    columns[column] = count
        for key, column in COST_COLUMN_BY_KEY.items() if costs else ():
            amount = finite_float_or_none(_sum(costs, key, 0.0))
            if amount is not None:
                columns[column] = amount
    except TypeError as error:
        raise Unfit("a token count or a cost is not a number") from error
    return columns


def _topmost(spans: Sequence[SpanFacts]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Usages, and costs, that have none above them, in MLflow's order: floats add up to the same only in one order.

    Spans in a circle hang on no root and count for nothing.
    """
    ids = {span.id for span in spans}
    children: defaultdict[str | None, list[SpanFacts]] = defaultdict(list)
    for span in spans:
        children[span.parent if span.parent in ids else None].append(span)
    usages, costs = [], []
    stack = [(root, False, False) for root in children.pop(None, ())]
    while stack:
        span, below_usage, below_cost = stack.pop()
        if span.usage is not None and not below_usage:
            usages.append(span.usage)
            below_usage = True
        if span.cost is not None and not below_cost:
            costs.append(span.cost)
            below_cost = True
        stack += [(child, below_usage, below_cost) for child in children.get(span.id, ())]
    return usages, costs


def _sum(parts: Sequence[dict[str, Any]], key: str, none: float) -> Any:
    """Not the built-in `sum`, which from Python 3.12 on adds floats up more exactly than MLflow does."""
    total = none
    for part in parts:
        total += part.get(key, none)
    return total
