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
"""Seconds between two looks at the file."""


class WatchedFile(Generic[T]):
    """The parsed content of a file, as of a second ago at most.

    When it can't be read or parsed any more, what there was stays, and that is logged: a secret is often replaced by a
    delete and a create, and in between nobody should be shut out.
    """

    def __init__(
        self, key: str, path: str, parse: Callable[[str], T], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Read the file for the first time.

        Args:
            key: Where the configuration names the file, for messages.
            path: The file, a text in UTF-8.
            parse: Makes the content from the text, or raises a ValueError whose text goes on after the file's name and
                holds no secret.
            clock: Returns seconds.

        Raises:
            ConfigError: The file can't be used.
        """
        self._key = key
        self._path = Path(path)
        self._parse = parse
        self._clock = clock
        self._look_at = clock() + _INTERVAL
        self._text = self._read()
        self._value = self._parsed(self._text)

    def __call__(self) -> T:
        """Return the content, after a look at the file if the last one was a second ago."""
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
            self._text, self._value = text, self._parsed(text)

    def _read(self) -> str:
        try:
            return self._path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ConfigError([f"{self._key}: {str(self._path)!r} is no text in UTF-8"]) from None
        except OSError as error:
            raise ConfigError([f"{self._key}: can't read {str(self._path)!r}: {error.strerror}"]) from None

    def _parsed(self, text: str) -> T:
        try:
            return self._parse(text)
        except ValueError as error:
            raise ConfigError([f"{self._key}: {str(self._path)!r} {error}"]) from None
