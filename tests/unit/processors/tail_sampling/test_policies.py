"""Each policy of tail_sampling on its own: kept, dropped, boundary, inverted, resource, missing."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from pydantic import TypeAdapter

from spanbridge.processors.attributes import put
from spanbridge.processors.tail_sampling import TailSampler, TailSamplingConfig
from spanbridge.processors.tail_sampling.outcome import actual
from spanbridge.processors.tail_sampling.policies.build import build, keys
from spanbridge.processors.tail_sampling.policies.chance import fnv1a_64
from spanbridge.processors.tail_sampling.policies.config import PolicyConfig
from spanbridge.processors.tail_sampling.policies.policy import PolicyError
from spanbridge.processors.tail_sampling.view import View
from spanbridge.processors.types import Batch, Context, Trace, spans
from tests.paths import DATA

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

VECTORS = DATA / "sampling" / "tail_probabilistic.json"
TRACE_ID = bytes(range(16))
MS = 1_000_000
POLICY = TypeAdapter(PolicyConfig)


class Clock:
    """Time that stands still until it is told otherwise."""

    def __init__(self, time: float = 1000.0) -> None:
        self.time = time

    def __call__(self) -> float:
        return self.time


def make_trace(*parts, resource=None, trace_id=TRACE_ID, context=None) -> Trace:
    """A trace of a root and its children: each part gives fields of a span, and its `attributes`."""
    batch = Batch()
    resource_spans = batch.resource_spans.add()
    for key, value in (resource or {}).items():
        put(resource_spans.resource.attributes, key, value)
    scope_spans = resource_spans.scope_spans.add()
    for number, part in enumerate(parts or ({},)):
        fields = {"name": f"span {number}", "start_time_unix_nano": MS, "end_time_unix_nano": MS} | part
        attributes = fields.pop("attributes", {})
        events = fields.pop("events", [])
        parent = (1).to_bytes(8, "big") if number else b""
        identity = {"trace_id": trace_id, "span_id": (number + 1).to_bytes(8, "big"), "parent_span_id": parent}
        span = scope_spans.spans.add(**(identity | fields))
        for key, value in attributes.items():
            put(span.attributes, key, value)
        for name, values in events:
            event = span.events.add(name=name)
            for key, value in values.items():
                put(event.attributes, key, value)
    return Trace(trace_id, batch, context or Context())


def having(**attributes) -> dict:
    return {"attributes": {key.replace("__", "."): value for key, value in attributes.items()}}


def make_policy(type_: str, section=None, now=None):
    config = POLICY.validate_python({"name": "p", "type": type_} | ({type_: section} if section is not None else {}))
    policy, wanted = build(config, now or Clock()), keys(config)
    return lambda trace: actual(policy(View(trace, wanted), True)).vote.value


def error(**fields) -> dict:
    return {"status": Status(code=Status.STATUS_CODE_ERROR)} | fields


def lasting(start_ms: float, end_ms: float) -> dict:
    return {"start_time_unix_nano": int(start_ms * MS), "end_time_unix_nano": int(end_ms * MS)}


YES, NO, INVERTED_YES, INVERTED_NO = "sampled", "not_sampled", "invert_sampled", "invert_not_sampled"

RANGE = {"key": "n", "min_value": 10, "max_value": 20}
OPEN = {"key": "n", "min_value": 10}
EXACT = {"key": "s", "values": ["one", "two"]}
REGEX = {"key": "s", "values": ["^/v1/.+", "health"], "enabled_regex_matching": True, "cache_max_size": 2}
FLAG = {"key": "b", "value": True}
USAGE = "mlflow__chat__tokenUsage"


def usage(total=None, given_in=None, given_out=None) -> str:
    sides = {"input_tokens": given_in, "output_tokens": given_out, "total_tokens": total}
    return json.dumps({key: value for key, value in sides.items() if value is not None})


CASES = [
    # type, section, spans, resource attributes, vote
    ("always_sample", None, [{}], {}, YES),
    # latency
    ("latency", {"threshold_ms": 50}, [lasting(100, 149)], {}, NO),
    ("latency", {"threshold_ms": 50}, [lasting(100, 149.999)], {}, NO),
    ("latency", {"threshold_ms": 50}, [lasting(100, 150)], {}, YES),
    ("latency", {"threshold_ms": 50}, [lasting(100, 130), lasting(125, 151)], {}, YES),
    ("latency", {"threshold_ms": 50}, [lasting(125, 151), lasting(100, 130)], {}, YES),
    ("latency", {"threshold_ms": 50, "upper_threshold_ms": 60}, [lasting(100, 150)], {}, NO),
    ("latency", {"threshold_ms": 50, "upper_threshold_ms": 60}, [lasting(100, 151)], {}, YES),
    ("latency", {"threshold_ms": 50, "upper_threshold_ms": 60}, [lasting(100, 160)], {}, YES),
    ("latency", {"threshold_ms": 50, "upper_threshold_ms": 60}, [lasting(100, 161)], {}, NO),
    ("latency", {"threshold_ms": 50, "upper_threshold_ms": 60}, [lasting(100, 155), lasting(100, 900)], {}, NO),
    ("latency", {"threshold_ms": 1}, [lasting(0, 0)], {}, NO),
    ("latency", {"threshold_ms": 1}, [lasting(5, 0)], {}, NO),
    ("latency", {"threshold_ms": 50}, [lasting(0, 0), lasting(100, 140)], {}, NO),
    ("latency", {}, [lasting(5, 5)], {}, YES),
    # status_code
    ("status_code", {"status_codes": ["ERROR"]}, [{}, error()], {}, YES),
    ("status_code", {"status_codes": ["ERROR"]}, [{}, {}], {}, NO),
    ("status_code", {"status_codes": ["OK"]}, [error(), {"status": Status(code=1)}], {}, YES),
    ("status_code", {"status_codes": ["UNSET"]}, [{}], {}, YES),
    ("status_code", {"status_codes": ["OK", "UNSET"]}, [error()], {}, NO),
    # span_count
    ("span_count", {"min_spans": 2}, [{}], {}, NO),
    ("span_count", {"min_spans": 2}, [{}] * 2, {}, YES),
    ("span_count", {"min_spans": 2, "max_spans": 3}, [{}] * 3, {}, YES),
    ("span_count", {"min_spans": 2, "max_spans": 3}, [{}] * 4, {}, NO),
    ("span_count", {"max_spans": 3}, [{}], {}, YES),
    # trace_state
    ("trace_state", {"key": "k", "values": ["a", "b"]}, [{}, {"trace_state": "x=1,k=b"}], {}, YES),
    ("trace_state", {"key": "k", "values": ["a"]}, [{"trace_state": "k=b"}], {}, NO),
    ("trace_state", {"key": "k", "values": ["a"]}, [{"trace_state": "a=k"}], {}, NO),
    ("trace_state", {"key": "k", "values": ["a"]}, [{"trace_state": "k=a,,,="}], {}, NO),
    ("trace_state", {"key": "k", "values": ["a"]}, [{}], {}, NO),
    # trace_flags
    ("trace_flags", None, [{}, {"flags": 1}], {}, YES),
    ("trace_flags", None, [{"flags": 0x101}], {}, YES),
    ("trace_flags", None, [{"flags": 0x100}], {}, NO),
    ("trace_flags", None, [{}], {}, NO),
    # string_attribute
    ("string_attribute", EXACT, [{}, having(s="two")], {}, YES),
    ("string_attribute", EXACT, [having(s="three"), having(t="one")], {}, NO),
    ("string_attribute", EXACT, [{}], {"s": "one"}, YES),
    ("string_attribute", EXACT, [having(s="tw")], {}, NO),
    ("string_attribute", EXACT, [having(s=1)], {}, NO),
    ("string_attribute", {"key": "s", "values": [""]}, [having(s="")], {}, NO),
    ("string_attribute", REGEX, [having(s="/v1/x")], {}, YES),
    ("string_attribute", REGEX, [having(s="/v2/unhealthy")], {}, YES),
    ("string_attribute", REGEX, [having(s="x/v1/x")], {}, NO),
    ("string_attribute", REGEX, [], {"s": "health"}, YES),
    ("string_attribute", REGEX, [having(s="x" * 2000 + "health")], {}, YES),
    ("string_attribute", REGEX, [having(s="x" * 2000)], {}, NO),
    ("string_attribute", {**EXACT, "invert_match": True}, [having(s="one")], {}, INVERTED_NO),
    ("string_attribute", {**EXACT, "invert_match": True}, [having(s="three")], {}, INVERTED_YES),
    ("string_attribute", {**EXACT, "invert_match": True}, [{}], {}, INVERTED_YES),
    ("string_attribute", {**EXACT, "invert_match": True}, [having(s="three")], {"s": "one"}, INVERTED_NO),
    ("string_attribute", {**REGEX, "invert_match": True}, [having(s="/v1/x")], {}, INVERTED_NO),
    # numeric_attribute
    ("numeric_attribute", RANGE, [having(n=9)], {}, NO),
    ("numeric_attribute", RANGE, [having(n=10)], {}, YES),
    ("numeric_attribute", RANGE, [{}, having(n=20)], {}, YES),
    ("numeric_attribute", RANGE, [having(n=21)], {}, NO),
    ("numeric_attribute", RANGE, [having(n=10.5)], {}, YES),
    ("numeric_attribute", RANGE, [{}], {"n": 15}, YES),
    ("numeric_attribute", RANGE, [having(n="15")], {}, NO),
    ("numeric_attribute", RANGE, [having(m=15)], {}, NO),
    ("numeric_attribute", OPEN, [having(n=2**63 - 1)], {}, YES),
    ("numeric_attribute", {"key": "n", "max_value": 0}, [having(n=-5)], {}, YES),
    ("numeric_attribute", {"key": "n", "max_value": 0}, [having(n=1)], {}, NO),
    ("numeric_attribute", {"key": "n", "min_value": -1, "max_value": 1}, [having(n="x")], {}, NO),
    ("numeric_attribute", {**RANGE, "invert_match": True}, [having(n=15)], {}, INVERTED_NO),
    ("numeric_attribute", {**RANGE, "invert_match": True}, [having(n=9)], {}, INVERTED_YES),
    ("numeric_attribute", {**RANGE, "invert_match": True}, [{}], {}, INVERTED_YES),
    ("numeric_attribute", {**RANGE, "invert_match": True}, [{}], {"n": 10}, INVERTED_NO),
    # boolean_attribute
    ("boolean_attribute", FLAG, [{}, having(b=True)], {}, YES),
    ("boolean_attribute", FLAG, [having(b=False)], {}, NO),
    ("boolean_attribute", FLAG, [{}], {"b": True}, YES),
    ("boolean_attribute", FLAG, [having(b="true")], {}, NO),
    ("boolean_attribute", {"key": "b"}, [having(b=False)], {}, YES),
    ("boolean_attribute", {"key": "b"}, [{}], {}, NO),
    ("boolean_attribute", {**FLAG, "invert_match": True}, [having(b=True)], {}, INVERTED_NO),
    ("boolean_attribute", {**FLAG, "invert_match": True}, [having(b=False)], {}, INVERTED_YES),
    # probabilistic
    ("probabilistic", {"sampling_percentage": 100}, [{}], {}, YES),
    ("probabilistic", {"sampling_percentage": 250}, [{}], {}, YES),
    ("probabilistic", {"sampling_percentage": 0}, [{}], {}, NO),
    ("probabilistic", {}, [{}], {}, NO),
    # ottl_condition
    ("ottl_condition", {"span": ['attributes["a"] == 1']}, [{}, having(a=1)], {}, YES),
    ("ottl_condition", {"span": ['attributes["a"] == 1']}, [having(a=2)], {}, NO),
    ("ottl_condition", {"span": ["false", 'resource.attributes["r"] == "x"']}, [{}], {"r": "x"}, YES),
    ("ottl_condition", {"spanevent": ['name == "e"']}, [{"events": [("e", {})]}], {}, YES),
    ("ottl_condition", {"spanevent": ['name == "e"']}, [{"events": [("f", {})]}, {}], {}, NO),
    (
        "ottl_condition",
        {"span": ["false"], "spanevent": ['attributes["x"] > 3']},
        [{"events": [("e", {"x": 4})]}],
        {},
        YES,
    ),
    ("ottl_condition", {"span": ["Len(kind) == 1"], "error_mode": "ignore"}, [{}], {}, NO),
    ("ottl_condition", {"span": ["Len(kind) == 1", "true"], "error_mode": "silent"}, [{}], {}, YES),
    # token_usage
    ("token_usage", {"min_total": 50}, [having(**{USAGE: usage(50)})], {}, YES),
    ("token_usage", {"min_total": 50}, [having(**{USAGE: usage(49)})], {}, NO),
    ("token_usage", {"min_total": 50}, [{}, *[having(**{USAGE: usage(None, 20, 5)})] * 2], {}, YES),
    ("token_usage", {"min_input": 40, "min_output": 10}, [{}, *[having(**{USAGE: usage(25, 20, 5)})] * 2], {}, YES),
    ("token_usage", {"min_input": 40, "min_output": 11}, [{}, *[having(**{USAGE: usage(25, 20, 5)})] * 2], {}, NO),
    # an agent's roll-up hides the calls below it
    ("token_usage", {"min_total": 26}, [having(**{USAGE: usage(25)}), having(**{USAGE: usage(25)})], {}, NO),
    ("token_usage", {"min_total": 25}, [having(**{USAGE: usage(25)}), having(**{USAGE: usage(25)})], {}, YES),
    ("token_usage", {"min_total": 9}, [having(**{USAGE: {"total_tokens": 9}})], {}, YES),
    ("token_usage", {"min_total": 9}, [having(**{USAGE: '{"total_tokens": "9"}'})], {}, YES),
    ("token_usage", {"min_total": 9}, [having(gen_ai__usage__input_tokens=4, gen_ai__usage__output_tokens=5)], {}, YES),
    ("token_usage", {"min_total": 9}, [having(gen_ai__usage__prompt_tokens="4")], {}, NO),
    ("token_usage", {"min_input": 4}, [having(gen_ai__usage__prompt_tokens="4")], {}, YES),
    ("token_usage", {"min_input": 4}, [having(gen_ai__usage__input_tokens=4, **{USAGE: "broken"})], {}, YES),
    ("token_usage", {"min_input": 4}, [having(**{USAGE: usage(None, 1), "gen_ai__usage__input_tokens": 9})], {}, NO),
    ("token_usage", {"min_total": 1}, [having(**{USAGE: "[1]"}), having(**{USAGE: 7})], {}, NO),
    ("token_usage", {"min_total": 1}, [having(**{USAGE: '{"total_tokens": null}'})], {}, NO),
    ("token_usage", {"min_total": 1}, [{}], {"mlflow.chat.tokenUsage": usage(9)}, NO),
    ("token_usage", {"min_total": 0}, [{}], {}, YES),
    # cost
    ("cost", {"min_usd": 0.5}, [having(mlflow__llm__cost='{"total_cost": 0.5}')], {}, YES),
    ("cost", {"min_usd": 0.5}, [having(mlflow__llm__cost='{"total_cost": 0.49}')], {}, NO),
    ("cost", {"min_usd": 0.5}, [{}, *[having(mlflow__llm__cost='{"total_cost": 0.25}')] * 2], {}, YES),
    ("cost", {"min_usd": 0.5}, [having(gen_ai__usage__cost=0.5)], {}, YES),
    ("cost", {"min_usd": 0.5}, [having(mlflow__llm__cost='{"input_cost": 3}')], {}, NO),
    ("cost", {"min_usd": 0.5}, [having(mlflow__llm__cost="NaN", gen_ai__usage__cost=float("nan"))], {}, NO),
    ("cost", {"min_usd": 0.5}, [{}], {}, NO),
    # span_type
    ("span_type", {"types": ["TOOL"]}, [{}, having(mlflow__spanType="TOOL")], {}, YES),
    ("span_type", {"types": ["TOOL"]}, [having(mlflow__spanType="LLM")], {}, NO),
    ("span_type", {"types": ["tool"]}, [having(mlflow__spanType='"TOOL"')], {}, YES),
    ("span_type", {"types": ["TOOL", "LLM"], "min_count": 2}, [*[having(mlflow__spanType="TOOL")] * 2], {}, YES),
    ("span_type", {"types": ["TOOL"], "min_count": 3}, [*[having(mlflow__spanType="TOOL")] * 2], {}, NO),
    ("span_type", {"types": ["CHAT_MODEL"]}, [having(gen_ai__operation__name="chat")], {}, YES),
    ("span_type", {"types": ["CHAT_MODEL"]}, [having(gen_ai__operation__name="chat", mlflow__spanType="LLM")], {}, NO),
    ("span_type", {"types": ["CHAT_MODEL"]}, [having(gen_ai__operation__name="dance")], {}, NO),
    ("span_type", {"types": ["TOOL"]}, [{}], {}, NO),
    # error_type
    ("error_type", {"values": ["timeout", "500"]}, [{}, having(error__type="500")], {}, YES),
    ("error_type", {"values": ["timeout"]}, [having(error__type="timeouts")], {}, NO),
    ("error_type", {"values": ["E"]}, [{"events": [("exception", {"exception.type": "E"})]}], {}, YES),
    ("error_type", {"values": ["E"]}, [{"events": [("exception", {"exception.type": "F"})]}], {}, NO),
    ("error_type", {"values": ["E"]}, [error()], {}, NO),
    # tool
    ("tool", {"names": ["search"]}, [{}, having(gen_ai__tool__name="search")], {}, YES),
    ("tool", {"names": ["search"]}, [having(tool__name="search")], {}, YES),
    ("tool", {"names": ["search"]}, [having(mlflow__spanType="TOOL") | {"name": "search"}], {}, YES),
    ("tool", {"names": ["search"]}, [having(mlflow__spanType="LLM") | {"name": "search"}], {}, NO),
    ("tool", {"names": ["search"]}, [having(gen_ai__tool__name="research")], {}, NO),
    ("tool", {"names": ["search"]}, [{"name": "search"}], {}, NO),
]


@pytest.mark.parametrize(("type_", "section", "parts", "resource", "vote"), CASES)
def test_policy(type_, section, parts, resource, vote):
    """What the policy says of the trace."""
    assert make_policy(type_, section)(make_trace(*parts, resource=resource)) == vote


def test_every_type_has_a_case():
    """The table above, the limits below and the combinations elsewhere leave no type out."""
    elsewhere = {"rate_limiting", "bytes_limiting", "experiment_quota", "session", "and", "not", "drop", "composite"}
    types = set(POLICY.json_schema()["discriminator"]["mapping"])

    assert types == {case[0] for case in CASES} | elsewhere


def test_a_condition_that_cannot_be_evaluated():
    """In error mode propagate the policy does not answer."""
    with pytest.raises(PolicyError):
        make_policy("ottl_condition", {"span": ["Len(kind) == 1"]})(make_trace())


def test_cycles_among_spans_end():
    """Parents that lead round in a circle, or to themselves, are no roll-up and no endless loop."""
    one, two, three = (number.to_bytes(8, "big") for number in (1, 2, 3))
    part = having(mlflow__llm__cost='{"total_cost": 1}')
    own_parent = make_trace(part | {"parent_span_id": one}, {})
    circle = make_trace(
        {"parent_span_id": two},
        {"parent_span_id": one},
        part | {"parent_span_id": two},
        part | {"parent_span_id": three},
    )

    assert make_policy("cost", {"min_usd": 1})(own_parent) == YES
    assert (
        make_policy("cost", {"min_usd": 2})(make_trace(part | {"parent_span_id": one}, part | {"parent_span_id": b""}))
        == YES
    )
    assert make_policy("cost", {"min_usd": 1})(circle) == YES


def test_roll_up_is_found_over_any_distance():
    """A span far above hides a span far below; the walk is linear, so a long chain is quick."""
    chain = [having(mlflow__llm__cost='{"total_cost": 1}'), *[{}] * 3000, having(mlflow__llm__cost='{"total_cost": 5}')]
    trace = make_trace(*chain)
    for number, span in enumerate(spans(trace.batch)):
        span.parent_span_id = number.to_bytes(8, "big") if number else b""

    assert make_policy("cost", {"min_usd": 1})(trace) == YES
    assert make_policy("cost", {"min_usd": 1.5})(trace) == NO


# ---- probabilistic and session


def plain_probabilistic(salt: str, percentage: float, trace_id: bytes) -> bool:
    """contrib's internal/sampling/probabilistic.go, plainly."""
    state = 14695981039346656037
    for byte in (salt or "default-hash-seed").encode() + trace_id:
        state ^= byte
        state = state * 1099511628211 % 2**64
    return state <= int(percentage / 100 * (2**64 - 1)) if percentage < 100 else True


