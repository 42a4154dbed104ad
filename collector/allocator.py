"""What the C library's allocator keeps: told to hold little, where it is glibc's; elsewhere nothing happens.

By default glibc has eight arenas a core and never gives back a freed block below its top: after one large request the
process would stay large. See mallopt(3).
"""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8
LARGE = 256 << 10
"""Blocks of so many bytes and more are mapped one by one and go back to the system when they are freed."""


def keep_little() -> None:
    """Before threads start: few arenas, and large blocks by themselves."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(M_ARENA_MAX, 1)
        libc.mallopt(M_MMAP_THRESHOLD, LARGE)


def give_back() -> None:
    """Return what was freed so far; what lives now is taken to live for ever, and garbage is no more sought in it."""
    gc.collect()
    gc.freeze()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
