"""probabilistic_sampler: contrib's decisions by mode, priority, tracestate, statistics.

`tests/data/sampling/probabilistic_sampler.json` holds vectors that were derived from contrib's stated algorithm by the
plain implementation below, which shares nothing with the sampler; this module run by `python -m` writes them anew.
"""

import ctypes
import json
import math
import random
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from spanbridge.processors.attributes import put
from spanbridge.processors.probabilistic_sampler import ProbabilisticSampler, ProbabilisticSamplerConfig
from spanbridge.processors.trace_state import TraceState, adjusted_count
from spanbridge.processors.types import Batch, span_count, spans
from tests.paths import DATA

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

VECTORS = DATA / "sampling" / "probabilistic_sampler.json"
MODES = ("hash_seed", "proportional", "equalizing")


def make_batch(*parts, attributes=None) -> Batch:
    """One span for each (trace id, tracestate)."""
    batch = Batch()
    scope_spans = batch.resource_spans.add().scope_spans.add()
    for trace_id, trace_state in parts:
        span = scope_spans.spans.add(trace_id=trace_id, span_id=b"12345678", trace_state=trace_state, name="s")
        for key, value in (attributes or {}).items():
            put(span.attributes, key, value)
    return batch


def sample(config, trace_id: bytes, trace_state: str = "", attributes=None) -> str | None:
    """The tracestate of the one span, or None where it was dropped."""
    sampler = ProbabilisticSampler(ProbabilisticSamplerConfig(**config))
    kept = list(spans(sampler(make_batch((trace_id, trace_state), attributes=attributes))))
    return kept[0].trace_state if kept else None


# ---- the algorithm once more, plainly


def float32(number: float) -> float:
    return ctypes.c_float(number).value


