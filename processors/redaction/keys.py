"""The rules for keys: what happens to a value because of its key."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum, auto
from functools import lru_cache

from spanbridge.processors.patterns import compiled
from spanbridge.processors.redaction.config import RedactionConfig

SUMMARY_KEYS = frozenset(
    f"redaction.{place}{what}.{form}"
    for place in ("", "body.")
    for what in ("redacted", "masked", "allowed", "ignored")
    for form in ("keys", "count")
)
"""The attributes a summary is written to (contrib's processor.go). They hold keys and counts, and are read as such."""


class Verdict(Enum):
    """What the rules for keys say of the value under a key."""

    IGNORE = auto()
    REMOVE = auto()
    MASK = auto()
    READ = auto()
    SUMMARY = auto()


class KeyRules:
    """The rules for keys, prepared.

    `listed(key)` returns the verdict on a key that `allowed_keys` is about, `nested(key)` on one further inside. Keys
    repeat from span to span, so verdicts are remembered, up to a bound.
    """

    def __init__(self, config: RedactionConfig) -> None:
        self._ignored = frozenset(config.ignored_keys)
        self._allowed = None if config.keeps_all_keys else frozenset(config.allowed_keys)
        self._ignoring, self._blocking = _any(config.ignored_key_patterns), _any(config.blocked_key_patterns)
        self.listed = lru_cache(maxsize=4096)(self._listed)
        self.nested = lru_cache(maxsize=4096)(self._nested)

    def _listed(self, key: str) -> Verdict:
        verdict = self._nested(key)
        if verdict in (Verdict.SUMMARY, Verdict.IGNORE) or self._allowed is None or key in self._allowed:
            return verdict
        return Verdict.REMOVE

    def _nested(self, key: str) -> Verdict:
        if key in SUMMARY_KEYS:
            return Verdict.SUMMARY
        if key in self._ignored or self._ignoring(key):
            return Verdict.IGNORE
        return Verdict.MASK if self._blocking(key) else Verdict.READ


def _any(patterns: Iterable[str]) -> Callable[[str], bool]:
    searches = [compiled(pattern).search for pattern in patterns]
    return lambda text: any(search(text) is not None for search in searches)
