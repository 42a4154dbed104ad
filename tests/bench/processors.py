"""What each processor costs, in microseconds of CPU a span, on the bench mix: 8 spans a trace, about 0.8 KB a span."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

from processors.genai import GenAi, GenAiConfig, GenAiTrace
from processors.probabilistic_sampler import ProbabilisticSampler, ProbabilisticSamplerConfig
from processors.redaction import Redaction, RedactionConfig
from processors.span_metrics import SpanMetrics, SpanMetricsConfig
from processors.tag_schema import TagSchema, TagSchemaConfig
from processors.types import Batch, Trace
from tests.traces import batch, bench_trace

TRACES, SPANS, ROUNDS = 64, 8, 9


def fresh() -> list[Trace]:
    return [bench_trace(number) for number in range(TRACES)]


def per_span(prepare: Callable[[], Sequence[object]], work: Callable[[object], object]) -> float:
    """The median over rounds; each round works on fresh data, as processors edit in place."""
    costs = []
    for _ in range(ROUNDS):
        items = prepare()
        started = time.process_time()
        for item in items:
            work(item)
        costs.append((time.process_time() - started) / (TRACES * SPANS) * 1e6)
    return statistics.median(costs)


def one_request() -> list[Batch]:
    return [batch(fresh())]


def normalized() -> list[Trace]:
    head = GenAi(GenAiConfig())
    traces = fresh()
    for trace in traces:
        trace.batch = head(trace.batch)
    return traces


def costs() -> dict[str, float]:
    """By name."""
    head, whole = GenAi(GenAiConfig()), GenAiTrace(GenAiConfig())
    schema = TagSchema(TagSchemaConfig(), {})
    redact = Redaction(RedactionConfig(detectors="all"))
    sampler = ProbabilisticSampler(ProbabilisticSamplerConfig(sampling_percentage=1))
    metrics = SpanMetrics(SpanMetricsConfig())
    found = {
        "genai, head stage": per_span(one_request, head),
        "genai, trace stage": per_span(normalized, whole),
        "tag_schema: standard": per_span(lambda: [whole(trace) for trace in normalized()], schema),
        "redaction, all detectors": per_span(one_request, redact),
        "probabilistic_sampler, 1 %": per_span(one_request, sampler),
        "span_metrics": per_span(one_request, metrics.record),
    }
    both = found["genai, head stage"] + found["genai, trace stage"] + found["tag_schema: standard"]
    return found | {"genai + tag_schema": both}