def plain_threshold(probability: Fraction, precision: int) -> int:
    """contrib pkg/sampling: significant digits are counted after the leading zeros of p and of 1 - p."""
    extra = 0
    while probability < Fraction(1, 16 ** (extra + 1)) or 1 - probability < Fraction(1, 16 ** (extra + 1)):
        extra += 1
        if extra == 14:
            break
    digits = min(14, precision + extra)
    rejected = 2**56 - math.floor(probability * 2**56 + Fraction(1, 2))
    unit = 16 ** (14 - digits)
    return (rejected + unit // 2) // unit * unit


def plain_fnv1a(data: bytes) -> int:
    state = 2166136261
    for byte in data:
        state ^= byte
        state = state * 16777619 % 2**32
    return state


def plain_decision(case: dict) -> str | None:
    """The tracestate a span without one leaves with, or None where it is dropped."""
    trace_id = bytes.fromhex(case["trace_id"])
    percentage = float32(min(case["sampling_percentage"], 100))
    if percentage == 0:
        return None
    if case["mode"] == "hash_seed":
        hashed = plain_fnv1a(case["hash_seed"].to_bytes(4, "little") + trace_id)
        bucket = hashed % 16384
        buckets = int(float32(percentage * float32(163.84)))
        if bucket >= buckets:
            return None
        top = hashed // 2**18
        randomness = (16383 - bucket) * 2**42 + (top ^ (top * 1024)) * 2**14 + bucket
        threshold = (16384 - buckets) * 2**42
        prefix = f"rv:{randomness:014x};"
    else:
        randomness = int(case["trace_id"][-14:], 16)
        threshold = plain_threshold(Fraction(percentage / 100), case["sampling_precision"]) if percentage < 100 else 0
        prefix = ""
        if randomness < threshold:
            return None
    return f"ot={prefix}th:{f'{threshold:014x}'.rstrip('0') or '0'}"


def make_vectors() -> list[dict]:
    ids = random.Random(235)
    cases = []
    for mode in MODES:
        for percentage in (0.01, 0.1, 1, 5, 10, 12.5, 25, 33.3, 50, 75, 90, 99.9, 100, 150):
            for seed, precision in ((0, 4), (4294967295, 1), (22, 14)):
                for _ in range(4):
                    case = {
                        "mode": mode,
                        "sampling_percentage": percentage,
                        "hash_seed": seed,
                        "sampling_precision": precision,
                        "trace_id": ids.randbytes(16).hex(),
                    }
                    cases.append(case | {"tracestate": plain_decision(case)})
    return cases


def test_vectors_are_what_the_plain_implementation_says():
    """The published file is not edited by hand."""
    assert json.loads(VECTORS.read_text()) == make_vectors()


@pytest.mark.parametrize("mode", MODES)
def test_vectors(mode):
    """The sampler decides, and writes, as the vectors say; every mode has kept and dropped ones."""
    cases = [case for case in json.loads(VECTORS.read_text()) if case["mode"] == mode]
    for case in cases:
        config = {key: case[key] for key in ("mode", "sampling_percentage", "hash_seed", "sampling_precision")}
        assert sample(config, bytes.fromhex(case["trace_id"])) == case["tracestate"], case
    assert 0.2 < sum(case["tracestate"] is None for case in cases) / len(cases) < 0.8


@settings(STEADY, max_examples=300)
@given(
    st.sampled_from(MODES),
    st.floats(0, 120, width=32),
    st.integers(0, 2**32 - 1),
    st.integers(1, 14),
    st.binary(min_size=16, max_size=16).filter(any),
)
def test_any_setting_decides_as_the_plain_implementation(mode, percentage, seed, precision, trace_id):
    """Beyond the vectors: any percentage, seed, precision and trace id."""
    percentage = 0 if percentage < 1e-9 else percentage
    case = {
        "mode": mode,
        "sampling_percentage": percentage,
        "hash_seed": seed,
        "sampling_precision": precision,
        "trace_id": trace_id.hex(),
    }
    config = {key: case[key] for key in ("mode", "sampling_percentage", "hash_seed", "sampling_precision")}
    assert sample(config, trace_id) == plain_decision(case)


# ---- tracestate

TID_50 = bytes.fromhex("fefefefefefefefefe80000000000000")
TID_ALL = bytes.fromhex("11" * 9 + "ff" * 7)
TID_D0 = bytes.fromhex("a0a0a0a0a0a0a0a0a0d0000000000000")
TID_B0 = bytes.fromhex("a0a0a0a0a0a0a0a0a0b0000000000000")

# name, percentage, precision, trace id, arriving, proportional, equalizing
ARRIVING = [
    ("100 % writes th:0", 100, 4, TID_50, "", "ot=th:0", "ot=th:0"),
    ("over 100 % is 100 %", 200, 4, TID_50, "", "ot=th:0", "ot=th:0"),
    ("the threshold itself is kept", 50, 4, TID_50, "", "ot=th:8", "ot=th:8"),
    ("one below is not", 49, 4, TID_50, "", None, None),
    ("other members stay", 50, 4, TID_50, "v=1", "ot=th:8,v=1", "ot=th:8,v=1"),
    ("rv decides, not the trace id", 50, 4, TID_ALL, "ot=rv:10000000000000", None, None),
    ("rv in capitals is kept as it is", 50, 4, TID_B0, "ot=rv:FF00000000000A", *["ot=rv:FF00000000000A;th:8"] * 2),
    ("equal probability before: once more or not at all", 50, 4, TID_B0, "ot=th:8", None, "ot=th:8"),
    ("proportional halves again", 50, 4, TID_D0, "ot=th:8", "ot=th:c", "ot=th:8"),
    ("trailing zeros of th go", 50, 4, TID_B0, "ot=th:8000", None, "ot=th:8"),
    ("40 % of 50 %", 40, 6, TID_D0, "ot=th:8", "ot=th:cccccd", "ot=th:99999a"),
    ("40 % of 50 %, near", 40, 3, TID_B0, "ot=th:8", None, "ot=th:99a"),
    ("less probable before passes as it is", 50, 4, TID_ALL, "ot=th:fffc", "ot=th:fffe", "ot=th:fffc"),
    ("too improbable to express", 0.0625, 4, TID_ALL, "ot=th:fffffffffffff8", None, "ot=th:fffffffffffff8"),
]


@pytest.mark.parametrize("case", ARRIVING, ids=[case[0] for case in ARRIVING])
def test_arriving_tracestate(case):
    """An earlier sampling stage is taken into account as the mode says."""
    _, percentage, precision, trace_id, arriving, proportional, equalizing = case
    config = {"sampling_percentage": percentage, "sampling_precision": precision}

    assert sample(config | {"mode": "proportional"}, trace_id, arriving) == proportional
    assert sample(config | {"mode": "equalizing"}, trace_id, arriving) == equalizing


UNUSABLE = [
    ("broken tracestate", TID_ALL, "nonsense", "nonsense", "nonsense"),
    ("broken th", TID_ALL, "ot=th:zz", "ot=th:zz", "ot=th:zz"),
    ("no randomness", bytes(16), "", "", ""),
    ("th contradicts the randomness", TID_ALL, "ot=rv:40000000000000;th:8", "ot=rv:40000000000000", None),
]


@pytest.mark.parametrize("case", UNUSABLE, ids=[case[0] for case in UNUSABLE])
def test_what_cannot_be_decided(case):
    """fail_closed drops it; else it is kept, its th, if contradicted, erased as the specification asks."""
    _, trace_id, arriving, consistent, hashed = case
    for mode in MODES:
        config = {"mode": mode, "sampling_percentage": 100}
        assert sample(config, trace_id, arriving) is None
        expected = consistent if mode != "hash_seed" or hashed is not None else arriving
        assert sample(config | {"fail_closed": False}, trace_id, arriving) == expected


@pytest.mark.parametrize("arriving", ["ot=th:8", "ot=rv:fffffffffffff0"])
def test_hash_seed_does_not_mix_with_consistent_sampling(arriving):
    """Where rv or th is in use already, hashing is an error, and the tracestate stays."""
    config = {"mode": "hash_seed", "sampling_percentage": 100}

    assert sample(config, TID_ALL, arriving) is None
    assert sample(config | {"fail_closed": False}, TID_ALL, arriving) == arriving


def test_hash_seed_leaves_a_randomness_that_consistent_samplers_agree_with():
    """rv >= th, and a further sampler of the same percentage keeps what was kept."""
    ids = random.Random(1)
    first = ProbabilisticSampler(ProbabilisticSamplerConfig(sampling_percentage=25, mode="hash_seed"))
    second = ProbabilisticSampler(ProbabilisticSamplerConfig(sampling_percentage=25, mode="equalizing"))

    kept = first(make_batch(*((ids.randbytes(16), "") for _ in range(400))))

    states = [TraceState.parse(span.trace_state) for span in spans(kept)]
    assert all(state.randomness >= state.threshold for state in states)
    assert {adjusted_count(state.threshold) for state in states} == {4.0}
    before = span_count(kept)
    assert span_count(second(kept)) == before > 50


def test_unset_mode():
    """hash_seed where a seed is given, else proportional."""
    assert ProbabilisticSamplerConfig().effective_mode == "proportional"
    assert ProbabilisticSamplerConfig(mode="").effective_mode == "proportional"
    assert ProbabilisticSamplerConfig(hash_seed=1).effective_mode == "hash_seed"
    assert ProbabilisticSamplerConfig(hash_seed=1, mode="equalizing").effective_mode == "equalizing"


# ---- sampling.priority


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("priority", "wish"),
    [
        (2, True),
        (0, False),
        (-1, None),
        (0.5, True),
        (0.0, False),
        (-0.5, None),
        ("1", True),
        ("0.0", False),
        ("-1", None),
        ("NaN", None),
        ("high", None),
        (True, None),
        (b"1", None),
        ([1], None),
    ],
)
def test_priority(mode, priority, wish):
    """Above 0 keeps, 0 drops, whatever the percentage; anything else defers."""
    attributes = {"other": "x", "sampling.priority": priority}

    nothing = sample({"mode": mode, "sampling_percentage": 0}, TID_50, attributes=attributes)
    everything = sample({"mode": mode, "sampling_percentage": 100}, TID_50, attributes=attributes)

    assert (nothing is not None) == (wish is True)
    assert (everything is not None) == (wish is not False)