def make_vectors() -> list[dict]:
    ids = random.Random(64)
    return [
        {"hash_salt": salt, "sampling_percentage": percentage, "trace_id": (id_ := ids.randbytes(16)).hex()}
        | {"sampled": plain_probabilistic(salt, percentage, id_)}
        for salt in ("", "custom-salt", "\u00e9")
        for percentage in (0.1, 1, 10, 25, 33.3, 50, 90, 99.9, 100)
        for _ in range(10)
    ]


def test_probabilistic_vectors():
    """The published vectors are those of the plain implementation, and the policy decides by them."""
    cases = json.loads(VECTORS.read_text())

    assert cases == make_vectors()
    for case in cases:
        section = {key: case[key] for key in ("hash_salt", "sampling_percentage")}
        vote = make_policy("probabilistic", section)(make_trace(trace_id=bytes.fromhex(case["trace_id"])))
        assert vote == (YES if case["sampled"] else NO), case


@pytest.mark.parametrize(
    ("data", "hashed"),
    [(b"", 0xCBF29CE484222325), (b"a", 0xAF63DC4C8601EC8C), (b"foobar", 0x85944171F73967E8)],
)
def test_fnv(data, hashed):
    """The reference values of the FNV authors."""
    assert fnv1a_64(data) == hashed


