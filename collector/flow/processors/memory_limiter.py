"""The memory limiter: refuses new requests while the process holds more memory than it should.

Keys and rules: the Collector's internal/memorylimiter. Above the soft limit requests are refused with a retryable
error; above the hard limit a garbage collection is forced as well.
"""

from __future__ import annotations

import asyncio
import gc
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from spanbridge.collector.errors import Busy
from spanbridge.collector.otlp.requests import Request
from spanbridge.collector.telemetry.processes import resident_memory

MIB = 1 << 20
CGROUP_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


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
        """The request, untouched."""
        if self.refusing:
            raise Busy("data refused due to high memory usage")
        return request

    def check(self, now: float) -> None:
        """Look at the memory in use; to be called every `check_interval`."""
        used = self._read()
        if used > self._limits.hard and now - self._collected_at >= self._limits.gc_interval:
            gc.collect()
            self._collected_at = now
            used = self._read()
        self.refusing = used > self._limits.soft

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Check in the background."""
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
