"""`memory_limiter`: refuses new requests while the process holds more memory than it should.

Keys and rules: the Collector's internal/memorylimiter. Above the soft limit requests are refused with a retryable
error; above the hard limit a garbage collection is forced as well.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field, NonNegativeInt, model_validator

from spanbridge.collector.errors import Busy
from spanbridge.collector.flow.processors.stages import FlowStages
from spanbridge.collector.telemetry.processes import resident_memory
from spanbridge.processors.settings import ConfigModel, Duration
from spanbridge.processors.stages import BuildContext
from spanbridge.processors.types import Request

if TYPE_CHECKING:
    from typing import Self

MIB = 1 << 20
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


_COLLECTED = "a collection is forced above the hard limit alone, as often as min_gc_interval_when_hard_limited says."
_GC = "Without effect here: " + _COLLECTED


class MemoryLimiterConfig(ConfigModel):
    """`memory_limiter`: the hard limit, and how far below it requests begin to be refused (the soft limit)."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "min_gc_interval_when_soft_limited": _COLLECTED,
        "max_gc_interval_when_soft_limited": _COLLECTED,
        "max_gc_interval_when_hard_limited": _COLLECTED,
    }

    check_interval: Duration = Field(
        default=0.0, description="How often memory is looked at; must be given and greater than 0."
    )
    limit_mib: NonNegativeInt = Field(
        default=0, description="The hard limit in MiB of resident memory; wins over limit_percentage."
    )
    spike_limit_mib: NonNegativeInt = Field(
        default=0,
        description="How far below limit_mib, in MiB, requests begin to be refused; 0 means a fifth of the limit.",
    )
    limit_percentage: int = Field(
        default=0,
        ge=0,
        le=100,
        description="The hard limit in percent of the memory there is: the container's limit, else the machine's.",
    )
    spike_limit_percentage: int = Field(
        default=0,
        ge=0,
        le=100,
        description="How far below limit_percentage, in percent of the memory there is, requests begin to be refused; "
        "0 means a fifth of the limit.",
    )
    min_gc_interval_when_soft_limited: Duration = Field(default=10.0, description=_GC)
    min_gc_interval_when_hard_limited: Duration = Field(
        default=0.0, description="The shortest time between two garbage collections that the hard limit forces."
    )
    max_gc_interval_when_soft_limited: Duration = Field(default=30.0, description=_GC)
    max_gc_interval_when_hard_limited: Duration = Field(default=30.0, description=_GC)

    @model_validator(mode="after")
    def _has_a_limit(self) -> Self:
        if self.check_interval == 0:
            raise ValueError('check_interval must be greater than zero; write for example "1s"')
        if not self.limit_mib and not self.limit_percentage:
            raise ValueError("limit_mib or limit_percentage must be greater than zero")
        if self.limit_mib and self.spike_limit_mib >= self.limit_mib:
            raise ValueError("spike_limit_mib must be smaller than limit_mib")
        if self.limit_percentage and self.spike_limit_percentage >= self.limit_percentage:
            raise ValueError("spike_limit_percentage must be smaller than limit_percentage")
        if self.min_gc_interval_when_soft_limited < self.min_gc_interval_when_hard_limited:
            raise ValueError(
                "min_gc_interval_when_soft_limited must not be smaller than min_gc_interval_when_hard_limited"
            )
        return self


@dataclass(frozen=True, slots=True)
class MemoryLimits:
    """In bytes; `interval` and `gc_interval` in seconds."""

    hard: int
    soft: int
    interval: float = 1.0
    gc_interval: float = 0.0


def total_memory(cgroup_files: tuple[Path, ...] = CGROUP_LIMITS) -> int:
    """Return the bytes this process may use: its cgroup's bound where there is one, else the machine's memory."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for file in cgroup_files:
        if file.exists() and (text := file.read_text().strip()).isdigit():
            return min(int(text), machine)
    return machine


class MemoryLimiter:
    """A head-stage processor: passes requests on, or raises `Busy` while memory is short."""

    def __init__(self, limits: MemoryLimits, read: Callable[[], int] = resident_memory) -> None:
        self._limits = limits
        self._read = read
        self._collected_at = float("-inf")
        self.refusing = False

    def __call__(self, request: Request) -> Request:
        """Return the request, untouched.

        Raises:
            Busy: memory is short.
        """
        if self.refusing:
            raise Busy("data refused due to high memory usage")
        return request

    def check(self, now: float) -> None:
        """Look at the memory in use; to be called every `check_interval`. `now` is in seconds of any clock."""
        used = self._read()
        if used > self._limits.hard and now - self._collected_at >= self._limits.gc_interval:
            gc.collect()
            self._collected_at = now
            used = self._read()
        self.refusing = used > self._limits.soft

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check in the background while the context lasts."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._run())
            try:
                yield
            finally:
                task.cancel()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.to_thread(self.check, loop.time())
            await asyncio.sleep(self._limits.interval)


def build(config: MemoryLimiterConfig, _context: BuildContext) -> FlowStages:
    """Return the stage that refuses, and what looks at the memory meanwhile."""
    limiter = MemoryLimiter(memory_limits(config, total_memory()))
    return FlowStages(head=limiter, background=limiter.running())


def memory_limits(config: MemoryLimiterConfig, total: int) -> MemoryLimits:
    """Return the limits of a section where the process may use `total` bytes."""
    hard = config.limit_mib * MIB or total * config.limit_percentage // 100
    spike = config.spike_limit_mib * MIB if config.limit_mib else total * config.spike_limit_percentage // 100
    soft = hard - (spike or hard // 5)
    return MemoryLimits(hard, soft, config.check_interval, config.min_gc_interval_when_hard_limited)