def test_percentages_are_cut_off_as_go_does():
    """The threshold is compared inclusively, with all 64 bits."""
    always = make_policy("probabilistic", {"sampling_percentage": 99.99999999999999})
    never = make_policy("probabilistic", {"sampling_percentage": 1e-18})
    ids = random.Random(9)

    assert {always(make_trace(trace_id=ids.randbytes(16))) for _ in range(100)} == {YES}
    assert {never(make_trace(trace_id=ids.randbytes(16))) for _ in range(100)} == {NO}


def test_traces_of_a_session_share_a_decision():
    """By session.id or gen_ai.conversation.id, on a span or the resource; without one a trace stands alone."""
    policy = make_policy("session", {"sampling_percentage": 50})
    ids = random.Random(3)

    def votes(**kwargs):
        return {policy(make_trace(trace_id=ids.randbytes(16), **kwargs)) for _ in range(20)}

    for session in (f"session-{number}" for number in range(30)):
        own = having(session__id=session)
        by_span = {policy(make_trace({}, own, trace_id=ids.randbytes(16))) for _ in range(5)}
        by_conversation = {policy(make_trace(having(gen_ai__conversation__id=session))) for _ in range(2)}
        assert len(by_span | votes(resource={"session.id": session}) | by_conversation) == 1
    assert votes() == {YES, NO}


