"""Policies that keep a share by hash: probabilistic, and session (ours)."""

from __future__ import annotations

import hashlib
from typing import Final

from spanbridge.processors.tail_sampling.outcome import NOT_SAMPLED, SAMPLED, Chance, Outcome
from spanbridge.processors.tail_sampling.policies.config import ProbabilisticConfig, SessionConfig
from spanbridge.processors.tail_sampling.policies.policy import Policy
from spanbridge.processors.tail_sampling.view import View

SESSION_KEYS: Final = ("session.id", "gen_ai.conversation.id")

_DEFAULT_SALT: Final = "default-hash-seed"
_ALL: Final = (1 << 64) - 1
_PERCENT: Final = 100.0
_ALMOST_ONE: Final = 1 - 2.0**-53


def probabilistic(config: ProbabilisticConfig) -> Policy:
    """Return a policy that samples a share of the traces by a hash of the trace id.

    As contrib's internal/sampling/probabilistic.go: FNV-1a-64 of salt and trace id is at most ratio * (2^64 - 1).
    """
    if config.sampling_percentage >= _PERCENT:
        return lambda _view, _live: SAMPLED
    threshold = _go_threshold(config.sampling_percentage / _PERCENT)
    salt = config.hash_salt or _DEFAULT_SALT
    state = fnv1a_64(salt.encode())
    source = f"trace:{salt}"

    def policy(view: View, _live: bool) -> Outcome:
        return _drawn(source, fnv1a_64(view.trace.trace_id, state), threshold)

    return policy


def session(config: SessionConfig) -> Policy:
    """Return a policy that samples a share of the sessions.

    All traces of a session share a draw; a trace without a session draws by its own id. The hash is BLAKE2b: session
    ids are often numbered, and the upper bits of FNV-1a hardly move with the last digit.
    """
    if config.sampling_percentage >= _PERCENT:
        return lambda _view, _live: SAMPLED
    threshold = _go_threshold(config.sampling_percentage / _PERCENT)
    salt = (config.hash_salt or _DEFAULT_SALT).encode()
    source = f"session:{config.hash_salt}"

    def policy(view: View, _live: bool) -> Outcome:
        hashed = hashlib.blake2b(salt + session_of(view), digest_size=8).digest()
        return _drawn(source, int.from_bytes(hashed, "big"), threshold)

    return policy


def session_of(view: View) -> bytes:
    """Return the id of the session, the root span's before another's, or else the trace id."""
    for key in SESSION_KEYS:
        found = [text for text in view.strings(key) if text]
        if found:
            return found[0].encode()
    return view.trace.trace_id


def _drawn(source: str, hashed: int, threshold: int) -> Outcome:
    return Chance(
        source=source,
        ratio=min((threshold + 1) / (1 << 64), _ALMOST_ONE),
        randomness=(_ALL - hashed) >> 8,
        hit=hashed <= threshold,
        below=SAMPLED,
        above=NOT_SAMPLED,
    )


def _go_threshold(ratio: float) -> int:
    """Return the ratio of 2^64 - 1 as Go's big.Float has it: rounded to 64 bits, half to even, then cut off."""
    numerator, denominator = ratio.as_integer_ratio()
    product = numerator * _ALL
    surplus = max(0, product.bit_length() - 64)
    kept, rest = product >> surplus, product & ((1 << surplus) - 1)
    half = 1 << surplus >> 1
    kept += rest > half or (rest == half > 0 and kept & 1)
    return min((kept << surplus) // denominator, _ALL)


def fnv1a_64(data: bytes, state: int = 0xCBF29CE484222325) -> int:
    """Return FNV-1a of 64 bits; `state` is the hash of the bytes before."""
    for byte in data:
        state = (state ^ byte) * 0x00000100000001B3 & _ALL
    return state
