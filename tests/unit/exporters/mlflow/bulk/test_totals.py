"""Tokens and costs of a trace add up as MLflow adds them up, to the last bit."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.store.tracking.utils.trace_analytics import (
    COST_COLUMN_BY_KEY,
    TOKEN_COLUMN_BY_KEY,
    finite_float_or_none,
    token_count_or_none,
)
from mlflow.tracing.utils import (
    SpanAggregationNode,
    aggregate_cost_from_span_nodes,
    aggregate_usage_from_span_nodes,
)

from spanbridge.collector.exporters.mlflow.database.bulk.spans import SpanFacts
from spanbridge.collector.exporters.mlflow.database.bulk.totals import totals
from spanbridge.collector.exporters.mlflow.database.bulk.values import Unfit

ids = st.sampled_from("abcdefg")
usages = st.dictionaries(st.sampled_from(list(TOKEN_COLUMN_BY_KEY)), st.integers(0, 2**63) | st.floats(0, 9))
costs = st.dictionaries(st.sampled_from(list(COST_COLUMN_BY_KEY)), st.floats(0, 1) | st.floats())


def facts(span_id: str, parent: str | None, usage: Any, cost: Any) -> SpanFacts:
    return SpanFacts(span_id, parent, 0, 0, "OK", {}, usage, cost, ())


@given(
    st.lists(
        st.builds(facts, ids, st.none() | ids | st.just("elsewhere"), st.none() | usages, st.none() | costs),
        unique_by=lambda span: span.id,
    )
)
def test_a_tree_adds_up_as_in_mlflow(spans: list[SpanFacts]):
    usage = aggregate_usage_from_span_nodes([SpanAggregationNode(s.id, s.parent, s.usage) for s in spans]) or {}
    cost = aggregate_cost_from_span_nodes([SpanAggregationNode(s.id, s.parent, s.cost) for s in spans]) or {}
    expected = {column: token_count_or_none(usage.get(key)) for key, column in TOKEN_COLUMN_BY_KEY.items()}
    expected |= {column: finite_float_or_none(cost.get(key)) for key, column in COST_COLUMN_BY_KEY.items()}
    assert totals(spans) == {column: value for column, value in expected.items() if value is not None}


def test_a_roll_up_hides_what_is_below_it():
    spans = [
        facts("root", None, {"input_tokens": 30, "output_tokens": 3, "total_tokens": 33}, None),
        facts("call", "root", {"input_tokens": 10, "output_tokens": 1, "total_tokens": 11}, {"total_cost": 0.5}),
        facts("other", "root", {"input_tokens": 20, "output_tokens": 2, "total_tokens": 22}, {"total_cost": 0.25}),
    ]
    found = totals(spans)
    assert (found["input_tokens"], found["output_tokens"], found["total_tokens"]) == (30, 3, 33)
    assert found["total_cost"] == 0.75


@pytest.mark.parametrize("usage", [{"input_tokens": None}, {"total_tokens": "7"}, {"output_tokens": [1]}])
def test_what_is_not_a_number_is_unfit(usage: dict[str, Any]):
    with pytest.raises(TypeError):
        aggregate_usage_from_span_nodes([SpanAggregationNode("a", None, usage)])
    with pytest.raises(Unfit):
        totals([facts("a", None, usage, None)])
