"""OTTL: what conditions mean, what is refused with its column, and that nothing but OttlError ever comes out."""

import contextlib
import logging
import random
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanbridge.processors.attributes import put
from spanbridge.processors.ottl import (
    Conditions,
    Duration,
    OttlError,
    Time,
    compile_condition,
    compile_statement,
)
from spanbridge.processors.ottl.arithmetic import calculate
from spanbridge.processors.ottl.functions import FUNCTIONS
from spanbridge.processors.ottl.values import COMPARISONS

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

SECOND = 10**9


def make_span() -> Span:
    span = Span(
        name="GET /health",
        kind=Span.SPAN_KIND_SERVER,
        trace_id=bytes(15) + b"\x01",
        span_id=bytes(7) + b"\x02",
        trace_state="ot=th:8,vendor=x",
        start_time_unix_nano=1_700_000_000 * SECOND,
        end_time_unix_nano=1_700_000_002 * SECOND,
        status=Status(code=Status.STATUS_CODE_ERROR, message="boom"),
    )
    put(span.attributes, "http.status_code", 503)
    put(span.attributes, "route", "/health")
    put(span.attributes, "ratio", 0.25)
    put(span.attributes, "cached", False)
    put(span.attributes, "tags", ["a", "b"])
    put(span.attributes, "nested", {"deep": {"list": [1, "two", {"three": 3}]}})
    put(span.attributes, "raw", b"\x00\xff")
    put(span.attributes, "json", '{"total": 12, "parts": [1, 2]}')
    put(span.attributes, "number text", "42")
    span.attributes.add(key="empty")
    event = span.events.add(name="exception", time_unix_nano=1_700_000_001 * SECOND)
    put(event.attributes, "exception.type", "ValueError")
    return span


def make_record():
    resource = Resource()
    put(resource.attributes, "service.name", "checkout")
    scope = InstrumentationScope(name="lib", version="1.2")
    put(scope.attributes, "scope.key", "v")
    span = make_span()
    return (resource, scope, span, span.events[0])


RECORD = make_record()


def holds(text: str, context: str = "span") -> bool:
    return compile_condition(text, context)(RECORD)


