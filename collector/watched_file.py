"""A small text file that is read again when it has changed, as secrets that are mounted into a container do."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from spanbridge.collector.errors import ConfigError

T = TypeVar("T")
logger = logging.getLogger(__name__)

_INTERVAL = 1.0
"""Seconds between two looks."""


class WatchedFile(Generic[T]):
    """What a file holds. What can't be read or understood any more leaves what there was, and is logged."""

    def __init__(
        self, key: str, path: str, parse: Callable[[str], T], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`key` is where the configuration names the file; `parse` raises a ValueError that holds no secret.

        Raises:
            ConfigError: the file can't be used.
        """
        self._key = key
        self._path = Path(path)
        self._parse = parse
        self._clock = clock
        self._look_at = clock() + _INTERVAL
        self._text = self._read()
        self._value = self._understood(self._text)

    def __call__(self) -> T:
        """The content as of now, or of a second ago."""
        if self._clock() >= self._look_at:
            self._look_at = self._clock() + _INTERVAL
            try:
                self._look()
            except ConfigError as error:
                logger.warning("%s; what was read before stays", error)
        return self._value

    def _look(self) -> None:
        text = self._read()
        if text != self._text:
            self._text, self._value = text, self._understood(text)

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigError([f"{self._key}: {str(self._path)!r} is no text in UTF-8"]) from None
        except OSError as error:
            raise ConfigError([f"{self._key}: can't read {str(self._path)!r}: {error.strerror}"]) from None

    def _understood(self, text: str) -> T:
        try:
            return self._parse(text)
        except ValueError as error:
            raise ConfigError([f"{self._key}: {str(self._path)!r} {error}"]) from None
