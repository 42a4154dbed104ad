"""The cost of a model call, by MLflow's own price table."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from typing import Any, TypeAlias

from mlflow.tracing.constant import CostKey, TokenUsageKey
from mlflow.tracing.utils import _SKIP_COST_PREFIXES, calculate_cost_by_model_and_token_usage
from mlflow.utils.providers import _list_provider_names, _lookup_model_info

Cost: TypeAlias = dict[str, float]
"""input_cost, output_cost and total_cost in USD."""

_COUNTS = (
    TokenUsageKey.INPUT_TOKENS,
    TokenUsageKey.OUTPUT_TOKENS,
    TokenUsageKey.CACHE_READ_INPUT_TOKENS,
    TokenUsageKey.CACHE_CREATION_INPUT_TOKENS,
    TokenUsageKey.CACHE_CREATION_INPUT_TOKENS_ABOVE_1HR,
)
_KEEP_SECONDS = 3600.0
_MOST_MODELS = 10_000


class Prices:
    """Costs as `mlflow.tracing.utils.calculate_cost_by_model_and_token_usage` gives them.

    MLflow looks for litellm and for the model at every call (~150 us); here the rates of a model are looked up once an
    hour. Where litellm is installed MLflow asks that instead, and so do we, by MLflow's function.

    Fresh prices come from `MLFLOW_MODEL_CATALOG_URI`, a file a provider ("" keeps to the prices that came with MLflow).
    Only providers that MLflow's own list has are asked for there, not whatever name a span may bring.
    """

    def __init__(self) -> None:
        self._providers = frozenset(_list_provider_names())
        self._rates: dict[tuple[str, str | None], tuple[float, dict[str, Any] | None]] = {}
        self._litellm = importlib.util.find_spec("litellm") is not None

    def cost(self, model: str, usage: dict[str, Any], provider: str | None) -> Cost | None:
        """Price one call.

        Args:
            model: The model's name.
            usage: Token counts by MLflow's keys (`TokenUsageKey`).
            provider: MLflow's name of the provider; None if that is not known.

        Returns:
            The cost in USD; None if the model or what it used is unknown.
        """
        try:
            if not self._litellm and (provider or "").lower() not in self._providers:
                provider = None
            counts = [usage.get(key, 0) for key in _COUNTS]
            if self._litellm or model.startswith(_SKIP_COST_PREFIXES) or set(map(type, counts)) != {int}:
                return calculate_cost_by_model_and_token_usage(model, usage, provider)
            if counts[0] == counts[1] == 0:
                return None
            rates = self._rates_of(model, provider)
            return None if rates is None else _cost(rates, counts)
        except Exception:  # noqa: BLE001  as translate_span_when_storing: what can't be priced has no cost
            return None

    def _rates_of(self, model: str, provider: str | None) -> dict[str, Any] | None:
        known = self._rates.get((model, provider))
        if known is None or known[0] < time.monotonic():
            if len(self._rates) >= _MOST_MODELS:
                self._rates.clear()
            known = self._rates[model, provider] = (time.monotonic() + _KEEP_SECONDS, self._look_up(model, provider))
        return known[1]

    @staticmethod
    def _look_up(model: str, provider: str | None) -> dict[str, Any] | None:
        if provider is None and model.startswith(("databricks-", "databricks/")):
            provider = "databricks"
        found = None if provider is None else _model_info(model, provider.lower())
        return found if found is not None else _model_info(model, None)


def _model_info(model: str, provider: str | None) -> dict[str, Any] | None:
    try:
        info = _lookup_model_info(model, provider)
    except Exception:  # noqa: BLE001  MLflow takes any failure of a look-up for "no price"
        return None
    return None if info is None else dict(info)


def _cost(rates: dict[str, Any], counts: Sequence[int]) -> Cost:
    """`mlflow.utils.providers.cost_per_token`: its arithmetic in its order, so that floats come out the same."""
    prompt, completion, read, written, written_1hr = counts
    written_1hr = min(written_1hr, written)
    written_5m = written - written_1hr
    price = rates.get("input_cost_per_token", 0.0)
    price_of_writing = rates.get("cache_creation_input_token_cost", price)
    cost = max(prompt - read - written, 0) * price
    if read > 0:
        cost += read * rates.get("cache_read_input_token_cost", price)
    if written_5m > 0:
        cost += written_5m * price_of_writing
    if written_1hr > 0:
        cost += written_1hr * rates.get("cache_creation_input_token_cost_above_1hr", price_of_writing)
    output = completion * rates.get("output_cost_per_token", 0.0)
    return {CostKey.INPUT_COST: cost, CostKey.OUTPUT_COST: output, CostKey.TOTAL_COST: cost + output}