TRUE = [
    # comparison, precedence, parentheses
    'attributes["route"] == "/health"',
    'attributes["route"] != "/ready"',
    'not attributes["route"] == "/ready"',
    "not false",
    "true or false and false",
    "(true or false) and not (false or false)",
    "1 < 2 and 2 <= 2 and 3 > 2 and 3 >= 3",
    '"a" < "b"',
    "false < true",
    "1 == 1.0",
    "0.5 > 0",
    "-5 < -4",
    ".5 == 0.5",
    "1.0e2 == 100",
    # values of different kinds are unequal and unordered
    'attributes["http.status_code"] != "503"',
    'not attributes["http.status_code"] > "1"',
    'not attributes["missing"] < 1',
    "not true == 1",
    # nil
    'attributes["missing"] == nil',
    'attributes["empty"] == nil',
    'attributes["route"] != nil',
    "nil <= nil and nil >= nil and not nil < nil",
    # paths
    'span.name == "GET /health" and name == span.name',
    "kind == SPAN_KIND_SERVER",
    'kind.string == "Server"',
    "status.code == STATUS_CODE_ERROR and span.status.code == 2",
    'status.message == "boom"',
    'resource.attributes["service.name"] == "checkout"',
    'instrumentation_scope.name == "lib" and scope.version == "1.2"',
    'instrumentation_scope.attributes["scope.key"] == "v"',
    'trace_id.string == "00000000000000000000000000000001"',
    "trace_id == TraceID(0x00000000000000000000000000000001)",
    'span_id == SpanID("0000000000000002")',
    "parent_span_id == SpanID(0x0000000000000000)",
    'parent_span_id.string == "0000000000000000"',
    "end_time_unix_nano - start_time_unix_nano == 2000000000",
    'end_time - start_time == Duration("2s")',
    'start_time + Duration("2s") == end_time',
    'end_time - start_time > Duration("1999ms")',
    'trace_state["vendor"] == "x"',
    'trace_state["none"] == nil',
    'trace_state == "ot=th:8,vendor=x"',
    "Len(events) == 1 and Len(links) == 0",
    "dropped_attributes_count == 0",
    # indexing
    'attributes["nested"]["deep"]["list"][1] == "two"',
    'attributes["nested"]["deep"]["list"][2]["three"] == 3',
    'attributes["nested"]["none"]["list"] == nil',
    'attributes["tags"] == ["a", "b"]',
    'attributes["tags"][0] == "a"',
    'attributes["nested"]["deep"] == {"list": [1, "two", {"three": 3}]}',
    'attributes[attributes["tags"][0]] == nil',
    "IsMap(attributes)",
    # arithmetic
    "1 + 2 * 3 == 7",
    "(1 + 2) * 3 == 9",
    "7 / 2 == 3",
    "-7 / 2 == -3",
    "7.0 / 2.0 == 3.5",
    "2 - 1 - 1 == 0",
    "9223372036854775807 + 1 < 0",
    # functions
    "IsRootSpan()",
    'IsMatch(name, "^GET")',
    'IsMatch(name, "heal.h$")',
    'not IsMatch(attributes["missing"], ".*")',
    'IsMatch(attributes["http.status_code"], "^5..$")',
    'IsMatch(attributes["cached"], "^false$")',
    'IsMatch(attributes["nested"], "two")',
    'IsString(name) and IsInt(kind) and IsDouble(attributes["ratio"]) and IsBool(attributes["cached"])',
    'IsMap(attributes["nested"]) and IsList(attributes["tags"])',
    'not IsInt(attributes["cached"]) and not IsString(nil)',
    'IsEmpty("") and IsEmpty(nil) and IsEmpty(0) and IsEmpty(parent_span_id) and not IsEmpty(span_id)',
    'Int("42") == 42 and Int(2.9) == 2 and Int(true) == 1 and Int("2.0") == nil and Int([]) == nil',
    'Int("9223372036854775808") == nil',
    'Int(attributes["number text"]) == 42',
    'Double("2.5") == 2.5 and Double("x") == nil and Double(1) == 1.0',
    'Bool("t") and Bool("FALSE") == false and Bool("yes") == nil and Bool(2)',
    'String(12) == "12" and String(2.0) == "2" and String(0x0aff) == "0aff" and String(nil) == nil',
    'String([1, 2]) == "[1,2]"',
    'Len("é") == 2 and Len(attributes["tags"]) == 2 and Len({"a": 1}) == 1',
    'Concat(["a", 1, nil, true, 0x01], "-") == "a-1-<nil>-true-01"',
    'ToLowerCase("AbC") == "abc" and ToUpperCase("abc") == "ABC"',
    'ToSnakeCase("myMetricHTTPName") == "my_metric_http_name" and ToCamelCase("my_metric") == "MyMetric"',
    'ConvertCase("AbC", "lower") == "abc" and ConvertCase("abc", to_case = "upper") == "ABC"',
    'Substring("hello", 1, 3) == "ell"',
    'Split("a,b,c", ",")[1] == "b" and Split("ab", "") == ["a", "b"]',
    'Trim("  a ") == "a" and Trim("!a!", "!") == "a"',
    'TrimPrefix("prod_x", "prod_") == "x" and TrimSuffix("x.log", ".log") == "x"',
    'HasPrefix(name, "GET") and HasSuffix(name, "health") and not HasPrefix(name, "POST")',
    'Index("hello", "llo") == 2 and Index(["a", "b"], "b") == 1 and Index("a", "z") == -1',
    'ContainsValue(attributes["tags"], "b") and not ContainsValue(attributes["tags"], "c")',
    'Coalesce([attributes["missing"], nil, "x"]) == "x"',
    'Keys({"a": 1}) == ["a"] and Values({"a": 1}) == [1]',
    'ParseJSON(attributes["json"])["parts"][1] == 2',
    'Duration("1h30m") == Duration("90m") and Seconds(Duration("1500ms")) == 1.5',
    'Milliseconds(Duration("2s")) == 2000 and Nanoseconds(Duration("1us")) == 1000',
    'Duration("-1s") < Duration("0s") and Duration("0") == Duration(".0h")',
    "UnixSeconds(start_time) == 1700000000 and Unix(1700000000) == start_time",
    "Year(start_time) == 2023 and Month(start_time) == 11 and Day(start_time) == 14 and Weekday(start_time) == 2",
    # literals
    '"a\\tb\\"c\\\\ \\u00e9\\x41\\101" == "a\\tb\\"c\\\\ éAA"',
    "0x00ff == 0x00FF",
]