def test_a_root_spans_session_goes_before_anothers():
    """However the spans are ordered."""
    policy = make_policy("session", {"sampling_percentage": 50})
    for number in range(20):
        root, child = having(session__id=f"root {number}"), having(session__id="child")
        swapped = make_trace(child | {"parent_span_id": b"12345678"}, root | {"parent_span_id": b""})
        assert policy(swapped) == policy(make_trace(root)) == policy(make_trace(root, child))


def test_numbered_sessions_are_spread():
    """1,000 sessions that differ in their last digits: a tenth within 4 standard deviations; salts differ."""
    kept = {
        salt: {
            number
            for number in range(1000)
            if make_policy("session", {"sampling_percentage": 10, "hash_salt": salt})(
                make_trace(having(session__id=f"user-42-session-{number:04}"))
            )
            == YES
        }
        for salt in ("a", "b")
    }

    assert all(abs(len(numbers) - 100) < 4 * (1000 * 0.1 * 0.9) ** 0.5 for numbers in kept.values())
    assert kept["a"] != kept["b"]


# ---- limits


def test_rate_limiting_is_a_token_bucket():
    """Twice the rate at once, then the rate; a trace over the burst never passes."""
    clock = Clock()
    policy = make_policy("rate_limiting", {"spans_per_second": 10}, clock)
    of = {count: make_trace(*[{}] * count) for count in (1, 5, 10, 21)}

    assert policy(of[21]) == "limited"
    assert [policy(of[10]) for _ in range(3)] == ["admitted", "admitted", "limited"]
    clock.time += 0.45
    assert [policy(of[5]), policy(of[1])] == ["limited", "admitted"]
    clock.time += 100
    assert [policy(of[10]) for _ in range(3)] == ["admitted", "admitted", "limited"]
    clock.time -= 50
    assert policy(of[1]) == "limited"


