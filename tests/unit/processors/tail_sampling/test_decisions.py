"""Decisions of tail_sampling: combinations, order, first match, early decisions, marks, the cache."""

import itertools
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanbridge.processors.tail_sampling import (
    TailSampler,
    TailSamplingConfig,
    mark,
)
from spanbridge.processors.trace_state import TraceState, adjusted_count
from spanbridge.processors.types import spans
from tests.unit.processors.tail_sampling.test_policies import Clock, error, having, make_policy, make_trace

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

YES = {"name": "yes", "type": "always_sample"}
NO = {"name": "no", "type": "span_count", "span_count": {"min_spans": 1000}}
INVERTED_YES = {
    "name": "inverted yes",
    "type": "string_attribute",
    "string_attribute": {"key": "absent", "values": ["x"], "invert_match": True},
}
INVERTED_NO = {
    "name": "inverted no",
    "type": "boolean_attribute",
    "boolean_attribute": {"key": "there", "value": True, "invert_match": True},
}
BROKEN = {"name": "broken", "type": "ottl_condition", "ottl_condition": {"span": ["Len(kind) == 1"]}}
DROP = {"name": "drop", "type": "drop", "drop": {"drop_sub_policy": [YES]}}
DROP_NOTHING = {"name": "drop nothing", "type": "drop", "drop": {"drop_sub_policy": [YES, NO]}}
OPEN = {"name": "open", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 1000}}
SHUT = {"name": "shut", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 0}}

TRACE = make_trace(having(there=True), {})


def make_sampler(*policies, now=None, on_policy=None, **keys) -> TailSampler:
    config = TailSamplingConfig.model_validate({"policies": list(policies)} | keys)
    return TailSampler(config, now or Clock(), on_policy)


def chance(name: str, percentage: float, salt: str = "") -> dict:
    return {
        "name": name,
        "type": "probabilistic",
        "probabilistic": {"sampling_percentage": percentage, "hash_salt": salt},
    }


def and_(*policies, name="and") -> dict:
    return {"name": name, "type": "and", "and": {"and_sub_policy": list(policies)}}


def not_(policy, name="not") -> dict:
    return {"name": name, "type": "not", "not": {"not_sub_policy": policy}}


def drop(*policies, name="drop") -> dict:
    return {"name": name, "type": "drop", "drop": {"drop_sub_policy": list(policies)}}


def composite(*policies, rate=100, order=(), percents=None) -> dict:
    allocation = [{"policy": name, "percent": percent} for name, percent in (percents or {}).items()]
    section = {
        "max_total_spans_per_second": rate,
        "policy_order": list(order),
        "composite_sub_policy": list(policies),
        "rate_allocation": allocation,
    }
    return {"name": "composite", "type": "composite", "composite": section}


# ---- order of decision

ORDER = [
    # policies, outcome, policy named
    ([YES], "sampled", "yes"),
    ([NO], "not_sampled", ""),
    ([NO, YES], "sampled", "yes"),
    ([YES, DROP], "dropped", "drop"),
    ([DROP, YES], "dropped", "drop"),
    ([YES, DROP_NOTHING], "sampled", "yes"),
    ([DROP_NOTHING], "not_sampled", ""),
    ([INVERTED_NO], "not_sampled", ""),
    ([INVERTED_NO, YES], "not_sampled", ""),
    ([YES, INVERTED_NO], "not_sampled", ""),
    ([INVERTED_YES], "sampled", "inverted yes"),
    ([INVERTED_YES, YES], "sampled", "yes"),
    ([INVERTED_YES, NO], "not_sampled", ""),
    ([INVERTED_YES, NO, YES], "sampled", "yes"),
    ([INVERTED_YES, INVERTED_NO], "not_sampled", ""),
    ([INVERTED_YES, SHUT], "not_sampled", ""),
    ([INVERTED_YES, DROP], "dropped", "drop"),
    ([OPEN], "sampled", "open"),
    ([SHUT], "not_sampled", ""),
    ([SHUT, OPEN], "sampled", "open"),
    ([OPEN, YES], "sampled", "yes"),
    ([OPEN, INVERTED_NO], "not_sampled", ""),
    ([BROKEN], "not_sampled", ""),
    ([BROKEN, YES], "sampled", "yes"),
    ([BROKEN, INVERTED_YES], "sampled", "inverted yes"),
    ([chance("certainly", 100), YES], "sampled", "certainly"),
    ([chance("by chance", 99.999999), YES], "sampled", "yes"),
    ([chance("by chance", 99.999999), NO], "sampled", "by chance"),
]


