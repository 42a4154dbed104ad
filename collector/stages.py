"""From the processors of a pipeline to what they are here: stages at the head, stages on traces, or settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from collector.assembly import AssemblyLimits
from collector.flow_config import BatchConfig, GroupByTraceConfig, MemoryLimiterConfig
from collector.lanes import SendLimits
from collector.memory_limiter import MIB, MemoryLimiter, MemoryLimits, total_memory
from collector.otlp import Request
from collector.pipeline import Stage
from processors.genai import GenAi, GenAiConfig
from processors.probabilistic_sampler import ProbabilisticSampler, ProbabilisticSamplerConfig
from processors.redaction import Redaction, RedactionConfig
from processors.settings import ConfigModel
from processors.types import Batch, Processor, TraceProcessor


@dataclass(slots=True)
class Plan:
    """What the processors of one pipeline come to.

    `head` stages see one request, `trace` stages one whole trace. `batch` says how delivery gathers, None leaves that
    to the exporter. A memory limiter is also something to run in the background.
    """

    head: list[Stage[Callable[[Request], Request]]] = field(default_factory=list)
    trace: list[Stage[TraceProcessor]] = field(default_factory=list)
    assembly: AssemblyLimits = field(default_factory=AssemblyLimits)
    batch: BatchConfig | None = None
    limiters: list[MemoryLimiter] = field(default_factory=list)

    def send_limits(self, usual: SendLimits) -> SendLimits:
        """The exporter's usual limits, as the pipeline's `batch` changes them."""
        if self.batch is None:
            return usual
        return replace(
            usual,
            max_spans=self.batch.send_batch_max_size or max(usual.max_spans, self.batch.send_batch_size),
            min_spans=self.batch.send_batch_size,
            linger=self.batch.timeout,
        )


def plan(processors: Sequence[tuple[str, ConfigModel]]) -> Plan:
    """The plan of the processors of one pipeline, given as (id, config) in the order of the file."""
    made = Plan()
    for component_id, config in processors:
        _BUILDERS[type(config)](made, component_id, config)
    return made


def _memory_limiter(made: Plan, component_id: str, config: MemoryLimiterConfig) -> None:
    total = total_memory()
    hard = config.limit_mib * MIB or total * config.limit_percentage // 100
    spike = config.spike_limit_mib * MIB if config.limit_mib else total * config.spike_limit_percentage // 100
    limiter = MemoryLimiter(
        MemoryLimits(hard, hard - (spike or hard // 5), config.check_interval, config.min_gc_interval_when_hard_limited)
    )
    made.limiters.append(limiter)
    made.head.append(Stage(component_id, limiter))


def _batch(made: Plan, _component_id: str, config: BatchConfig) -> None:
    made.batch = config


def _groupbytrace(made: Plan, _component_id: str, config: GroupByTraceConfig) -> None:
    made.assembly = AssemblyLimits(
        wait_duration=config.wait_duration,
        after_root=config.wait_duration_after_root_received,
        num_traces=config.num_traces,
    )


def _genai(made: Plan, component_id: str, config: GenAiConfig) -> None:
    made.head.append(Stage(component_id, spans_only(GenAi(config))))


def _redaction(made: Plan, component_id: str, config: RedactionConfig) -> None:
    redact = Redaction(config)

    def stage(request: Request) -> Request:
        return redact(request) if isinstance(request, Batch) else redact(request)

    made.head.append(Stage(component_id, stage))


def _probabilistic_sampler(made: Plan, component_id: str, config: ProbabilisticSamplerConfig) -> None:
    made.head.append(Stage(component_id, spans_only(ProbabilisticSampler(config))))


def spans_only(process: Processor) -> Callable[[Request], Request]:
    """A processor of spans that lets log records pass."""

    def stage(request: Request) -> Request:
        return process(request) if isinstance(request, Batch) else request

    return stage


_BUILDERS: Mapping[type[ConfigModel], Callable[[Plan, str, Any], None]] = {
    MemoryLimiterConfig: _memory_limiter,
    BatchConfig: _batch,
    GroupByTraceConfig: _groupbytrace,
    GenAiConfig: _genai,
    RedactionConfig: _redaction,
    ProbabilisticSamplerConfig: _probabilistic_sampler,
}
