"""The memory limiter's thresholds, on a memory of plain numbers."""

import pytest

from spanbridge.collector.errors import Busy
from spanbridge.collector.flow.processors.memory_limiter import MemoryLimiter, MemoryLimits, total_memory
from spanbridge.processors.types import Batch


@pytest.mark.parametrize(("used", "refuses"), [(0, False), (80, False), (81, True), (100, True), (101, True)])
def test_above_the_soft_limit_requests_are_refused_retryably(used, refuses):
    limiter = MemoryLimiter(MemoryLimits(hard=100, soft=80), lambda: used)
    limiter.check(0.0)
    request = Batch()
    if refuses:
        with pytest.raises(Busy):
            limiter(request)
    else:
        assert limiter(request) is request


def test_it_lets_in_again_when_memory_is_free():
    used = [90]
    limiter = MemoryLimiter(MemoryLimits(hard=100, soft=80), lambda: used[0])
    limiter.check(0.0)
    assert limiter.refusing
    used[0] = 10
    limiter.check(1.0)
    assert not limiter.refusing


def test_the_cgroup_bounds_the_machine(tmp_path):
    meminfo, bound = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text("MemTotal: 1000 kB\nMemFree: 1 kB\n")
    assert total_memory((bound,), meminfo) == 1000 * 1024
    bound.write_text("max\n")
    assert total_memory((bound,), meminfo) == 1000 * 1024
    bound.write_text("4096\n")
    assert total_memory((bound,), meminfo) == 4096
