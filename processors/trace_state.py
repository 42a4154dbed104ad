"""The W3C `tracestate` of a span, and OpenTelemetry's member of it: `ot=rv:..;th:..`.

Sources: W3C Trace Context section 3.3 for the list, OpenTelemetry specification trace/tracestate-handling.md and
trace/tracestate-probability-sampling.md for `ot`. A span carries 56 bits of randomness (`rv`, else the last seven bytes
of its trace id) and a rejection threshold (`th`); it is kept where randomness >= threshold.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Pairs: TypeAlias = list[tuple[str, str]]

KEEP_ALL: Final = 0
"""The threshold of 100 %."""

KEEP_NONE: Final = 1 << 56
"""One above every randomness; no `th` expresses it."""

DIGITS: Final = 14
"""Hex digits of 56 bits."""

_MAX_LENGTH = 1024
_MAX_MEMBERS = 32
_MAX_OT_LENGTH = 256
_KEY = re.compile(r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}")
_VALUE = re.compile(r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]")
_OT = re.compile(r"[a-z][a-z0-9]*:[a-zA-Z0-9._\-]*(?:;[a-z][a-z0-9]*:[a-zA-Z0-9._\-]*)*")
_RV = re.compile(r"[0-9a-fA-F]{14}")
_TH = re.compile(r"[0-9a-fA-F]{1,14}")


class TraceStateError(ValueError):
    """A `tracestate` that breaks the W3C or the OpenTelemetry grammar."""


def trace_id_randomness(trace_id: bytes) -> int:
    """Return the 56 random bits of a trace id: its last seven bytes (W3C Trace Context level 2)."""
    return int.from_bytes(trace_id[-7:], "big")


def probability_to_threshold(probability: float, precision: int = DIGITS) -> int:
    """Return the rejection threshold of a probability.

    Leading `0` or `f` digits do not count as significant, so that the relative error stays small at both ends; the
    rounding is that of contrib's pkg/sampling/probability.go.

    Args:
        probability: The probability, in [2^-56, 1]; below it the threshold is KEEP_NONE.
        precision: How many significant hex digits to keep.
    """
    if probability >= 1:
        return KEEP_ALL
    scaled = probability * KEEP_NONE
    if scaled < 1:
        return KEEP_NONE
    numerator, denominator = scaled.as_integer_ratio()
    threshold = KEEP_NONE - (2 * numerator + denominator) // (2 * denominator)
    shift = 4 * (DIGITS - _needed_digits(probability, precision))
    if shift:
        threshold = (threshold + (1 << (shift - 1))) >> shift << shift
    return threshold


def _needed_digits(probability: float, precision: int) -> int:
    leading = max(-math.frexp(probability)[1], -math.frexp(1 - probability)[1], 0) // 4
    return min(DIGITS, precision + leading)


def threshold_to_probability(threshold: int) -> float:
    """Return the share of all randomness values that a threshold keeps."""
    return (KEEP_NONE - threshold) / KEEP_NONE


def adjusted_count(threshold: int) -> float:
    """Return how many spans one that was kept at this threshold (below KEEP_NONE) stands for."""
    return KEEP_NONE / (KEEP_NONE - threshold)


def encode_threshold(threshold: int) -> str:
    """Return the `th` value of a threshold below KEEP_NONE: hex digits, trailing zeros left out."""
    return f"{threshold:014x}".rstrip("0") or "0"


def members(text: str) -> Pairs:
    """Return the members of a tracestate, in order.

    Raises:
        TraceStateError: The text breaks the W3C grammar.
    """
    if len(text) > _MAX_LENGTH:
        raise TraceStateError("tracestate is longer than 1024 characters")
    pairs = [_pair(part) for part in (raw.strip(" \t") for raw in text.split(",")) if part]
    if len(pairs) > _MAX_MEMBERS:
        raise TraceStateError("tracestate has more than 32 members")
    return pairs


def _pair(member: str) -> tuple[str, str]:
    key, _, value = member.partition("=")
    if not (_KEY.fullmatch(key) and _VALUE.fullmatch(value)):
        raise TraceStateError("a tracestate member is not of the form key=value")
    return key, value


@dataclass(slots=True)
class TraceState:
    """A tracestate taken apart. `str()` writes it back with `ot` first, as W3C asks of whoever changes a member.

    Attributes:
        rv: The randomness as written; empty if absent.
        th: The threshold as written; empty if absent.
        ot: The other entries of the member `ot`.
        others: The other members.
    """

    rv: str = ""
    th: str = ""
    ot: Pairs = field(default_factory=list)
    others: Pairs = field(default_factory=list)

    @classmethod
    def parse(cls, text: str) -> TraceState:
        """Read a tracestate; an empty text is an empty one.

        Raises:
            TraceStateError: The text breaks the W3C or the OpenTelemetry grammar.
        """
        state = cls()
        if not text:
            return state
        for key, value in members(text):
            if key == "ot":
                state.rv, state.th, state.ot = _read_ot(value)
            else:
                state.others.append((key, value))
        return state

    @property
    def randomness(self) -> int | None:
        """The explicit randomness, or None."""
        return int(self.rv, 16) if self.rv else None

    @randomness.setter
    def randomness(self, value: int) -> None:
        self.rv = f"{value:014x}"

    @property
    def threshold(self) -> int | None:
        """The rejection threshold that was applied so far, or None where it is unknown."""
        return int(self.th.ljust(DIGITS, "0"), 16) if self.th else None

    def raise_threshold(self, threshold: int) -> None:
        """Record a sampling stage: a threshold may rise but never fall, as that would raise an earlier probability."""
        known = self.threshold
        if known is None or threshold >= known:
            self.th = encode_threshold(threshold)

    def erase_threshold(self) -> None:
        """Record that the sampling probability is unknown."""
        self.th = ""

    def __str__(self) -> str:
        ot = self._ot_value()
        pairs = [("ot", ot), *self.others] if ot else self.others
        return ",".join(f"{key}={value}" for key, value in pairs[:_MAX_MEMBERS])

    def _ot_value(self) -> str:
        own = [(key, value) for key, value in (("rv", self.rv), ("th", self.th)) if value]
        room = len(self.ot)
        while len(text := ";".join(f"{key}:{value}" for key, value in own + self.ot[:room])) > _MAX_OT_LENGTH:
            room -= 1
        return text


def _read_ot(value: str) -> tuple[str, str, Pairs]:
    if len(value) > _MAX_OT_LENGTH or not _OT.fullmatch(value):
        raise TraceStateError("the ot member of a tracestate is not of the form key:value;key:value")
    rv = th = ""
    rest: Pairs = []
    for key, text in (item.split(":") for item in value.split(";")):
        if key == "rv":
            rv = _checked(_RV, text, "rv of a tracestate is not 14 hex digits")
        elif key == "th":
            th = _checked(_TH, text, "th of a tracestate is not 1 to 14 hex digits")
        else:
            rest.append((key, text))
    return rv, th, rest


def _checked(pattern: re.Pattern[str], text: str, problem: str) -> str:
    if not pattern.fullmatch(text):
        raise TraceStateError(problem)
    return text