@pytest.mark.parametrize(("policies", "outcome", "policy"), ORDER)
def test_order_of_decision(policies, outcome, policy):
    """Drop, inverted no, yes, inverted yes unless some no: as the Collector. A certain yes is named before a chance."""
    decision = make_sampler(*policies).decide(TRACE)

    assert (decision.outcome, decision.policy) == (outcome, policy)


def test_hook_is_told_what_each_policy_said():
    """An error is no answer; a dropped trace is not asked about further; spans are counted."""
    told = []
    policies = [BROKEN, YES, NO, INVERTED_NO, INVERTED_YES, OPEN, SHUT, DROP_NOTHING]
    make_sampler(*policies, on_policy=lambda *seen: told.append(seen)).decide(TRACE)
    assert sorted(told) == [
        ("broken", "error", 2),
        ("drop nothing", "not_sampled", 2),
        ("inverted no", "not_sampled", 2),
        ("inverted yes", "sampled", 2),
        ("no", "not_sampled", 2),
        ("open", "sampled", 2),
        ("shut", "not_sampled", 2),
        ("yes", "sampled", 2),
    ]

    told.clear()
    make_sampler(YES, DROP, on_policy=lambda *seen: told.append(seen)).decide(TRACE)
    assert told == [("drop", "dropped", 2)]


def test_sample_on_first_match_asks_no_further():
    """Later policies are neither asked nor spend anything."""
    told = []
    sampler = make_sampler(NO, OPEN, YES, on_policy=lambda *seen: told.append(seen), sample_on_first_match=True)

    assert sampler.decide(TRACE).policy == "open"
    assert [name for name, _, _ in told] == ["no", "open"]


def test_an_inverted_no_after_the_first_match_comes_too_late():
    """With sample_on_first_match the match ends the questions; without it the inverted no wins."""
    assert make_sampler(YES, INVERTED_NO, sample_on_first_match=True).decide(TRACE).sampled
    assert not make_sampler(INVERTED_NO, YES, sample_on_first_match=True).decide(TRACE).sampled
    assert not make_sampler(YES, INVERTED_NO).decide(TRACE).sampled


# ---- combinations

COMBINED = [
    (and_(YES, YES), "sampled"),
    (and_(YES, NO), "not_sampled"),
    (and_(NO, YES), "not_sampled"),
    (and_(YES, INVERTED_YES), "sampled"),
    (and_(YES, INVERTED_NO), "not_sampled"),
    (and_(INVERTED_NO), "not_sampled"),
    (and_(YES, and_(YES, NO)), "not_sampled"),
    (and_(YES, not_(NO)), "sampled"),
    (and_(YES, OPEN), "admitted"),
    (and_(OPEN, YES), "admitted"),
    (and_(YES, SHUT), "limited"),
    (and_(SHUT, YES), "limited"),
    (and_(SHUT, NO), "not_sampled"),
    (and_(SHUT, OPEN), "limited"),
    (not_(YES), "not_sampled"),
    (not_(NO), "sampled"),
    (not_(INVERTED_YES), "not_sampled"),
    (not_(INVERTED_NO), "sampled"),
    (not_(not_(YES)), "sampled"),
    (not_(OPEN), "not_sampled"),
    (not_(SHUT), "sampled"),
    (drop(YES, YES), "dropped"),
    (drop(YES, NO), "not_sampled"),
    (drop(INVERTED_YES), "dropped"),
    (drop(INVERTED_NO), "not_sampled"),
    (drop(OPEN), "dropped"),
    (drop(SHUT), "not_sampled"),
    (drop(and_(YES, YES)), "dropped"),
    (composite(YES), "admitted"),
    (composite(NO), "not_sampled"),
    (composite(NO, YES), "admitted"),
    (composite(INVERTED_YES), "admitted"),
    (composite(INVERTED_NO, NO), "not_sampled"),
    (composite(and_(YES, NO), not_(NO)), "admitted"),
    (composite(YES, rate=1), "limited"),
]


@pytest.mark.parametrize(("policy", "vote"), COMBINED)
def test_combination(policy, vote):
    """Inside a combination an inverted vote is a plain one."""
    assert make_policy(policy["type"], policy[policy["type"]])(TRACE) == vote


def test_and_with_a_broken_policy_does_not_answer():
    """The error of a part is the error of the whole; the others decide."""
    assert not make_sampler(and_(YES, BROKEN)).decide(TRACE).sampled
    assert make_sampler(and_(YES, BROKEN), YES).decide(TRACE).policy == "yes"