def test_priority_keeps_in_spite_of_errors_and_never_lowers_a_threshold():
    """A forced span counts as one (th:0), unless it stood for more already."""
    forced = {"sampling.priority": 1}
    for mode in ("proportional", "equalizing"):
        config = {"mode": mode, "sampling_percentage": 1}
        assert sample(config, TID_50, "", forced) == "ot=th:0"
        assert sample(config, TID_50, "ot=th:8", forced) == "ot=th:8"
        assert sample(config, TID_50, "nonsense", forced) == "nonsense"
        assert sample(config, bytes(16), "", forced) == ""
        assert sample(config, TID_50, "ot=rv:40000000000000;th:8", forced) == "ot=rv:40000000000000"
    assert sample({"mode": "hash_seed", "sampling_percentage": 1}, TID_50, "", forced).endswith(";th:0")


def test_the_text_sampling_priority_in_a_value_is_no_priority():
    """Only an attribute of that name counts."""
    attributes = {"note": "sampling.priority", "my.sampling.priority": 1}

    assert sample({"sampling_percentage": 0}, TID_50, attributes=attributes) is None
    assert sample({"sampling_percentage": 100}, TID_50, attributes=attributes) == "ot=th:0"


def test_priority_is_per_span():
    """One span of a trace may be forced; the others follow the trace id."""
    batch = make_batch((TID_B0, ""), (TID_B0, ""), (TID_ALL, ""))
    first, _, third = spans(batch)
    put(first.attributes, "sampling.priority", 1)
    put(third.attributes, "sampling.priority", 0)

    ProbabilisticSampler(ProbabilisticSamplerConfig(sampling_percentage=10))(batch)

    assert [(span.trace_id, span.trace_state) for span in spans(batch)] == [(TID_B0, "ot=th:0")]