def test_burst_capacity_can_be_set():
    """Of spans and of bytes."""
    policy = make_policy("rate_limiting", {"spans_per_second": 10, "burst_capacity": 3})
    assert [policy(make_trace({}, {})), policy(make_trace({}, {}))] == ["admitted", "limited"]

    trace = make_trace({})
    size = trace.batch.ByteSize()
    policy = make_policy("bytes_limiting", {"bytes_per_second": 1, "burst_capacity": size})
    assert [policy(trace), policy(trace)] == ["admitted", "limited"]
    assert make_policy("bytes_limiting", {"bytes_per_second": 1, "burst_capacity": size - 1})(trace) == "limited"


def test_bytes_limiting_counts_protobuf_bytes():
    """Twice the rate at once, then the rate."""
    clock = Clock()
    trace = make_trace({"name": "x" * 1000})
    policy = make_policy("bytes_limiting", {"bytes_per_second": trace.batch.ByteSize()}, clock)

    assert [policy(trace) for _ in range(3)] == ["admitted", "admitted", "limited"]
    clock.time += 1
    assert [policy(trace) for _ in range(2)] == ["admitted", "limited"]


def test_a_limit_of_nothing_admits_nothing():
    """A rate of 0 is allowed, and closed."""
    assert make_policy("rate_limiting", {"spans_per_second": 0})(make_trace()) == "limited"


