"""From the processors of a pipeline to what they are here: stages at the head, stages on traces, or settings.

Imports are late: what a configuration does not use costs no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from spanbridge.collector.config.components import split_id
from spanbridge.collector.flow.assembly import AssemblyLimits
from spanbridge.collector.flow.head import HeadStage
from spanbridge.collector.flow.processors.config import BatchConfig, GroupByTraceConfig, MemoryLimiterConfig
from spanbridge.collector.flow.processors.memory_limiter import MIB, MemoryLimiter, MemoryLimits, total_memory
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.flow.send_queue import SendLimits
from spanbridge.collector.flow.trace_stage import TraceStage
from spanbridge.collector.otlp.requests import Request
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.settings import ConfigModel
from spanbridge.processors.types import Batch, Processor, Trace

if TYPE_CHECKING:
    from spanbridge.collector.flow.processors.tail_sampling import TailSampling
    from spanbridge.processors.genai import GenAiConfig
    from spanbridge.processors.probabilistic_sampler import ProbabilisticSamplerConfig
    from spanbridge.processors.redaction import RedactionConfig
    from spanbridge.processors.span_metrics import SpanMetricsConfig
    from spanbridge.processors.tag_schema import TagSchemaConfig
    from spanbridge.processors.tail_sampling import TailSamplingConfig


@dataclass(slots=True)
class Plan:
    """What the processors of one pipeline come to.

    `telemetry`, `remembered` and `environ` are what the processors are given. `head` stages see one request, `trace`
    stages one whole trace. `batch` says how delivery gathers, None leaves that to the exporter. A memory limiter is
    also something to run in the background.
    """

    telemetry: Telemetry
    remembered: ReleasedTraces
    environ: Mapping[str, str]
    head: list[HeadStage] = field(default_factory=list)
    trace: list[TraceStage] = field(default_factory=list)
    assembly: AssemblyLimits = field(default_factory=AssemblyLimits)
    sampling: TailSampling | None = None
    batch: BatchConfig | None = None
    limiters: list[MemoryLimiter] = field(default_factory=list)

    def send_limits(self, usual: SendLimits) -> SendLimits:
        """The exporter's usual limits, as the pipeline's `batch` changes them."""
        if self.batch is None:
            return usual
        return replace(
            usual,
            max_spans=self.batch.send_batch_max_size or max(usual.max_spans, self.batch.send_batch_size),
            send_batch_size=self.batch.send_batch_size,
            timeout=self.batch.timeout,
        )


def add_stages(made: Plan, processors: Sequence[tuple[str, ConfigModel]]) -> Plan:
    """The plan with the processors of one pipeline, given as (id, config) in the order of the file."""
    for component_id, config in processors:
        _BUILDERS[split_id("processor", component_id).type](made, component_id, config)
    return made


def _memory_limiter(made: Plan, component_id: str, config: MemoryLimiterConfig) -> None:
    total = total_memory()
    hard = config.limit_mib * MIB or total * config.limit_percentage // 100
    spike = config.spike_limit_mib * MIB if config.limit_mib else total * config.spike_limit_percentage // 100
    limiter = MemoryLimiter(
        MemoryLimits(hard, hard - (spike or hard // 5), config.check_interval, config.min_gc_interval_when_hard_limited)
    )
    made.limiters.append(limiter)
    made.head.append(HeadStage(component_id, limiter))


def _batch(made: Plan, _component_id: str, config: BatchConfig) -> None:
    made.batch = config


def _groupbytrace(made: Plan, _component_id: str, config: GroupByTraceConfig) -> None:
    if made.sampling is not None:
        return  # it does both
    made.assembly = AssemblyLimits(
        wait_duration=config.wait_duration,
        wait_duration_after_root_received=config.wait_duration_after_root_received,
        num_traces=config.num_traces,
    )


def _tail_sampling(made: Plan, component_id: str, config: TailSamplingConfig) -> None:
    from spanbridge.collector.flow.processors.tail_sampling import TailSampling

    made.assembly = AssemblyLimits(
        wait_duration=config.decision_wait,
        wait_duration_after_root_received=config.decision_wait_after_root_received or None,
        num_traces=config.num_traces,
        maximum_trace_size_bytes=config.maximum_trace_size_bytes,
        maximum_trace_spans=config.maximum_trace_spans,
        block_on_overflow=config.block_on_overflow,
        drop_pending_traces_on_shutdown=config.drop_pending_traces_on_shutdown,
    )
    remembered, cache = made.remembered, config.decision_cache
    remembered.kept_size = max(remembered.kept_size, cache.sampled_cache_size)
    remembered.dropped_size = max(remembered.dropped_size, cache.non_sampled_cache_size)
    made.sampling = TailSampling(config, remembered, made.telemetry)
    made.trace.append(TraceStage(component_id, made.sampling))


def _genai(made: Plan, component_id: str, config: GenAiConfig) -> None:
    from spanbridge.processors.genai import GenAi, GenAiTrace

    made.head.append(HeadStage(component_id, spans_only(GenAi(config))))
    made.trace.append(TraceStage(component_id, GenAiTrace(config), counts=False))


def _tag_schema(made: Plan, component_id: str, config: TagSchemaConfig) -> None:
    from spanbridge.processors.tag_schema import TagSchema

    violations = made.telemetry.schema_violations
    schema = TagSchema(config, made.environ, lambda tag, rule: violations.labels(tag, rule).inc())
    made.trace.append(TraceStage(component_id, schema))


def _redaction(made: Plan, component_id: str, config: RedactionConfig) -> None:
    from spanbridge.processors.redaction import Redaction

    redactions = made.telemetry.redactions
    redact = Redaction(config, lambda rule, count: redactions.labels(rule).inc(count))
    made.head.append(HeadStage(component_id, redact))  # type: ignore[arg-type]  # it takes each signal, not their union


def _probabilistic_sampler(made: Plan, component_id: str, config: ProbabilisticSamplerConfig) -> None:
    from spanbridge.processors.probabilistic_sampler import ProbabilisticSampler
    from spanbridge.processors.sampling_weight import WEIGHT_TAG, arriving_count, write_weight

    sampled = made.telemetry.probabilistic_sampled

    def count(policy: str, kept: bool, spans: int) -> None:
        sampled.labels(policy, str(kept).lower()).inc(spans)

    def weigh(trace: Trace) -> Trace:
        if WEIGHT_TAG not in trace.tags:
            write_weight(trace, component_id, arriving_count(trace))
        return trace

    made.head.append(HeadStage(component_id, spans_only(ProbabilisticSampler(config, count))))
    made.trace.append(TraceStage(component_id, weigh, counts=False))


def _span_metrics(made: Plan, component_id: str, config: SpanMetricsConfig) -> None:
    from spanbridge.processors.span_metrics import SpanMetrics

    metrics = SpanMetrics(config)
    made.telemetry.registry.register(metrics)

    def observe(request: Request) -> Request:
        if isinstance(request, Batch):
            metrics.record(request)
        return request

    made.head.append(HeadStage(component_id, observe, observes=True))


def spans_only(process: Processor) -> Callable[[Request], Request]:
    """A processor of spans that lets log records pass."""

    def stage(request: Request) -> Request:
        return process(request) if isinstance(request, Batch) else request

    return stage


_BUILDERS: Mapping[str, Callable[[Plan, str, Any], None]] = {
    "memory_limiter": _memory_limiter,
    "batch": _batch,
    "groupbytrace": _groupbytrace,
    "genai": _genai,
    "redaction": _redaction,
    "span_metrics": _span_metrics,
    "tag_schema": _tag_schema,
    "tail_sampling": _tail_sampling,
    "probabilistic_sampler": _probabilistic_sampler,
}