# ---- the batch


def test_what_is_left_keeps_its_order_its_scope_and_its_content():
    """Empty scopes and resources go; kept spans are byte for byte what they were, but for the tracestate."""
    ids = random.Random(5)
    batch = Batch()
    for resource in range(4):
        resource_spans = batch.resource_spans.add()
        put(resource_spans.resource.attributes, "n", resource)
        for scope in range(3):
            scope_spans = resource_spans.scope_spans.add()
            scope_spans.scope.name = f"{resource}.{scope}"
            for number in range(6):
                low = TID_ALL if resource and scope and ids.random() < 0.5 else bytes(15) + b"\x01"
                span = scope_spans.spans.add(trace_id=low, name=f"{resource}.{scope}.{number}")
                put(span.attributes, "k", {"v": [number]})
    expected = Batch.FromString(batch.SerializeToString())
    for resource_spans in expected.resource_spans:
        for scope_spans in resource_spans.scope_spans:
            kept = [span for span in scope_spans.spans if span.trace_id == TID_ALL]
            del scope_spans.spans[:]
            scope_spans.spans.extend(kept)
            for span in scope_spans.spans:
                span.trace_state = "ot=th:e666"
        scopes = [scope for scope in resource_spans.scope_spans if scope.spans]
        del resource_spans.scope_spans[:]
        resource_spans.scope_spans.extend(scopes)
    resources = [resource for resource in expected.resource_spans if resource.scope_spans]
    del expected.resource_spans[:]
    expected.resource_spans.extend(resources)

    result = ProbabilisticSampler(ProbabilisticSamplerConfig(sampling_percentage=10))(batch)

    assert result is batch
    assert result.SerializeToString() == expected.SerializeToString()
    assert 3 < span_count(result) < 30


def test_all_dropped_leaves_an_empty_batch():
    """At 0 % nothing is left, not even empty resources."""
    sampler = ProbabilisticSampler(ProbabilisticSamplerConfig())

    assert sampler(make_batch((TID_ALL, ""), (TID_50, ""))) == Batch()
    assert sampler(Batch()) == Batch()


def test_counts_by_policy():
    """The hook is told spans by source of randomness and outcome."""
    told = []
    batch = make_batch(
        *[(TID_ALL, "")] * 3, *[(TID_50, "")] * 2, (TID_50, "ot=rv:ffffffffffffff"), (bytes(16), ""), (TID_50, "x")
    )
    put(next(spans(batch)).attributes, "sampling.priority", 0)
    config = ProbabilisticSamplerConfig(sampling_percentage=10)

    ProbabilisticSampler(config, lambda *seen: told.append(seen))(batch)

    assert sorted(told) == [
        ("missing_randomness", False, 1),
        ("missing_randomness", False, 1),
        ("sampling_priority", False, 1),
        ("sampling_randomness", True, 1),
        ("trace_id_w3c", False, 2),
        ("trace_id_w3c", True, 2),
    ]


@settings(STEADY, max_examples=200)
@given(
    st.sampled_from(MODES),
    st.booleans(),
    st.lists(st.tuples(st.binary(max_size=20), st.text(alphabet="ot=rvth:;,08af", max_size=30)), max_size=5),
)
def test_raises_nothing(mode, fail_closed, parts):
    """Ids of any length and tracestates of any kind are dropped or kept."""
    config = ProbabilisticSamplerConfig(sampling_percentage=50, mode=mode, fail_closed=fail_closed)

    assert span_count(ProbabilisticSampler(config)(make_batch(*parts))) <= len(parts)


# ---- statistics