def test_experiment_quota_is_by_experiment():
    """A minute's quota may come at once, and comes back over a minute; each experiment has its own."""
    clock = Clock()
    policy = make_policy("experiment_quota", {"traces_per_minute": 2}, clock)
    one, two = (make_trace(context=Context(experiment_id=name)) for name in ("1", "2"))
    named = make_trace(context=Context(experiment_name="named"))

    assert [policy(one) for _ in range(3)] == ["admitted", "admitted", "limited"]
    assert [policy(two), policy(named), policy(make_trace())] == ["admitted"] * 3
    clock.time += 30
    assert [policy(one) for _ in range(2)] == ["admitted", "limited"]


def test_experiment_quota_by_an_attribute():
    """`key` names the attribute of resource or span."""
    policy = make_policy("experiment_quota", {"traces_per_minute": 1, "key": "team"})

    assert [policy(make_trace(resource={"team": "a"})) for _ in range(2)] == ["admitted", "limited"]
    assert [policy(make_trace(having(team=name))) for name in ("a", "b")] == ["limited", "admitted"]


def test_experiment_quotas_are_bounded_in_memory():
    """Names that come once do not pile up."""
    policy = make_policy("experiment_quota", {"traces_per_minute": 1, "key": "team"})

    assert policy(make_trace(having(team="first"))) == "admitted"
    for number in range(10_000):
        policy(make_trace(having(team=str(number))))
    assert policy(make_trace(having(team="first"))) == "admitted"