@pytest.mark.parametrize("text", TRUE)
def test_true(text):
    """Each holds on the record, and its negation does not."""
    assert holds(text)
    assert not holds(f"not ({text})")


EVENT_TRUE = [
    'name == "exception"',
    'spanevent.name == "exception"',
    'attributes["exception.type"] == "ValueError"',
    'span.attributes["route"] == "/health" and span.name == "GET /health"',
    'resource.attributes["service.name"] == "checkout"',
    "time_unix_nano == 1700000001000000000",
    'time - span.start_time == Duration("1s")',
]


@pytest.mark.parametrize("text", EVENT_TRUE)
def test_event_context(text):
    """In context spanevent a bare path is the event's, and the span, scope and resource are reached by name."""
    assert holds(text, "spanevent")


def test_outer_contexts_do_not_see_inner_ones():
    """A resource knows no span, a scope no span, a span no event."""
    assert compile_condition('attributes["service.name"] == "checkout"', "resource")(RECORD[:1])
    assert compile_condition('name == "lib" and resource.attributes["service.name"] != nil', "scope")(RECORD[:2])
    for text, context in (
        ('span.name == ""', "resource"),
        ('span.name == ""', "scope"),
        ('spanevent.name == ""', "span"),
    ):
        with pytest.raises(OttlError, match="is not a path of context"):
            compile_condition(text, context)


REFUSED = [
    ('attributes["a"] ==', "the condition ends too early", 19),
    ('attributes["a"] = "b"', "unexpected", 17),
    ('attributes["a"] in ["b"]', "unexpected 'in'", 17),
    ("", "the condition ends too early", 1),
    ("name", "a condition is a comparison", 1),
    ("1", "a condition is a comparison", 1),
    ('true and "x"', "a condition is a comparison", 10),
    ("(1 == 1) == true", "a comparison can't be used as a value", 2),
    ("Len(1 == 1) == 1", "a comparison can't be used as a value", 5),
    ("nonsense == 1", "nonsense is not a path of context span", 1),
    ("order == 1", "order is not a path", 1),
    ("name.string == 1", "name.string is not a path", 1),
    ('name["x"] == 1', "name can't be indexed", 1),
    ('attributes["a"].b == 1', "only the last field of a path can be indexed", 1),
    ("kind == SPAN_KIND_NOWHERE", "unknown name 'SPAN_KIND_NOWHERE'", 9),
    ("true and Frobnicate(1)", "unknown function 'Frobnicate'", 10),
    ("Len() == 1", "Len takes (target)", 1),
    ("Len(1, 2) == 1", "Len takes (target)", 8),
    ('Trim("a", target = "b") == "a"', "Trim takes (target, replacement)", 11),
    ("IsRootSpan(1)", "IsRootSpan takes ()", 12),
    ('IsMatch(name, "(")', "is not a regular expression of RE2", 1),
    ('IsMatch(name, "(?=x)")', "is not a regular expression of RE2", 1),
    ('ConvertCase(name, "title") == ""', "the case is one of lower, upper, snake, camel", 1),
    ('name == "\\."', "unknown escape", 9),
    ('name == "\\ud800"', "unknown escape", 9),
    ("name == 0x1", "two hex digits", 9),
    ("kind == 9223372036854775808", "an integer has 64 bits", 9),
    ("name == ?", "unexpected character '?'", 9),
    ("(" * 60 + "true" + ")" * 60 + " and " + "not " * 60 + "true", "nested deeper than 50 levels", None),
    ("true or " * 3000 + "true", "an OTTL condition may have 16384 characters", None),
]


@pytest.mark.parametrize(("text", "problem", "column"), REFUSED)
def test_refused_when_compiled(text, problem, column):
    """A condition that is wrong is refused before any span comes, saying what is wrong and in which column."""
    with pytest.raises(OttlError) as caught:
        compile_condition(text, "span")

    assert problem in str(caught.value)
    if column is not None:
        assert column == caught.value.column


def test_root_span_is_asked_of_spans_only():
    """IsRootSpan has no meaning without a span."""
    with pytest.raises(OttlError, match="not available in context resource"):
        compile_condition("IsRootSpan()", "resource")


