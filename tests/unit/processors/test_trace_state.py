"""tracestate: reading, writing, thresholds and randomness."""

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spanbridge.processors.trace_state import (
    KEEP_ALL,
    KEEP_NONE,
    TraceState,
    TraceStateError,
    adjusted_count,
    encode_threshold,
    members,
    probability_to_threshold,
    threshold_to_probability,
    trace_id_randomness,
)

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""


@pytest.mark.parametrize(
    ("text", "rv", "th", "written"),
    [
        ("", "", "", ""),
        ("ot=th:8", "", "8", "ot=th:8"),
        ("ot=th:0;rv:9b8233f7e3a151", "9b8233f7e3a151", "0", "ot=rv:9b8233f7e3a151;th:0"),
        ("vendor=x, ot=th:c ,t@v=1", "", "c", "ot=th:c,vendor=x,t@v=1"),
        ("ot=rv:FD70A3D70A3D71;th:FD", "FD70A3D70A3D71", "FD", "ot=rv:FD70A3D70A3D71;th:FD"),
        ("ot=p:8;th:8;r:62", "", "8", "ot=th:8;p:8;r:62"),
        ("a=1,,b=2,", "", "", "a=1,b=2"),
        ("a=x y", "", "", "a=x y"),
        ("ot=other:1", "", "", "ot=other:1"),
    ],
)
def test_read_and_written(text, rv, th, written):
    """Members keep their order, ot comes first, rv before th before what else it holds."""
    state = TraceState.parse(text)

    assert (rv, th, written) == (state.rv, state.th, str(state))


@pytest.mark.parametrize(
    "text",
    [
        "nonsense",
        "=x",
        "A=x",
        "a=",
        "a=x=y",
        "a=\u00e9",
        "a@=1",
        "a@1=1",
        "ot=th",
        "ot=th:",
        "ot=th:g",
        "ot=th:123456789012345",
        "ot=rv:123",
        "ot=rv:1234567890123g",
        "ot=th:8;",
        "ot=:8",
        "ot=Th:8",
        "ot=a:" + "x" * 255,
        "a=" + "x" * 257,
        "a" * 257 + "=1",
        ",".join(f"k{i}=v" for i in range(33)),
        "a=" + "x" * 250 + ",b=" + "x" * 250 + ",c=" + "x" * 250 + ",d=" + "x" * 250 + ",e=" + "x" * 50,
    ],
)
def test_refused(text):
    """What breaks the grammar of W3C or OpenTelemetry is an error, and no other one."""
    with pytest.raises(TraceStateError):
        TraceState.parse(text)


def test_limits_are_inclusive():
    """32 members and 1024 characters are fine."""
    assert len(members(",".join(f"k{i}=v" for i in range(32)))) == 32
    full = ",".join(f"k{i}=" + "x" * 252 for i in range(4))
    assert len(full) <= 1024
    assert len(members(full)) == 4


def test_a_member_more_pushes_out_the_last():
    """A tracestate that is full gives up its oldest member for ot."""
    state = TraceState.parse(",".join(f"k{i}=v" for i in range(32)))
    state.raise_threshold(1 << 55)

    assert members(str(state)) == [("ot", "th:8"), *((f"k{i}", "v") for i in range(31))]


def test_an_ot_value_never_outgrows_its_limit():
    """Unknown entries give way to rv and th."""
    state = TraceState.parse("ot=a:" + "x" * 200 + ";b:" + "y" * 40)
    state.randomness = 5
    state.raise_threshold(1)

    text = str(state)
    assert TraceState.parse(text).randomness == 5
    assert [key for key, _ in TraceState.parse(text).ot] == ["a"]


@pytest.mark.parametrize(
    ("before", "raised_to", "after"),
    [("", 1 << 55, "8"), ("8", 3 << 54, "c"), ("c", 1 << 55, "c"), ("8000", 1 << 55, "8"), ("", 0, "0"), ("8", 0, "8")],
)
def test_threshold_only_rises(before, raised_to, after):
    """A later sampler may lower the probability, never raise it."""
    state = TraceState(th=before)
    state.raise_threshold(raised_to)

    assert after == state.th