# ---- nothing raises

EVERY_TYPE = [
    *(
        {"name": f"{case[0]} {number}", "type": case[0]} | ({case[0]: case[1]} if case[1] is not None else {})
        for number, case in enumerate(CASES)
    ),
    {"name": "rate", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 5}},
    {"name": "bytes", "type": "bytes_limiting", "bytes_limiting": {"bytes_per_second": 5000}},
    {"name": "quota", "type": "experiment_quota", "experiment_quota": {"traces_per_minute": 5, "key": "s"}},
    {"name": "session", "type": "session", "session": {"sampling_percentage": 30}},
    {
        "name": "failing",
        "type": "ottl_condition",
        "ottl_condition": {"span": ['Len(attributes["s"]) > Int(name)'], "spanevent": ['Len(attributes["s"]) == 1']},
    },
]

KEYS = st.sampled_from(sorted({key for config in EVERY_TYPE for key in keys(POLICY.validate_python(config))} - {""}))
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
)
JSON = st.sampled_from(["{}", "[]", '{"total_tokens": 1e999}', '{"total_cost": "x"}', '{"input_tokens": true}', "nul"])
VALUES = st.recursive(
    SCALARS | JSON,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)
TIMES = st.integers(0, 2**64 - 1)
IDS = st.binary(max_size=9)


