"""The memory limiter's thresholds, on a memory of plain numbers."""

import re
from pathlib import Path

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
    bound = tmp_path / "memory.max"
    machine = total_memory((bound,))
    assert machine > 64 << 20
    bound.write_text("max\n")
    assert total_memory((bound,)) == machine
    bound.write_text(f"{machine * 2}\n")  # what cgroup v1 says where it has no bound
    assert total_memory((bound,)) == machine
    bound.write_text("4096\n")
    assert total_memory((bound,)) == 4096


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="there is no /proc to compare with")
def test_the_machines_memory_is_what_the_kernel_says():
    total = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    assert total_memory(()) == int(total[1]) * 1024


def test_the_check_works_with_the_memory_of_this_process():
    limiter = MemoryLimiter(MemoryLimits(hard=2 << 20, soft=1 << 20))
    limiter.check(0.0)
    assert limiter.refusing
