"""The program's log on standard error: one line a message, as text or JSON, bounded for each kind of message."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from typing import Literal

BURST = 5
"""Messages of a kind that are let through each `WINDOW`; the first of a later one says how many were not."""
WINDOW = 10.0
"""Seconds."""


class RateLimit(logging.Filter):
    """A filter that lets the first `BURST` messages of a kind through in each window. A kind is a place in the code.

    The number of messages then does not grow with the traffic, nor does what is kept of them here, whatever it is.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._windows: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the message goes out; add to it how many like it did not."""
        kind, now = (record.pathname, record.lineno), self._clock()
        began, count = self._windows.get(kind, (now, 0))
        if now - began >= WINDOW:
            if count > BURST:
                record.msg = f"{record.getMessage()} (and {count - BURST} more like it)"
                record.args = None
            began, count = now, 0
        self._windows[kind] = (began, count + 1)
        return count < BURST


class JsonFormatter(logging.Formatter):
    """A formatter of one JSON object a line, with zap's keys as the Collector writes them.

    In ASCII: whoever shows the line need not know which characters steer a terminal or end a line.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        entry: dict[str, object] = {
            "level": record.levelname.lower(),
            "ts": round(record.created, 3),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info:
            entry["stacktrace"] = self.formatException(record.exc_info)
        return json.dumps(entry)


class ConsoleFormatter(logging.Formatter):
    """A formatter of lines for people; control characters of foreign text are shown, not obeyed."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s\t%(levelname)s\t%(name)s\t%(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the standard library's name
        """Return the message, on one line."""
        record.message = "".join(char if char.isprintable() else repr(char)[1:-1] for char in record.message)
        return super().formatMessage(record)


def configure(severity: int, encoding: Literal["console", "json"]) -> None:
    """Send the log to standard error, in place of whatever handlers there were.

    Args:
        severity: The lowest level that is logged, as of `logging`. Of libraries that log a lot, at least WARNING.
        encoding: For people or for machines.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if encoding == "json" else ConsoleFormatter())
    handler.addFilter(RateLimit())
    logging.basicConfig(level=severity, handlers=[handler], force=True)
    for noisy in ("uvicorn", "urllib3", "mlflow", "alembic", "sqlalchemy", "grpc"):
        logging.getLogger(noisy).setLevel(max(severity, logging.WARNING))