def test_and_spends_nothing_where_an_earlier_part_says_no():
    """A limit behind a condition is only used up by traces that meet it."""
    limit = {"name": "l", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 1, "burst_capacity": 2}}
    errors = {"name": "e", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}
    sampler = make_sampler(and_(errors, limit))

    assert not any(sampler.decide(make_trace()).sampled for _ in range(10))
    assert [sampler.decide(make_trace(error())).sampled for _ in range(3)] == [True, True, False]


def by_key(key: str) -> dict:
    return {"name": key, "type": "boolean_attribute", "boolean_attribute": {"key": key, "value": True}}


def keyed(key: str, count: int = 1):
    return make_trace(*[having(**{key: True})] * count)


def test_composite_allocates_its_rate():
    """Each sub-policy has its percentage of the rate, one without a percentage an equal share; a second is a second."""
    clock = Clock(100.9)
    rate = composite(by_key("a"), by_key("b"), by_key("c"), rate=30, percents={"a": 50, "b": 0})
    policy = make_policy("composite", rate["composite"], clock)

    assert [policy(keyed("a", 5)) for _ in range(4)] == [*["admitted"] * 3, "limited"]
    assert [policy(keyed("b", 5)) for _ in range(3)] == ["admitted", "admitted", "limited"]
    assert [policy(keyed("c", 11)), policy(keyed("c", 10))] == ["limited", "admitted"]
    assert policy(keyed("d")) == "not_sampled"
    clock.time += 0.05
    assert policy(keyed("a")) == "limited"
    clock.time += 0.1
    assert policy(keyed("a", 15)) == "admitted"


def test_composite_stops_at_the_first_that_samples():
    """Over its share the trace is not sampled, though a later sub-policy had room."""
    policies = composite(by_key("a"), YES, rate=10, percents={"a": 10, "yes": 90})
    policy = make_policy("composite", policies["composite"])

    assert [policy(keyed("a")) for _ in range(2)] == ["admitted", "limited"]
    assert policy(keyed("b", 9)) == "admitted"


@pytest.mark.parametrize(("order", "votes"), [(["yes", "a"], ["admitted", "limited"]), ([], ["admitted"] * 2)])
def test_composite_keeps_its_policy_order(order, votes):
    """policy_order says who is asked first; what it leaves out comes after, as written."""
    policies = composite(by_key("a"), YES, rate=100, order=order, percents={"a": 99, "yes": 1})
    policy = make_policy("composite", policies["composite"])

    assert [policy(keyed("a")) for _ in range(2)] == votes


# ---- early decisions

EARLY = [
    # policies, outcome so far, policy
    ([YES], "sampled", "yes"),
    ([NO], None, ""),
    ([NO, by_key("there")], "sampled", "there"),
    ([and_(YES, by_key("there"))], "sampled", "and"),
    ([DROP, YES], "dropped", "drop"),
    ([DROP_NOTHING, YES], None, ""),
    ([INVERTED_YES], None, ""),
    ([INVERTED_NO, YES], None, ""),
    ([drop(INVERTED_YES), YES], None, ""),
    ([not_(NO)], None, ""),
    ([OPEN], None, ""),
    ([and_(YES, OPEN)], None, ""),
    ([composite(YES)], None, ""),
    ([chance("c", 99.999999)], None, ""),
    ([chance("c", 99.999999), YES], "sampled", "yes"),
    ([{"name": "u", "type": "latency", "latency": {"upper_threshold_ms": 5}}], None, ""),
    ([{"name": "l", "type": "latency", "latency": {}}], "sampled", "l"),
    ([{"name": "u", "type": "span_count", "span_count": {"max_spans": 5}}], None, ""),
    ([{"name": "t", "type": "token_usage", "token_usage": {"min_total": 0}}], None, ""),
    ([BROKEN], None, ""),
]


@pytest.mark.parametrize(("policies", "outcome", "policy"), EARLY)
def test_early_decision(policies, outcome, policy):
    """Only what no later span can change is decided early."""
    decision = make_sampler(*policies).decide_early(TRACE)

    assert (decision.outcome if decision else None, decision.policy if decision else "") == (outcome, policy)


