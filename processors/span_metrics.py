"""Metrics of every span, taken before any sampling: calls, durations, errors, tokens and cost.

Names, labels and default buckets are those of contrib's spanmetricsconnector (`traces.span.metrics.*`) and of the
OpenTelemetry GenAI metrics (`gen_ai.client.*`), as Prometheus writes them; where neither has a name it is
`spanbridge_*`. Each metric has at most `aggregation_cardinality_limit` series: what would be one more is added to a
series whose labels are all `other`, and counted.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal, TypeAlias

from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from pydantic import Field, field_validator

from spanbridge.processors.attributes import find, to_amount, to_object, to_python
from spanbridge.processors.settings import ConfigModel, Duration
from spanbridge.processors.stages import BuildContext, Stages
from spanbridge.processors.types import Batch, Request

Labels: TypeAlias = tuple[str, ...]

OTHER: Final = "other"

_MAX_LABEL_LENGTH: Final = 255
_NANOSECONDS: Final = {"ms": 1e6, "s": 1e9}
_DEFAULT_BUCKETS: Final = (
    0.002, 0.004, 0.006, 0.008, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.4, 2.0, 5.0, 10.0, 15.0
)  # fmt: skip
_TOKEN_BUCKETS: Final = tuple(float(4**power) for power in range(14))
_OPERATION_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))

_KINDS: Final[Mapping[int, str]] = {number: name for name, number in Span.SpanKind.items()}
_STATUSES: Final[Mapping[int, str]] = {number: name for name, number in Status.StatusCode.items()}

_SPAN_DIMENSIONS: Final = ("service.name", "span.name", "span.kind", "status.code")
_OPERATION_LABELS: Final = ("service_name", "gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

_ERROR_TYPE: Final = "error.type"
_OPERATION: Final = "gen_ai.operation.name"
_PROVIDERS: Final = ("gen_ai.provider.name", "mlflow.llm.provider", "gen_ai.system")
_MODELS: Final = ("gen_ai.request.model", "mlflow.llm.model", "gen_ai.response.model")
_INPUT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_USAGE: Final = "mlflow.chat.tokenUsage"
_COST: Final = "mlflow.llm.cost"
_PLAIN_COST: Final = "gen_ai.usage.cost"
_GEN_AI: Final = frozenset({_OPERATION, *_PROVIDERS, *_MODELS, *_INPUT, *_OUTPUT, _USAGE, _COST, _PLAIN_COST})

_Values: TypeAlias = Mapping[str, AnyValue]
"""What a span says in the attributes that are looked at."""


class ExplicitConfig(ConfigModel):
    """The buckets of `traces_span_metrics_duration`."""

    buckets: tuple[Duration, ...] = Field(
        default=_DEFAULT_BUCKETS, description="Upper bounds of the buckets, durations in ascending order: 2 ms to 15 s."
    )

    @field_validator("buckets")
    @classmethod
    def _ascending(cls, buckets: tuple[float, ...]) -> tuple[float, ...]:
        if not buckets or any(low >= high for low, high in pairwise(buckets)):
            raise ValueError("buckets are durations in ascending order, at least one")
        return buckets


class HistogramConfig(ConfigModel):
    """The histogram of durations."""

    disable: bool = Field(default=False, description="Leave the histogram of durations out.")
    unit: Literal["ms", "s"] = Field(default="ms", description="The unit in which durations are reported.")
    explicit: ExplicitConfig = Field(default=ExplicitConfig(), description="The buckets.")


class DimensionConfig(ConfigModel):
    """An attribute that becomes a label of the span metrics."""

    name: str = Field(min_length=1, description="The key of a span or resource attribute; a span's counts first.")
    default: str = Field(default="", description="The label's value for a span that has no such attribute.")


class SpanMetricsConfig(ConfigModel):
    """The keys of contrib's spanmetricsconnector that are read here, and `gen_ai`, which is ours."""

    histogram: HistogramConfig = Field(
        default=HistogramConfig(), description="How durations are counted: in which unit and buckets, or not at all."
    )
    dimensions: tuple[DimensionConfig, ...] = Field(
        default=(), description="Attributes that become labels of the span metrics, besides the four default ones."
    )
    exclude_dimensions: tuple[Literal["service.name", "span.name", "span.kind", "status.code"], ...] = Field(
        default=(), description="Default labels to leave out."
    )
    aggregation_cardinality_limit: int = Field(
        default=1000,
        gt=0,
        description="Most series of one metric; what would be one more is added to a series whose labels are `other`. "
        "The connector's default is no limit.",
    )
    gen_ai: bool = Field(
        default=True, description="Also count tokens, cost and durations of GenAI operations (`gen_ai_client_*`)."
    )


