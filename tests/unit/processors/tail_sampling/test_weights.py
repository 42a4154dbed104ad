"""Honest totals of tail_sampling: shares, nesting, agreement, and weights that add up without bias.

Tolerance where chance is at work: 4 standard deviations of the estimator, sqrt(sum of (1 - p) / p) over the traces.
"""

import math
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanbridge.processors.tail_sampling.outcome import (
    DROPPED,
    INVERT_NOT_SAMPLED,
    INVERT_SAMPLED,
    NOT_SAMPLED,
    SAMPLED,
    Ballot,
    Chance,
    Vote,
    bind,
    concluded,
    probability,
)
from tests.unit.processors.tail_sampling.test_decisions import (
    INVERTED_NO,
    INVERTED_YES,
    NO,
    and_,
    by_key,
    chance,
    composite,
    drop,
    make_sampler,
    not_,
)
from tests.unit.processors.tail_sampling.test_policies import Clock, error, having, make_trace

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

SENT = 8_000


def random_ids(seed: int, count: int = SENT):
    ids = random.Random(seed)
    return [ids.randbytes(16) for _ in range(count)]


def decide_all(sampler, traces):
    return [sampler.decide(trace) for trace in traces]


# ---- shares


def test_a_tenth_of_100_000_is_part_of_the_half():
    """10 % within 4 standard deviations, nested in the 50 %, and two instances decide alike."""
    ids = random_ids(1, 100_000)
    policies = [make_sampler(chance("p", percentage)) for percentage in (10, 10, 50)]
    trace = make_trace()
    kept = []
    for sampler in policies:
        chosen = set()
        for trace_id in ids:
            trace.trace_id = trace_id
            if sampler.decide(trace).sampled:
                chosen.add(trace_id)
        kept.append(chosen)
    tenth, again, half = kept

    assert abs(len(tenth) - 10_000) < 4 * math.sqrt(100_000 * 0.1 * 0.9)
    assert abs(len(half) - 50_000) < 4 * math.sqrt(100_000 * 0.5 * 0.5)
    assert tenth < half
    assert tenth == again


def test_sessions_are_kept_whole_and_add_up():
    """2,000 sessions of 5 traces: each whole or gone, and the weights estimate the traces sent."""
    policy = {"name": "s", "type": "session", "session": {"sampling_percentage": 20}}
    sampler = make_sampler(policy)
    ids = random.Random(2)
    by_session = {
        number: [
            sampler.decide(make_trace(having(session__id=f"s{number}"), trace_id=ids.randbytes(16))) for _ in range(5)
        ]
        for number in range(2000)
    }

    assert all(len({decision.sampled for decision in decisions}) == 1 for decisions in by_session.values())
    estimate = sum(decision.weight for decisions in by_session.values() for decision in decisions)
    assert abs(estimate - 10_000) < 4 * 5 * math.sqrt(2000 * 0.8 / 0.2)


# ---- weights by chance

ERRORS = {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}
SESSION = {"name": "session", "type": "session", "session": {"sampling_percentage": 30}}

MIXES = {
    "a tenth": [chance("tenth", 10)],
    "errors and a tenth": [ERRORS, chance("tenth", 10)],
    "one draw at two ratios": [chance("a", 10), chance("b", 30)],
    "independent draws": [chance("a", 10, "a"), chance("b", 30, "b")],
    "draws by condition": [and_(by_key("vip"), chance("p", 50)), chance("rest", 5, "other")],
    "draw first, condition second": [and_(chance("p", 50), by_key("vip")), chance("rest", 5, "other")],
    "not": [not_(chance("p", 70)), ERRORS],
    "a draw of a draw": [and_(chance("a", 50, "a"), chance("b", 40, "b"))],
    "drop by chance": [drop(chance("most", 90)), chance("half", 50, "x"), ERRORS],
    "drop by the same draw": [drop(chance("low", 30)), chance("half", 50)],
    "inverted yes": [INVERTED_YES, chance("half", 50)],
    "inverted no on some": [
        {
            "name": "n",
            "type": "boolean_attribute",
            "boolean_attribute": {"key": "vip", "value": True, "invert_match": True},
        },
        chance("third", 33),
    ],
    "session or trace": [SESSION, chance("tenth", 10)],
    "session and trace": [and_(SESSION, chance("half", 50)), ERRORS],
    "composite": [composite(by_key("vip"), chance("tenth", 10), rate=10**9)],
    "composite of chance and the rest": [composite(chance("half", 50), by_key("vip"), rate=10**9)],
}


def mixed_trace(trace_id: bytes, rng: random.Random):
    attributes = {}
    if rng.random() < 0.2:
        attributes["vip"] = True
    if rng.random() < 0.5:
        attributes["session.id"] = f"s{rng.random()}"
    part = {"attributes": attributes} | (error() if rng.random() < 0.1 else {})
    return make_trace(part, trace_id=trace_id)


