"""What each processor costs, in microseconds of CPU a span, on the bench mix: 8 spans a trace, about 0.8 KB a span.

And what `genai` costs on its golden files, where every convention there is comes up: 30 traces, 133 spans.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from spanbridge.processors.genai import GenAi, GenAiConfig, GenAiTrace
from spanbridge.processors.probabilistic_sampler import ProbabilisticSampler, ProbabilisticSamplerConfig
from spanbridge.processors.redaction import Redaction, RedactionConfig
from spanbridge.processors.span_metrics import SpanMetrics, SpanMetricsConfig
from spanbridge.processors.tag_schema import TagSchema, TagSchemaConfig
from spanbridge.processors.types import Batch, Trace, span_count
from tests.samples.traces import batch, bench_trace
from tests.unit.processors.genai.test_golden import NAMES, given

TRACES, SPANS, ROUNDS = 64, 8, 15


def fresh() -> list[Trace]:
    return [bench_trace(number) for number in range(TRACES)]


def per_span(
    prepare: Callable[[], Sequence[object]], work: Callable[[object], object], count: int = TRACES * SPANS
) -> float:
    """The best of several rounds, as the machine may be shared; each works on fresh data, as processors edit in place.

    `count` is the number of spans in what is prepared.
    """
    costs = []
    for _ in range(ROUNDS):
        items = prepare()
        started = time.process_time()
        for item in items:
            work(item)
        costs.append((time.process_time() - started) / count * 1e6)
    return min(costs)


def one_request() -> list[Batch]:
    return [batch(fresh())]


def normalized() -> list[Trace]:
    head = GenAi(GenAiConfig())
    traces = fresh()
    for trace in traces:
        trace.batch = head(trace.batch)
    return traces


def golden() -> list[Trace]:
    """The golden files as they come: one trace each, with its log records."""
    return [given(name) for name in NAMES]


def golden_batches() -> list[Batch]:
    return [trace.batch for trace in golden()]


def golden_normalized() -> list[Trace]:
    head = GenAi(GenAiConfig())
    traces = golden()
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
    conventions = sum(span_count(one) for one in golden_batches())
    found |= {
        "genai, head stage, golden files": per_span(golden_batches, head, conventions),
        "genai, trace stage, golden files": per_span(golden_normalized, whole, conventions),
    }
    both = found["genai, head stage"] + found["genai, trace stage"] + found["tag_schema: standard"]
    return found | {"genai + tag_schema": both}