@pytest.mark.parametrize(
    ("probability", "precision", "encoded"),
    [
        (1.0, 4, "0"),
        (0.5, 4, "8"),
        (0.25, 4, "c"),
        (0.01, 14, "fd70a3d70a3d71"),
        (0.01, 4, "fd70a"),
        (0.01, 3, "fd71"),
        (0.4, 3, "99a"),
        (0.2, 6, "cccccd"),
        (2.0**-14, 4, "fffc"),
        (2.0**-28, 4, "fffffff"),
        (2.0**-56, 4, "ffffffffffffff"),
    ],
)
def test_known_thresholds(probability, precision, encoded):
    """Values that the specification and contrib's documentation state."""
    assert encoded == encode_threshold(probability_to_threshold(probability, precision))


def test_never_is_no_threshold():
    """Below 2^-56 nothing is kept."""
    assert probability_to_threshold(2.0**-57) == KEEP_NONE
    assert probability_to_threshold(0.0) == KEEP_NONE


def test_trace_id_randomness_is_its_last_seven_bytes():
    """W3C Trace Context level 2."""
    assert trace_id_randomness(bytes.fromhex("fefefefefefefefefe80000000000000")) == 1 << 55


PROBABILITIES = st.floats(2.0**-56, 1.0)


@STEADY
@given(PROBABILITIES)
def test_threshold_and_probability_are_inverse(probability):
    """At full precision a probability comes back within the rounding of 56 bits, and 1/p is the adjusted count."""
    threshold = probability_to_threshold(probability)

    assert abs(Fraction(threshold_to_probability(threshold)) - Fraction(probability)) <= Fraction(1, 1 << 56)
    assert adjusted_count(threshold) == pytest.approx(1 / threshold_to_probability(threshold))


@STEADY
@given(PROBABILITIES, st.integers(1, 14))
def test_a_rounded_threshold_is_close_and_short(probability, precision):
    """Rounding costs at most half a unit of the last significant digit, and stays expressible."""
    threshold = probability_to_threshold(probability, precision)

    assert KEEP_ALL <= threshold < KEEP_NONE
    assert threshold_to_probability(threshold) == pytest.approx(probability, rel=0.6 * 16.0 ** (1 - precision))
    assert TraceState(th=encode_threshold(threshold)).threshold == threshold


KEYS = st.from_regex(r"\A[a-z][a-z0-9_*/-]{0,9}\Z").filter(lambda key: key != "ot")
VALUES = st.from_regex(r"\A[\x21-\x2b\x2d-\x3c\x3e-\x7e]{1,20}\Z")
OT_KEYS = st.from_regex(r"\A[a-z][a-z0-9]{0,4}\Z").filter(lambda key: key not in ("rv", "th"))
OT_VALUES = st.from_regex(r"\A[a-zA-Z0-9._-]{0,10}\Z")


@st.composite
def trace_states(draw):
    state = TraceState(
        ot=draw(st.lists(st.tuples(OT_KEYS, OT_VALUES), max_size=4)),
        others=draw(st.lists(st.tuples(KEYS, VALUES), max_size=8)),
    )
    if draw(st.booleans()):
        state.randomness = draw(st.integers(0, KEEP_NONE - 1))
    if draw(st.booleans()):
        state.raise_threshold(draw(st.integers(0, KEEP_NONE - 1)))
    return state


@STEADY
@given(trace_states())
def test_round_trip(state):
    """What is written reads back the same, and writes the same again."""
    text = str(state)
    again = TraceState.parse(text)

    assert again == state
    assert str(again) == text


@STEADY
@given(st.text(max_size=60) | st.text(alphabet="ot=rvth:;,0a8 @", max_size=40))
def test_any_text_reads_or_is_refused(text):
    """Nothing but TraceStateError comes out, and whatever reads is stable."""
    try:
        state = TraceState.parse(text)
    except TraceStateError:
        return
    assert TraceState.parse(str(state)) == state
