"""What a process and all that it has started take of the machine: from /proc on Linux, from psutil elsewhere.

psutil could serve both, but it finds children by looking at every process of the machine, 25 us each and every second;
/proc names them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from mmap import PAGESIZE
from pathlib import Path

_SELF = Path("/proc/self")
_TICKS = 100
"""Units a second of the times in /proc: proc(5), USER_HZ."""
_USER, _SYSTEM = 11, 12
"""Places of the two times among the fields after the process's name in /proc/PID/stat: proc(5), utime and stime."""


def resident_memory(process: Path = _SELF) -> int:
    """Return the resident bytes of a process and of all that it has started; what they share is counted once.

    Where there is no /proc, on a Mac, the process is this one, and what is shared counts for each.
    """
    if not _SELF.exists():
        return sum(rss for rss, _ in _measured())
    family = _family(process)
    return sum(map(_part, family)) if len(family) > 1 else _resident(process)


def cpu_seconds() -> float:
    """Return what this process, those that it has started, and those of them that have ended used, user and system."""
    times = os.times()
    own = times.user + times.system + times.children_user + times.children_system
    if not _SELF.exists():
        return own + sum(seconds for _, seconds in list(_measured())[1:])
    return own + sum(map(_cpu_seconds, _family(_SELF)[1:]))


def _measured() -> Iterator[tuple[int, float]]:
    """Resident bytes and CPU seconds of this process, then of each that it has started."""
    import psutil  # noqa: PLC0415  installed only where there is no /proc

    this = psutil.Process()
    for process in (this, *this.children(recursive=True)):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            times = process.cpu_times()
            yield process.memory_info().rss, times.user + times.system


def _family(process: Path) -> list[Path]:
    children = [pid for file in process.glob("task/*/children") for pid in _read(file).split()]
    return [process, *(member for pid in children for member in _family(process.with_name(pid)))]


def _resident(process: Path) -> int:
    pages = _read(process / "statm").split()[1:2]
    return sum(map(int, pages)) * PAGESIZE


def _part(process: Path) -> int:
    """Return a process's proportional set size: its part of each page that it shares. The kernel needs ms for it."""
    lines = _read(process / "smaps_rollup").splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _cpu_seconds(process: Path) -> float:
    fields = _read(process / "stat").rpartition(")")[2].split()
    return sum(map(int, fields[_USER : _SYSTEM + 1])) / _TICKS


def _read(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:  # the process has ended, or this is no Linux
        return ""