@pytest.fixture(scope="module")
def traces():
    rng = random.Random(7)
    return [mixed_trace(trace_id, rng) for trace_id in random_ids(8)]


@pytest.mark.parametrize("first_match", [False, True])
@pytest.mark.parametrize("name", MIXES)
def test_weights_estimate_what_was_sent(name, first_match, traces):
    """Over 8,000 traces, of those that can be kept at all, the sum of weights is within 4 standard deviations."""
    decisions = decide_all(make_sampler(*MIXES[name], sample_on_first_match=first_match), traces)
    weights = [decision.weight for decision in decisions if decision.sampled]

    estimate = sum(weights)
    deviation = math.sqrt(sum(weight * (weight - 1) for weight in weights))
    reachable = sum(map(REACHABLE.get(name, lambda _: True), traces))
    assert 0 < len(weights) < reachable or name == "inverted yes"
    assert abs(estimate - reachable) <= 4 * deviation


def _is_vip(trace) -> bool:
    return any(attribute.key == "vip" for attribute in trace.batch.resource_spans[0].scope_spans[0].spans[0].attributes)


REACHABLE = {"inverted no on some": lambda trace: not _is_vip(trace)}
"""Traces that a policy excludes for certain count for nothing: they were dropped by a rule, not by chance."""


def test_no_bias_over_many_seeds():
    """Errors, slow and a tenth; 100 seeds of 500 traces: the mean error is within 4 deviations."""
    slow = {"name": "slow", "type": "latency", "latency": {"threshold_ms": 100}}
    sampler = make_sampler(ERRORS, slow, chance("tenth", 10))
    misses = []
    for seed in range(100):
        rng = random.Random(seed)
        sent, estimate, variance = 500, 0.0, 0
        for trace_id in random_ids(seed, sent):
            certain = rng.random()
            part = error() if certain < 0.05 else {"end_time_unix_nano": 10**9} if certain < 0.1 else {}
            decision = sampler.decide(make_trace(part, trace_id=trace_id))
            estimate += decision.weight
            variance += 0 if certain < 0.1 else 9
        misses.append((estimate - sent) / math.sqrt(variance))

    assert abs(sum(misses)) / math.sqrt(100) < 4
    assert 30 < sum(miss > 0 for miss in misses) < 70
    assert 0.6 < sum(miss**2 for miss in misses) / 100 < 1.4


def test_weights_go_on_from_head_sampling():
    """A trace that arrives with th:c stood for four; the least threshold of its spans counts, that of none is one."""
    sampler = make_sampler({"name": "all", "type": "always_sample"})
    for states, weight in (
        (["ot=th:c", "ot=th:c"], 4),
        (["ot=th:c", "ot=th:8"], 2),
        (["ot=th:c", ""], 4),
        (["ot=th:0", "ot=th:c"], 1),
        (["", "v=1"], 1),
        (["broken", "ot=th:8"], 2),
    ):
        trace = make_trace(*[{"trace_state": state} for state in states])
        assert sampler.decide(trace).weight == weight, states


# ---- weights of limits


def turned_away_and_admitted(*policies, **keys):
    """2,000 traces in a hurry, then 50 at leisure: what was turned away is owed, and paid in the end."""
    clock = Clock()
    sampler = make_sampler(*policies, now=clock, **keys)
    rng = random.Random(11)
    decisions = []
    for trace_id in random_ids(12, 2000):
        clock.time += rng.random() * 0.02
        decisions.append(sampler.decide(mixed_trace(trace_id, rng)))
    for trace_id in random_ids(13, 50):
        clock.time += 10_000
        decisions.append(sampler.decide(make_trace(trace_id=trace_id)))
    return decisions


HURRIED = 2050


RATE = {"name": "rate", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 10}}
QUOTA = {"name": "quota", "type": "experiment_quota", "experiment_quota": {"traces_per_minute": 600}}


@pytest.mark.parametrize(
    "policies",
    [
        [RATE],
        [QUOTA],
        [{"name": "b", "type": "bytes_limiting", "bytes_limiting": {"bytes_per_second": 900}}],
        [ERRORS, RATE],
        [RATE, ERRORS],
        [composite({"name": "all", "type": "always_sample"}, rate=10)],
        [and_(RATE, {"name": "all", "type": "always_sample"})],
    ],
    ids=["rate", "quota", "bytes", "errors first", "errors last", "composite", "and"],
)
def test_what_a_limit_turns_away_is_owed(policies):
    """With nothing left to chance the weights add up to exactly the traces sent."""
    decisions = turned_away_and_admitted(*policies)

    assert 0.1 < sum(decision.sampled for decision in decisions) / len(decisions) < 0.9
    assert sum(decision.weight for decision in decisions) == pytest.approx(HURRIED)