@st.composite
def traces(draw):
    batch = Batch()
    for _ in range(draw(st.integers(0, 2))):
        resource_spans = batch.resource_spans.add()
        for key, value in draw(st.dictionaries(KEYS, VALUES, max_size=3)).items():
            put(resource_spans.resource.attributes, key, value)
        scope_spans = resource_spans.scope_spans.add()
        for _ in range(draw(st.integers(0, 3))):
            span = scope_spans.spans.add(
                trace_id=TRACE_ID,
                span_id=draw(IDS),
                parent_span_id=draw(IDS),
                name=draw(st.text(max_size=5)),
                start_time_unix_nano=draw(TIMES),
                end_time_unix_nano=draw(TIMES),
                flags=draw(st.integers(0, 2**32 - 1)),
                trace_state=draw(st.sampled_from(["", "ot=th:8", "ot=th:ffffffffffffff", "x", "k=a", "ot=rv:1"])),
            )
            span.status.code = draw(st.integers(-5, 5))
            for key, value in draw(st.dictionaries(KEYS, VALUES, max_size=4)).items():
                put(span.attributes, key, value)
            if draw(st.booleans()):
                put(span.events.add().attributes, "exception.type", draw(VALUES))
    return Trace(draw(st.binary(max_size=17)), batch)


ALL = TailSamplingConfig.model_validate({"policies": EVERY_TYPE})


@settings(STEADY, max_examples=150)
@given(traces())
def test_no_policy_raises_on_any_trace(trace):
    """Whatever decodes is decided, by every policy and early too, and is left as it was."""
    before = trace.batch.SerializeToString(deterministic=True)
    seen = []
    sampler = TailSampler(ALL, Clock(), lambda *told: seen.append(told))

    decision = sampler.decide(trace)

    assert {name for name, _, _ in seen} == {config["name"] for config in EVERY_TYPE}
    assert decision.sampled == (decision.weight > 0)
    assert sampler.decide_early(trace) is None
    assert trace.batch.SerializeToString(deterministic=True) == before


@settings(STEADY, max_examples=200)
@given(st.binary(max_size=200), st.integers(0, 10_000))
def test_no_policy_raises_on_damaged_bytes(noise, at):
    """Bytes of a real request, damaged: what still decodes is decided."""
    whole = make_trace(*[part for case in CASES for part in case[2]][:20]).batch.SerializeToString()
    at %= len(whole)
    try:
        batch = Batch.FromString(whole[:at] + noise + whole[at + len(noise) :])
    except Exception:  # noqa: BLE001  protobuf's own error; such bytes never become a trace
        return
    assert TailSampler(ALL, Clock()).decide(Trace(TRACE_ID, batch)).outcome in ("sampled", "not_sampled", "dropped")


def test_kinds_of_spans_do_not_matter():
    """A policy on status does not care for kinds."""
    assert make_policy("status_code", {"status_codes": ["ERROR"]})(make_trace(error(kind=Span.SPAN_KIND_CLIENT))) == YES


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case) for case in make_vectors())
    VECTORS.write_text(f"[\n{lines}\n]\n")