def test_an_early_decision_is_the_decision_of_the_whole():
    """For every growing trace: once decided early, the whole is decided alike, and with the same weight."""
    parts = [{}, error(), having(there=True), having(n=15), {"trace_state": "k=a"}]
    pool = [
        {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
        {"name": "n", "type": "numeric_attribute", "numeric_attribute": {"key": "n", "min_value": 10}},
        {"name": "many", "type": "span_count", "span_count": {"min_spans": 3}},
        drop(by_key("there")),
        chance("some", 50),
        INVERTED_YES,
    ]
    decided = 0
    for policies in itertools.combinations(pool, 3):
        sampler = make_sampler(*policies)
        for order in itertools.permutations(parts, 4):
            whole = sampler.decide(make_trace(*order))
            for count in range(1, 5):
                early = sampler.decide_early(make_trace(*order[:count]))
                if early is not None:
                    decided += 1
                    assert (early.outcome, early.weight) == (whole.outcome, whole.weight)
    assert decided > 1000


# ---- marks


def test_a_certain_decision_leaves_the_tracestate():
    """Tags say policy and weight; the trace stands for what it stood for."""
    trace = make_trace({"trace_state": "ot=th:c"}, {"trace_state": "v=1"})
    decision = make_sampler(YES).decide(trace)
    mark(trace, decision)

    assert trace.tags == {"sampling.policy": "yes", "sampling.weight": "4"}
    assert [span.trace_state for span in spans(trace.batch)] == ["ot=th:c", "v=1"]


def some_kept(sampler: TailSampler, *parts):
    """The first trace id that is kept."""
    ids = random.Random(6)
    traces = (make_trace(*parts, trace_id=ids.randbytes(16)) for _ in range(500))
    return next((trace, decision) for trace in traces if (decision := sampler.decide(trace)).sampled)


def test_a_draw_is_written_as_rv_and_th():
    """Where no sampler has written before: consistent (rv >= th), and the adjusted count is the weight."""
    trace, decision = some_kept(make_sampler(chance("tenth", 10)), {}, {"trace_state": "v=1"})
    mark(trace, decision)

    assert trace.tags == {"sampling.policy": "tenth", "sampling.weight": "10"}
    states = [TraceState.parse(span.trace_state) for span in spans(trace.batch)]
    assert states[0].rv == states[1].rv
    for state in states:
        assert state.randomness >= state.threshold
        assert adjusted_count(state.threshold) == pytest.approx(10)
    assert [key for key, _ in states[1].others] == ["v"]


def test_a_draw_erases_a_th_that_it_makes_wrong():
    """rv may not change, so where rv or th is in use the new probability can't be told: th goes, the weight knows."""
    trace, decision = some_kept(
        make_sampler(chance("tenth", 10)),
        {"trace_state": "ot=th:8,v=1"},
        {"trace_state": "ot=rv:00000000000001"},
        {"trace_state": "broken"},
    )
    mark(trace, decision)

    assert trace.tags["sampling.weight"] == "20"
    assert [span.trace_state for span in spans(trace.batch)] == ["v=1", "ot=rv:00000000000001", "broken"]


def test_independent_draws_have_no_threshold():
    """The union of two draws is no draw below one threshold."""
    trace, decision = some_kept(
        make_sampler(chance("a", 10, "a"), chance("b", 50, "b")), {"trace_state": "ot=th:8"}, {}
    )
    mark(trace, decision)

    assert float(trace.tags["sampling.weight"]) == pytest.approx(2 / (1 - 0.9 * 0.5))
    assert [span.trace_state for span in spans(trace.batch)] == ["", ""]


def test_one_draw_at_two_ratios_is_that_of_the_larger():
    """Policies of one salt share the draw."""
    trace, decision = some_kept(make_sampler(chance("a", 10), chance("b", 50)), {})
    mark(trace, decision)

    state = TraceState.parse(next(spans(trace.batch)).trace_state)
    assert adjusted_count(state.threshold) == pytest.approx(decision.weight) == pytest.approx(2)
    assert state.randomness >= state.threshold


def test_the_turned_round_draw_has_no_threshold():
    """`not` keeps the other end of the draw, which rv >= th can't express."""
    trace, decision = some_kept(make_sampler(not_(chance("a", 50))), {})
    mark(trace, decision)

    assert decision.weight == pytest.approx(2)
    assert next(spans(trace.batch)).trace_state == ""


@STEADY
@given(st.binary(min_size=16, max_size=16), st.floats(0.0001, 100))
def test_randomness_and_threshold_agree_on_every_kept_trace(trace_id, percentage):
    """What is written never contradicts itself."""
    decision = make_sampler(chance("some", percentage)).decide(make_trace(trace_id=trace_id))

    assert not decision.sampled or decision.threshold <= decision.randomness < 1 << 56
    if decision.sampled:
        assert adjusted_count(decision.threshold) == pytest.approx(decision.weight)