class _Counter:
    """A counter with a bounded number of series."""

    __slots__ = ("_limit", "_name", "_other", "labels", "overflow", "series", "text")

    def __init__(self, name: str, text: str, labels: Sequence[str], limit: int) -> None:
        self._name, self.text, self.labels = name, text, tuple(labels)
        self._limit = limit
        self._other = (OTHER,) * len(self.labels)
        self.series: dict[Labels, float] = {}
        self.overflow = 0

    def add(self, key: Labels, amount: float = 1) -> None:
        """Add an amount to the series of a key."""
        series = self.series
        if key in series:
            series[key] += amount
        elif len(series) < self._limit:
            series[key] = amount
        else:
            self.overflow += 1
            series[self._other] = series.get(self._other, 0) + amount

    def collect(self) -> Metric:
        """Return the metric family."""
        family = CounterMetricFamily(self._name, self.text, labels=self.labels)
        for key, value in list(self.series.items()):
            family.add_metric(key, value)
        return family


class _Histogram:
    """A histogram with a bounded number of series; a series is its buckets' counts, then the sum."""

    __slots__ = ("_bounds", "_limit", "_name", "_other", "labels", "overflow", "series", "text")

    def __init__(self, name: str, text: str, labels: Sequence[str], limit: int, bounds: Sequence[float]) -> None:
        self._name, self.text, self.labels = name, text, tuple(labels)
        self._limit = limit
        self._bounds = tuple(bounds)
        self._other = (OTHER,) * len(self.labels)
        self.series: dict[Labels, list[float]] = {}
        self.overflow = 0

    def observe(self, key: Labels, value: float) -> None:
        """Count a value in the series of a key."""
        series = self.series.get(key)
        if series is None:
            series = self._new(key)
        series[bisect_left(self._bounds, value)] += 1
        series[-1] += value

    def _new(self, key: Labels) -> list[float]:
        if len(self.series) >= self._limit:
            self.overflow += 1
            key = self._other
        return self.series.setdefault(key, [0.0] * (len(self._bounds) + 2))

    def collect(self) -> Metric:
        """Return the metric family."""
        family = HistogramMetricFamily(self._name, self.text, labels=self.labels)
        bounds = [*map(str, self._bounds), "+Inf"]
        for key, series in list(self.series.items()):
            total = 0.0
            buckets = []
            for bound, count in zip(bounds, series, strict=False):
                total += count
                buckets.append((bound, total))
            family.add_metric(key, buckets, sum_value=series[-1])
        return family