@pytest.fixture(scope="module")
def many() -> bytes:
    ids = random.Random(100_000)
    return make_batch(*((ids.randbytes(16), "") for _ in range(100_000))).SerializeToString()


def kept_ids(serialized: bytes, **config) -> set[bytes]:
    sampler = ProbabilisticSampler(ProbabilisticSamplerConfig(**config))
    return {span.trace_id for span in spans(sampler(Batch.FromString(serialized)))}


@pytest.mark.parametrize("mode", MODES)
def test_shares_nest_and_agree(mode, many):
    """100,000 random ids: 10 % is kept within 4 standard deviations, is part of the 50 %, and twice the same."""
    tenth = kept_ids(many, mode=mode, sampling_percentage=10)
    half = kept_ids(many, mode=mode, sampling_percentage=50)

    assert abs(len(tenth) - 10_000) < 4 * math.sqrt(100_000 * 0.1 * 0.9)
    assert abs(len(half) - 50_000) < 4 * math.sqrt(100_000 * 0.5 * 0.5)
    assert tenth < half
    assert kept_ids(many, mode=mode, sampling_percentage=10) == tenth


def test_seeds_are_independent(many):
    """Two tiers of different seeds keep a tenth of a tenth."""
    both = kept_ids(many, hash_seed=1, sampling_percentage=10) & kept_ids(many, hash_seed=2, sampling_percentage=10)

    assert abs(len(both) - 1000) < 4 * math.sqrt(100_000 * 0.01 * 0.99)


@pytest.mark.parametrize("mode", MODES)
def test_adjusted_counts_add_up(mode, many):
    """The adjusted counts of what is kept estimate what was sent: 5 % is kept, so 4 deviations are 0.055 of it."""
    sampler = ProbabilisticSampler(ProbabilisticSamplerConfig(mode=mode, sampling_percentage=5))
    states = [TraceState.parse(span.trace_state) for span in spans(sampler(Batch.FromString(many)))]

    estimate = sum(adjusted_count(state.threshold) for state in states)

    assert abs(estimate - 100_000) < 4 * math.sqrt(100_000 * 0.95 / 0.05)


# ---- configuration


def test_documented_configuration_loads():
    """Every key of the Collector, those for logs included."""
    config = ProbabilisticSamplerConfig.model_validate(
        {
            "sampling_percentage": 15.3,
            "mode": "proportional",
            "hash_seed": 22,
            "fail_closed": False,
            "sampling_precision": 6,
            "attribute_source": "record",
            "from_attribute": "foo",
            "sampling_priority": "bar",
        }
    )

    assert config.sampling_percentage == 15.3
    assert ProbabilisticSamplerConfig() == ProbabilisticSamplerConfig(
        sampling_percentage=0, mode="", hash_seed=0, fail_closed=True, sampling_precision=4, attribute_source="traceID"
    )


@pytest.mark.parametrize(
    ("values", "path", "problem"),
    [
        ({"sampling_percentage": -1}, ("sampling_percentage",), "greater than or equal to 0"),
        ({"sampling_percentage": float("inf")}, ("sampling_percentage",), "finite"),
        ({"sampling_percentage": float("nan")}, ("sampling_percentage",), ""),
        ({"sampling_percentage": 1e-16}, (), "below what 56 bits express"),
        ({"mode": "dunno"}, ("mode",), "hash_seed"),
        ({"sampling_precision": 0}, ("sampling_precision",), "greater than or equal to 1"),
        ({"sampling_precision": 15}, ("sampling_precision",), "less than or equal to 14"),
        ({"hash_seed": -1}, ("hash_seed",), "greater than or equal to 0"),
        ({"hash_seed": 1 << 32}, ("hash_seed",), "less than"),
        ({"attribute_source": "forgotten"}, ("attribute_source",), "traceID"),
        ({"percentage": 10}, ("percentage",), "Extra inputs"),
    ],
)
def test_wrong_configuration_is_refused_with_its_path(values, path, problem):
    """One error, at the key that is wrong."""
    with pytest.raises(ValidationError) as caught:
        ProbabilisticSamplerConfig.model_validate(values)

    error = caught.value.errors()[0]
    assert path == error["loc"][: len(path)]
    assert problem in error["msg"]


if __name__ == "__main__":
    lines = ",\n".join(json.dumps(case) for case in make_vectors())
    VECTORS.write_text(f"[\n{lines}\n]\n")