FAILING = [
    "1 / 0 == 1",
    "1.0 / 0.0 == 1.0",
    "1 + 1.0 == 2",
    '"a" + "b" == "ab"',
    '-name == ""',
    "Len(1) == 1",
    "Len(name)",
    'HasPrefix(attributes["missing"], "x")',
    'Split(attributes["missing"], ",")[0] == "x"',
    'Split("a", ",")[3] == "x"',
    'attributes["route"]["x"] == 1',
    'attributes["tags"]["x"] == 1',
    'attributes[1] == "x"',
    'Substring("abc", 2, 5) == "x"',
    'Duration("12 parsecs") == Duration("1s")',
    'Duration("999999999h") == Duration("1s")',
    'TraceID("zz") == trace_id',
    'SpanID("zzzzzzzzzzzzzzzz") == span_id',
    'ParseJSON("{") == nil',
    'ParseJSON("\\"\\\\ud800\\"") == nil',
    'IsMatch(name, attributes["http.status_code"])',
    'IsMatch(name, Concat(["(", ""], ""))',
    "Year(Unix(9223372036854775807)) == 1",
    'start_time + end_time == Duration("1s")',
]


@pytest.mark.parametrize("text", FAILING)
def test_error_modes(text, caplog):
    """What can't be evaluated raises, or counts as false; then the next condition is asked. ignore logs it once."""
    with pytest.raises(OttlError):
        holds(text)
    with pytest.raises(OttlError):
        Conditions([text, "true"], "span", "propagate")(RECORD)

    with caplog.at_level(logging.WARNING):
        assert not Conditions([text], "span", "silent")(RECORD)
        assert Conditions([text, "true"], "span", "silent")(RECORD)
    assert not caplog.records

    ignoring = Conditions([text, "false"], "span", "ignore")
    with caplog.at_level(logging.WARNING):
        assert [ignoring(RECORD) for _ in range(3)] == [False] * 3
    assert len(caplog.records) == 1


def test_any_condition_of_a_list_suffices():
    """Conditions of a list are joined by or."""
    assert Conditions(["false", 'name == "GET /health"'], "span")(RECORD)
    assert not Conditions(["false", 'name == "x"'], "span")(RECORD)
    assert not Conditions([], "span")(RECORD)


def test_a_wrong_condition_of_a_list_is_named_by_its_number():
    """The error says which of the conditions it is."""
    with pytest.raises(OttlError, match="condition 2: unknown function 'No'"):
        Conditions(["true", "No()"], "span")