@pytest.mark.parametrize("first_match", [False, True])
@pytest.mark.parametrize(
    "policies",
    [
        [chance("tenth", 10), RATE],
        [and_(chance("half", 50), RATE)],
        [and_(RATE, chance("half", 50))],
        [composite(chance("half", 50), {"name": "all", "type": "always_sample"}, rate=10)],
    ],
    ids=["or", "chance and limit", "limit and chance", "composite"],
)
def test_limits_and_draws_together(policies, first_match):
    """Beside a limit a draw adds no uncertainty, as the limit answers for every trace; before or behind it does."""
    decisions = turned_away_and_admitted(*policies, sample_on_first_match=first_match)
    uncertain = policies[0]["type"] == "and"
    deviation = math.sqrt(HURRIED * 0.5 / 0.5) if uncertain else 0

    assert abs(sum(decision.weight for decision in decisions) - HURRIED) <= 4 * deviation + 1e-6


def test_a_trace_kept_for_another_reason_pays_nothing():
    """Only a trace that the limit admitted stands for what it turned away."""
    clock = Clock()
    limit = {"name": "l", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 1, "burst_capacity": 1}}
    sampler = make_sampler(ERRORS, limit, now=clock)

    weights = [sampler.decide(make_trace(part)).weight for part in ({}, {}, {}, error())]
    clock.time += 1
    weights.append(sampler.decide(make_trace()).weight)

    assert weights == [1, 0, 0, 1, 3]


# ---- the probability itself

POSITIVE_LEAVES = [SAMPLED, NOT_SAMPLED, DROPPED, Ballot(Vote.ADMITTED), Ballot(Vote.LIMITED)]
CERTAIN = [*POSITIVE_LEAVES, INVERT_SAMPLED, INVERT_NOT_SAMPLED]
EIGHTHS = st.integers(1, 7).map(lambda number: number / 8)


def _chances(leaves):
    return st.builds(
        lambda source, ratio, below, above: Chance(source, ratio, 0, False, below, above),
        st.sampled_from(["x", "y"]),
        EIGHTHS,
        leaves,
        leaves,
    )


OUTCOMES = st.recursive(st.sampled_from(POSITIVE_LEAVES), _chances, max_leaves=4) | st.sampled_from(CERTAIN)


def resolved(outcome, draws):
    while isinstance(outcome, Chance):
        outcome = outcome.below if draws[outcome.source] < outcome.ratio else outcome.above
    return outcome.vote


def kept(outcomes, draws, *, first_match):
    votes = set()
    for outcome in outcomes:
        votes.add(resolved(outcome, draws))
        if first_match and votes & {Vote.SAMPLED, Vote.ADMITTED}:
            break
    return concluded(votes) in (Vote.SAMPLED, Vote.ADMITTED, Vote.LIMITED)


@settings(STEADY, max_examples=500)
@given(st.lists(OUTCOMES, max_size=4), st.booleans())
def test_probability_is_the_share_of_all_draws(outcomes, first_match):
    """Against counting: ratios are eighths, so 64 pairs of draws are all there are."""
    grid = [{"x": (x + 0.5) / 8, "y": (y + 0.5) / 8} for x in range(8) for y in range(8)]
    share = sum(kept(outcomes, draws, first_match=first_match) for draws in grid) / 64

    assert probability(outcomes, first_match=first_match) == pytest.approx(share)


@STEADY
@given(_chances(OUTCOMES), st.sampled_from([SAMPLED, NOT_SAMPLED]))
def test_binding_keeps_the_draws(outcome, replacement):
    """Going on from every answer to the same one forgets the draws; going on to itself changes nothing."""
    assert bind(outcome, lambda _ballot, _live: replacement, live=True) == replacement
    same = bind(outcome, lambda ballot, _live: ballot, live=True)
    for x in range(8):
        for y in range(8):
            draws = {"x": (x + 0.5) / 8, "y": (y + 0.5) / 8}
            assert resolved(same, draws) == resolved(outcome, draws)


def test_many_independent_draws_are_quick():
    """Forty salts: the tree of all of them is never built."""
    sampler = make_sampler(*(chance(f"p{number}", 1, f"salt {number}") for number in range(40)), NO)
    decisions = [sampler.decide(make_trace(trace_id=trace_id)) for trace_id in random_ids(4, 300)]

    weights = {round(decision.weight, 6) for decision in decisions if decision.sampled}
    assert weights == {round(1 / (1 - 0.99**40), 6)}


def test_a_veto_counts_for_nothing():
    """What an inverted policy excludes is no loss of chance."""
    assert make_sampler(INVERTED_NO, chance("half", 50)).decide(make_trace(having(there=True))).weight == 0
