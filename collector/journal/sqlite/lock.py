"""One process at a time: a lock beside the journal's file.

Not on the file itself: SQLite locks that with fcntl, which loses its locks when any descriptor of the file is closed
(https://www.sqlite.org/howtocorrupt.html, 2.2), and a salvage puts another file in its place.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from spanbridge.collector.errors import ConfigError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `<path>.lock`; the kernel releases it however the process ends.

    Raises:
        ConfigError: Another process holds it.
        OSError: The lock can't be made.
    """
    descriptor = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _acquire(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 20, 0).decode(errors="replace")
        problem = f"{path}: process {holder} has this journal open; stop it, or give this one a folder of its own"
        raise ConfigError([problem]) from None
    with suppress(OSError):  # the number only serves the sentence above, and a full disk may refuse it
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