def test_the_parser_is_loaded_only_when_a_condition_is():
    """A program without OTTL does not pay for it."""
    code = """
import sys
from spanbridge.processors.ottl import compile_condition
from spanbridge.processors.tail_sampling import TailSamplingConfig
TailSamplingConfig.model_validate({"policies": [{"name": "all", "type": "always_sample"}]})
assert "lark" not in sys.modules
compile_condition("true", "span")
assert "lark" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- statements


def _set(arguments):
    target, value = arguments
    if target.path is None or target.path.fields != ("attributes",):
        raise OttlError("set writes attributes here")
    (key,) = target.path.keys

    def edit(record):
        put(target.path.target(record).attributes, key(record), value.get(record))

    return edit


def test_statement_runs_its_editor_where_the_condition_holds():
    """An editor gets its path arguments as paths, so that it can write to them."""
    record = make_record()
    hit = compile_statement(
        'set(attributes["env"], Concat(["a", name], ":")) where IsRootSpan()', "span", {"set": _set}
    )
    miss = compile_statement('set(attributes["other"], 1) where not IsRootSpan()', "span", {"set": _set})
    outer = compile_statement('set(resource.attributes["seen"], true)', "span", {"set": _set})

    assert [hit(record), miss(record), outer(record)] == [True, False, True]
    assert compile_condition('attributes["env"] == "a:GET /health" and attributes["other"] == nil', "span")(record)
    assert compile_condition('resource.attributes["seen"] == true', "span")(record)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("drop()", "unknown editor 'drop'; known: set"),
        ('Set(attributes["a"], 1)', "unexpected 'Set'"),
        ('set(attributes["a"], 1) where', "the statement ends too early"),
        ('set(attributes["a"], 1) where name', "a condition is a comparison"),
        ("set(name, 1)", "set writes attributes here"),
        ('set(attributes["a"], nowhere)', "nowhere is not a path"),
    ],
)
def test_statements_refused(text, problem):
    """A wrong statement is refused when it is compiled."""
    with pytest.raises(OttlError, match=problem.replace("(", r"\(")):
        compile_statement(text, "span", {"set": _set})


def test_a_long_run_of_backslashes_is_read_once():
    """To look for the end of this string in all ways there are would take longer than any test may."""
    with pytest.raises(OttlError, match="unexpected character"):
        compile_condition('IsMatch(name, "' + "\\" * 2000 + "x)", "span")


@pytest.mark.parametrize(
    "function",
    ["Int", "Double", "ToSnakeCase", "ToCamelCase", "Duration"],
)
@pytest.mark.parametrize("piece", ["1", "A", "a", "1.", ".", "_"])
def test_no_function_is_slow_on_a_long_string(function, piece):
    """Attributes come from strangers: nothing may take more than linear time over them."""
    span = make_span()
    put(span.attributes, "long", piece * 200_000)
    condition = Conditions([f'{function}(attributes["long"]) == nil'], "span", "silent")

    started = time.process_time()
    condition((*RECORD[:2], span))

    assert time.process_time() - started < 2


# ---- nothing but OttlError

LEAVES = st.sampled_from(
    [
        *("name", "kind", "status", "attributes", "events", "trace_id", "start_time", "end_time", "trace_state"),
        *(f'attributes["{key.key}"]' for key in RECORD[2].attributes),
        *("1", "0", "-3", "2.5", '"x"', '""', "nil", "true", "0xff", "[]", '["a", 1]', '{"k": 1}', "[[[]]]"),
        *('Duration("1s")', "Unix(5)", 'ParseJSON("[1, 1e400, 12345678901234567890]")', "9223372036854775807"),
    ]
)


def _grown(values):
    calls = st.builds(
        lambda name, arguments: f"{name}({', '.join(arguments)})",
        st.sampled_from(sorted(FUNCTIONS)),
        st.lists(values, max_size=3),
    )
    sums = st.builds(lambda a, o, b: f"({a} {o} {b})", values, st.sampled_from("+-*/"), values)
    indexed = st.builds(lambda a, b: f"attributes[{a}][{b}]", values, values)
    return calls | sums | indexed | st.builds(lambda a: f"[{a}]", values)


VALUES = st.recursive(LEAVES, _grown, max_leaves=6)
COMPARED = st.builds(lambda a, o, b: f"{a} {o} {b}", VALUES, st.sampled_from(sorted(COMPARISONS)), VALUES)


@settings(STEADY, max_examples=600)
@given(COMPARED | VALUES)
def test_well_formed_conditions_raise_nothing_but_their_own_error(text):
    """Whatever is compiled either gives a bool or says OttlError."""
    with contextlib.suppress(OttlError):
        assert holds(text) in (True, False)


@settings(STEADY, max_examples=300)
@given(st.text(alphabet='()[]{}"\\.,=!<>+-*/ \n0123x_aAnotdrue', max_size=40) | st.text(max_size=20))
def test_any_text_raises_nothing_but_its_own_error(text):
    """Garbage is refused by OttlError too."""
    with contextlib.suppress(OttlError):
        assert holds(text) in (True, False)


@STEADY
@given(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1).filter(bool))
def test_integer_division_is_gos(left, right):
    """Quotients go towards zero and wrap at 64 bits."""
    quotient = calculate("/", left, right)

    assert quotient == (
        -(2**63)
        if (left, right) == (-(2**63), -1)
        else int(abs(left) // abs(right)) * (1 if (left < 0) == (right < 0) else -1)
    )


def test_comparison_is_a_total_order_on_one_kind():
    """<, == and > exclude each other, and <= and >= follow from them."""
    samples = [1, 2.5, "a", "b", True, False, None, b"a", Time(3), Time(4), Duration(3), [1], {"a": 1}]
    shuffled = random.Random(3).sample(samples, len(samples))
    for left in samples:
        for right in shuffled:
            less, same, more = (COMPARISONS[op](left, right) for op in ("<", "==", ">"))
            assert less + same + more <= 1
            ordered = less or more or (same and not isinstance(left, (list, dict)))
            assert COMPARISONS["<="](left, right) == (ordered and not more)
            assert COMPARISONS[">="](left, right) == (ordered and not less)
            assert COMPARISONS["!="](left, right) != same
