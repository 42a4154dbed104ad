"""How much of everything: each a default that ends in minutes, and a variable of the environment for more."""

from __future__ import annotations

import os


def size(name: str, default: int) -> int:
    """SPANBRIDGE_FAULTS_<name>, or the default."""
    return int(os.environ.get(f"SPANBRIDGE_FAULTS_{name}", default))


SEED = size("SEED", 20_261)
"""Of all that is random: kills, loads, answers."""
KILLS = size("KILLS", 100)
"""kill -9s over MLflow on SQLite."""
KILLS_POSTGRES = size("KILLS_POSTGRES", 20)
"""kill -9s over MLflow on PostgreSQL."""
OUTAGE_SPANS = size("OUTAGE_SPANS", 36_000)
"""Spans of the outage: an hour at 10 a second."""
TRACES = size("TRACES", 120)
"""Traces that go through each of the downstreams of the exporters' contract."""
FUZZ_RUNS = size("FUZZ_RUNS", 100_000)
"""Inputs of each fuzz target."""
SOAK_SECONDS = size("SOAK_SECONDS", 120)
"""How long the soak runs."""
