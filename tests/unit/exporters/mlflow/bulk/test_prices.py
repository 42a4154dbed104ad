"""Costs come out as MLflow's own function gives them, to the last bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracing.utils import calculate_cost_by_model_and_token_usage

from spanbridge.collector.exporters.mlflow.database.bulk.prices import Prices

KEYS = [
    "input_tokens",
    "output_tokens",
    "total_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "cache_creation_input_tokens_above_1hr",
]
MODELS = [
    "gpt-4o",
    "openai/gpt-4o-mini",
    "claude-3-5-sonnet-20241022",
    "text-embedding-3-small",
    "databricks-claude-sonnet-4",
    "gateway:/mine",
    "endpoints:/mine",
    "nobody-has-this",
    "",
]
PROVIDERS = [None, "", "openai", "OpenAI", "anthropic", "databricks", "nobody"]

counts = st.integers(-3, 10**7)
odd = counts | st.none() | st.booleans() | st.floats(0, 10) | st.just("7") | st.just([])


@pytest.fixture(autouse=True)
def prices_that_came_with_mlflow(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MLFLOW_MODEL_CATALOG_URI", "")


@given(
    model=st.sampled_from(MODELS),
    provider=st.sampled_from(PROVIDERS),
    usage=st.dictionaries(st.sampled_from(KEYS), counts) | st.dictionaries(st.sampled_from(KEYS), odd),
)
def test_a_cost_is_mlflows(model: str, provider: str | None, usage: dict[str, object]):
    try:
        expected = calculate_cost_by_model_and_token_usage(model, usage, provider)
    except Exception:  # noqa: BLE001  what MLflow can't price has no cost: translate_span_when_storing
        expected = None
    assert Prices().cost(model, usage, provider) == expected


def test_there_are_prices_at_all():
    cost = Prices().cost("gpt-4o-mini", {"input_tokens": 1_000_000, "output_tokens": 0}, "openai")
    assert cost is not None
    assert 0 < cost["input_cost"] == cost["total_cost"] < 10


def test_only_providers_that_mlflow_lists_are_fetched(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setenv("MLFLOW_MODEL_CATALOG_URI", "https://prices.invalid")
    monkeypatch.setattr("mlflow.utils.providers._get_remote_cache", dict)
    monkeypatch.setattr("mlflow.utils.providers._fetch_http_provider", lambda provider, url: asked.append(provider))
    prices = Prices()
    for provider in ("../../elsewhere", "nobody", "OpenAI"):
        for tokens in (1, 2, 3):
            prices.cost("gpt-4o", {"input_tokens": tokens}, provider)
            prices.cost("gpt-4o", {"input_tokens": tokens + 0.5}, provider)
    assert set(asked) == {"openai"}
