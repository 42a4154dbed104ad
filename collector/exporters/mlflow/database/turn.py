"""A lock that a process shares with those that it divides into."""

from __future__ import annotations

import fcntl
import os
import sys
import threading
import weakref
from contextlib import AbstractContextManager


class Turn(AbstractContextManager[None]):
    """Held by one at a time, of the threads of this process and of those that it divides into; who dies lets go of it.

    Where there is no memfd_create(2), on a Mac, no process divides (`process.share`), and threads are all there are.
    """

    def __init__(self) -> None:
        self._threads = threading.Lock()
        self._file: int | None = None
        if sys.platform == "linux":
            self._file = os.memfd_create("turn")
            weakref.finalize(self, os.close, self._file)

    def __enter__(self) -> None:
        self._threads.acquire()
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_EX)  # of fcntl(2): held by a process, not by what it inherits

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            fcntl.lockf(self._file, fcntl.LOCK_UN)
        self._threads.release()
