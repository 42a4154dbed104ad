"""The contract of a policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from spanbridge.processors.tail_sampling.outcome import Outcome
from spanbridge.processors.tail_sampling.view import View

Policy: TypeAlias = Callable[[View, bool], Outcome]
"""Answers for a trace. The flag says that the answer counts; without it, it is what the policy would say, and nothing
is spent: a limit then says LIMITED. Raises `PolicyError`, and nothing else, where it can't answer.
"""


class PolicyError(Exception):
    """A policy that cannot answer for a trace; the other policies decide."""