class SpanMetrics:
    """The sums over all spans: a collector for a Prometheus registry. `record` is called from one thread."""

    def __init__(self, config: SpanMetricsConfig) -> None:
        limit = config.aggregation_cardinality_limit
        histogram = config.histogram
        labels = [name for name in _SPAN_DIMENSIONS if name not in config.exclude_dimensions]
        self._pick = _picker([_SPAN_DIMENSIONS.index(name) for name in labels])
        self._dimensions = {dimension.name: dimension.default for dimension in config.dimensions}
        self._wanted = frozenset({_ERROR_TYPE, *self._dimensions, *(_GEN_AI if config.gen_ai else ())})
        self._scale = _NANOSECONDS[histogram.unit]
        self._gen_ai = config.gen_ai
        names = [_label(name) for name in (*labels, *self._dimensions)]
        bounds = [bound * 1e9 / self._scale for bound in histogram.explicit.buckets]
        self._calls = _Counter("traces_span_metrics_calls", "Spans, before any sampling.", names, limit)
        self._durations = _Histogram(
            "traces_span_metrics_duration", f"Duration of spans in {histogram.unit}.", names, limit, bounds
        )
        self._with_durations = not histogram.disable
        self._errors = _Counter("spanbridge_span_errors", "Spans in error.", ("service_name", "error_type"), limit)
        self._tokens = _Histogram(
            "gen_ai_client_token_usage",
            "Tokens of an operation.",
            (*_OPERATION_LABELS, "gen_ai_token_type"),
            limit,
            _TOKEN_BUCKETS,
        )
        self._operations = _Histogram(
            "gen_ai_client_operation_duration",
            "Duration of a GenAI operation in s.",
            (*_OPERATION_LABELS, "error_type"),
            limit,
            _OPERATION_BUCKETS,
        )
        self._cost = _Counter("spanbridge_gen_ai_cost_usd", "Cost in US dollars.", _OPERATION_LABELS, limit)

    def record(self, batch: Batch) -> None:
        """Add every span of a batch, which is left as it is; nothing is raised."""
        for resource_spans in batch.resource_spans:
            resource = resource_spans.resource.attributes
            service = _text(find(resource, "service.name"))
            defaults = {name: _text(find(resource, name)) or default for name, default in self._dimensions.items()}
            for scope_spans in resource_spans.scope_spans:
                for span in scope_spans.spans:
                    self._record(span, service, defaults)

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, for a Prometheus registry."""
        metrics: list[_Counter | _Histogram] = [self._calls, self._errors]
        if self._with_durations:
            metrics.append(self._durations)
        if self._gen_ai:
            metrics += [self._tokens, self._operations, self._cost]
        overflow = CounterMetricFamily(
            "spanbridge_span_metrics_overflow", "Observations that went to a series `other`.", labels=["metric"]
        )
        for metric in metrics:
            family = metric.collect()
            overflow.add_metric([family.name], metric.overflow)
            yield family
        yield overflow

    def describe(self) -> Iterable[Metric]:
        """Return no families, so that registering does not collect."""
        return ()

    def _record(self, span: Span, service: str, defaults: Mapping[str, str]) -> None:
        wanted = self._wanted
        values = {name: attribute.value for attribute in span.attributes if (name := attribute.key) in wanted}
        status = span.status.code
        name = span.name
        if len(name) > _MAX_LABEL_LENGTH:
            name = name[:_MAX_LABEL_LENGTH]
        labels = self._pick((service, name, _KINDS.get(span.kind, OTHER), _STATUSES.get(status, OTHER)))
        if defaults:
            labels += tuple(_text(values.get(key)) or default for key, default in defaults.items())
        elapsed = max(0, span.end_time_unix_nano - span.start_time_unix_nano)
        self._calls.add(labels)
        if self._with_durations:
            self._durations.observe(labels, elapsed / self._scale)
        error = ""
        if status == Status.STATUS_CODE_ERROR:
            error = _error_type(values.get(_ERROR_TYPE), span)
            self._errors.add((service, error))
        if values and self._gen_ai:
            self._record_operation(values, service, elapsed, error)

    def _record_operation(self, values: _Values, service: str, elapsed: int, error: str) -> None:
        operation = _text(values.get(_OPERATION))
        tokens = _tokens(values)
        cost = _cost(values)
        if not (operation or tokens or cost):
            return
        labels = (service, operation, _text(_first(values, _PROVIDERS)), _text(_first(values, _MODELS)))
        if operation:
            self._operations.observe((*labels, error), elapsed / 1e9)
        for token_type, count in tokens:
            self._tokens.observe((*labels, token_type), count)
        if cost:
            self._cost.add(labels, cost)


def _picker(positions: Sequence[int]) -> Callable[[Labels], Labels]:
    """Return a function that leaves out the excluded dimensions; nearly always there are none."""
    if len(positions) == len(_SPAN_DIMENSIONS):
        return lambda values: values
    return lambda values: tuple(values[position] for position in positions)


def _label(name: str) -> str:
    """Return an attribute's name as a Prometheus label."""
    label = "".join(character if character.isascii() and character.isalnum() else "_" for character in name)
    return f"_{label}" if label[0].isdigit() else label


def _first(values: _Values, keys: Sequence[str]) -> AnyValue | None:
    for key in keys:
        if key in values:
            return values[key]
    return None


def _text(value: AnyValue | None) -> str:
    if value is None:
        return ""
    text = value.string_value
    if not text and (plain := to_python(value)) is not None:
        text = str(plain)
    return text if len(text) <= _MAX_LABEL_LENGTH else text[:_MAX_LABEL_LENGTH]


def _error_type(value: AnyValue | None, span: Span) -> str:
    """Return `error.type`, else the last exception's type, else what the semantic conventions put for neither."""
    named = _text(value)
    for event in reversed(span.events) if not named else ():
        named = named or _text(find(event.attributes, "exception.type"))
    return named or "_OTHER"


def _tokens(values: _Values) -> list[tuple[str, float]]:
    if _USAGE in values:
        usage = to_object(values[_USAGE])
        found = [("input", to_amount(usage.get("input_tokens"))), ("output", to_amount(usage.get("output_tokens")))]
    else:
        found = [("input", _amount(_first(values, _INPUT))), ("output", _amount(_first(values, _OUTPUT)))]
    return [(side, count) for side, count in found if count is not None]


def _cost(values: _Values) -> float:
    if _COST in values:
        return to_amount(to_object(values[_COST]).get("total_cost")) or 0.0
    return _amount(values.get(_PLAIN_COST)) or 0.0


def _amount(value: AnyValue | None) -> float | None:
    if value is None:
        return None
    count = value.int_value
    return float(count) if count > 0 else to_amount(to_python(value))


def build(config: SpanMetricsConfig, context: BuildContext) -> Stages:
    """Return the stage of a section, which counts what was committed; its metrics are read when they are scraped."""
    metrics = SpanMetrics(config)
    context.metrics.register(metrics)

    def observe(request: Request) -> Request:
        if isinstance(request, Batch):
            metrics.record(request)
        return request

    return Stages(head=observe, observes=True)
