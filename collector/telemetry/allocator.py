"""How much freed memory the allocator keeps, and how often Python looks for garbage. Of glibc; others are left alone.

By default glibc has eight arenas a core and never gives back a freed block below its top: after one large request the
process would stay large. See mallopt(3).
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
"""Parameters of mallopt, from malloc.h."""
LARGE = 16 << 20
"""Blocks of so many bytes and more are mapped one by one and go back to the system when they are freed. Usual requests,
and what writers are sent or send, are smaller: to map and clear fresh pages for each took a tenth of the time of a busy
process."""
KEPT = 16 << 20
"""Free bytes at the top that are kept for what comes next."""
GARBAGE = 20_000
"""New containers after which cycles are sought. Spans make many, and no cycles: by default (700) a sixth of the time of
a busy process went into looking."""


def keep_little() -> None:
    """Have the allocator keep little: one arena, large blocks mapped one by one. To be called before threads start.

    Does nothing where there is no glibc, but for the threshold of the garbage collector.
    """
    gc.set_threshold(GARBAGE, *gc.get_threshold()[1:])
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT)


def give_back() -> None:
    """Give freed memory back to the system, and leave what lives now out of later collections (`gc.freeze`).

    To be called once, when the start is over: modules and configuration live as long as the process, and to go through
    them at each collection would cost more than all else in it.
    """
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
