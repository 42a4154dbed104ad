"""The standard schema on traces made by hand: what is computed, what wins over it, and that nothing makes it raise."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanbridge.processors.attributes import put
from spanbridge.processors.tag_schema import COMPUTED, STANDARD, TagSchema, TagSchemaConfig
from spanbridge.processors.tag_schema.computed import final_answer
from spanbridge.processors.types import Trace

TRACE_ID = b"t" * 16
NAMES = [
    "user_id",
    "session_id",
    "environment",
    "domains",
    "domain_count",
    "confidence",
    "is_multi_domain",
    "utility_tools_used",
    "source_count",
    "response_length",
    "has_error",
    "error_type",
]


class Builder:
    """Adds spans one by one; each starts a nanosecond after the one before it."""

    def __init__(self, **resource: Any) -> None:
        self.batch = ExportTraceServiceRequest()
        spans = self.batch.resource_spans.add()
        for key, value in resource.items():
            put(spans.resource.attributes, key, value)
        self.spans = spans.scope_spans.add().spans

    def add(self, type_: str = "", outputs: Any = None, parent: Span | None = None, **attributes: Any) -> Span:
        place = len(self.spans) + 1
        span = self.spans.add(
            trace_id=TRACE_ID,
            span_id=place.to_bytes(8, "big"),
            parent_span_id=parent.span_id if parent else (b"" if place == 1 else (1).to_bytes(8, "big")),
            name=f"span {place}",
            start_time_unix_nano=place,
            end_time_unix_nano=1000 - place,
        )
        if type_:
            put(span.attributes, "mlflow.spanType", type_)
        if outputs is not None:
            put(span.attributes, "mlflow.spanOutputs", outputs if isinstance(outputs, str) else json.dumps(outputs))
        for key, value in attributes.items():
            put(span.attributes, key, value)
        return span

    def tags(self, **fields: Any) -> dict[str, str]:
        trace = TagSchema(TagSchemaConfig(schema="standard"), {})(Trace(TRACE_ID, self.batch, **fields))
        assert trace is not None
        return trace.tags


def fail(span: Span, exception: str = "", error_type: str = "") -> None:
    span.status.code = Status.STATUS_CODE_ERROR
    if exception:
        put(span.events.add(name="exception").attributes, "exception.type", exception)
    if error_type:
        put(span.attributes, "error.type", error_type)


def test_it_has_the_tags_it_is_known_for() -> None:
    assert list(STANDARD.all_tags) == NAMES
    assert [name for name, tag in STANDARD.all_tags.items() if tag.required] == NAMES[:3]


def test_an_agent_task() -> None:
    build = Builder(**{"service.name": "shop", "deployment.environment.name": "production"})
    attributes = {"user.id": "u-1", "session.id": "s-1", "domains": ["weather", "travel"], "confidence": 0.9}
    build.add("AGENT", {"choices": [{"message": {"role": "assistant", "content": "It is sunny."}}]}, **attributes)
    build.add("RETRIEVER", [{"page_content": "a"}, {"page_content": "b"}, {"page_content": "c"}])
    build.add("TOOL", "21 degrees", **{"gen_ai.tool.name": "get_weather"})
    build.add("LLM", {"choices": [{"message": {"content": "not the last word"}}]})
    build.add("TOOL", **{"tool.name": "search"})
    build.add("TOOL", **{"gen_ai.tool.name": "get_weather"})
    build.add("TOOL")
    assert build.tags() == {
        "user_id": "u-1",
        "session_id": "s-1",
        "environment": "production",
        "domains": "weather,travel",
        "domain_count": "2",
        "confidence": "0.9",
        "is_multi_domain": "true",
        "utility_tools_used": "get_weather,search,span 7",
        "source_count": "3",
        "response_length": "12",
        "has_error": "false",
    }


def test_a_bare_span() -> None:
    told: list[tuple[str, str]] = []
    build = Builder()
    build.add()
    trace = TagSchema(TagSchemaConfig(), {}, lambda *violation: told.append(violation))(Trace(TRACE_ID, build.batch))
    assert trace is not None
    assert trace.tags == {
        "session_id": "none",
        "environment": "dev",
        "domain_count": "0",
        "is_multi_domain": "false",
        "source_count": "0",
        "response_length": "0",
        "has_error": "false",
    }
    assert told == [("user_id", "required")]


def test_what_is_given_wins_over_what_is_computed() -> None:
    build = Builder()
    given_ = {
        "domains": "a",
        "domain_count": 5,
        "source_count": "7",
        "response_length": 1,
        "has_error": False,
        "error_type": "Mine",
        "utility_tools_used": ["x", "y"],
    }
    fail(build.add("AGENT", "long answer", **given_), "ValueError")
    build.add("TOOL", **{"tool.name": "z"})
    tags = build.tags(tags={"confidence": "0.5", "response_length": "2"})
    assert {name: tags[name] for name in [*given_, "confidence", "is_multi_domain"]} == {
        "domains": "a",
        "domain_count": "5",
        "source_count": "7",
        "response_length": "2",
        "has_error": "false",
        "error_type": "Mine",
        "utility_tools_used": "x,y",
        "confidence": "0.5",
        "is_multi_domain": "true",
    }


@pytest.mark.parametrize(
    ("given_", "user", "session"),
    [
        ({"root": {"user.id": "r", "session.id": "r"}, "child": {"user.id": "c", "session.id": "c"}}, "r", "r"),
        ({"child": {"user.id": "c", "session.id": "c"}, "resource": {"user.id": "e"}}, "c", "c"),
        ({"child": {"user.id": "c"}, "metadata": {"mlflow.trace.user": "m", "mlflow.trace.session": "m"}}, "m", "m"),
        ({"root": {"enduser.id": "r", "gen_ai.conversation.id": "r"}}, "r", "r"),
        ({"child": {"gen_ai.conversation.id": "c"}, "resource": {"user.id": "e", "session.id": "e"}}, "e", "c"),
        ({"root": {"user_id": "own", "session_id": 7, "user.id": "r"}}, "own", "7"),
    ],
)
def test_user_and_session(given_: dict[str, Any], user: str, session: str) -> None:
    build = Builder(**given_.get("resource", {}))
    build.add(**given_.get("root", {}))
    build.add(**given_.get("child", {}))
    tags = build.tags(metadata=given_.get("metadata", {}))
    assert (tags["user_id"], tags["session_id"]) == (user, session)


@pytest.mark.parametrize(
    ("resource", "environment"),
    [
        ({}, "dev"),
        ({"environment": "a"}, "a"),
        ({"environment": "a", "deployment.environment": "b"}, "b"),
        ({"deployment.environment": "b", "deployment.environment.name": "c"}, "c"),
    ],
)
def test_environment(resource: dict[str, Any], environment: str) -> None:
    build = Builder(**resource)
    build.add()
    assert build.tags()["environment"] == environment


@pytest.mark.parametrize(
    ("domains", "count", "several"),
    [
        (None, "0", "false"),
        ("a", "1", "false"),
        ("a,b", "2", "true"),
        (["a", "b", "c"], "3", "true"),
        ("", "0", "false"),
    ],
)
def test_domains(domains: Any, count: str, several: str) -> None:
    build = Builder()
    build.add(**({} if domains is None else {"domains": domains}))
    tags = build.tags()
    assert (tags["domain_count"], tags["is_multi_domain"]) == (count, several)


# --- errors -----------------------------------------------------------------------------------------------------------


def test_the_error_is_that_of_the_root() -> None:
    build = Builder()
    root, child = build.add(), build.add()
    fail(child, "ChildError")
    fail(root, "RootError")
    assert (build.tags()["has_error"], build.tags()["error_type"]) == ("true", "RootError")


def test_or_else_that_of_the_first_failing_span_that_tells_one() -> None:
    build = Builder()
    fail(build.add())
    build.add()
    fail(build.add())
    fail(build.add(), error_type="timeout")
    fail(build.add(), "LaterError")
    assert (build.tags()["has_error"], build.tags()["error_type"]) == ("true", "timeout")


def test_a_child_that_failed_under_a_root_that_did_not() -> None:
    build = Builder()
    root = build.add()
    put(root.events.add(name="exception").attributes, "exception.type", "Handled")
    fail(build.add(), "ChildError")
    assert (build.tags()["has_error"], build.tags()["error_type"]) == ("true", "ChildError")


def test_of_several_exceptions_the_last_one() -> None:
    build = Builder()
    root = build.add()
    put(root.events.add(name="exception").attributes, "exception.type", "First")
    fail(root, "Last")
    root.events.add(name="exception")
    assert build.tags()["error_type"] == "Last"


def test_an_error_without_a_type() -> None:
    build = Builder()
    fail(build.add())
    tags = build.tags()
    assert tags["has_error"] == "true"
    assert "error_type" not in tags


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "attributes", "count"),
    [
        ([{"page_content": "a"}, {"page_content": "b"}], {}, "2"),
        ('["a", "b", "c"]', {}, "3"),
        ({"documents": ["a"]}, {}, "1"),
        ("no documents here", {}, "0"),
        ([], {}, "0"),
        (None, {"gen_ai.retrieval.documents": [{"id": "a"}, {"id": "b"}]}, "2"),
        (None, {"gen_ai.retrieval.documents": '[{"id": "a"}]'}, "1"),
        (
            None,
            {
                "retrieval.documents.0.document.content": "a",
                "retrieval.documents.0.document.score": 1,
                "retrieval.documents.10.document.content": "b",
            },
            "2",
        ),
    ],
)
def test_documents_of_a_retriever(outputs: Any, attributes: dict[str, Any], count: str) -> None:
    build = Builder()
    build.add("CHAIN", ["not", "a", "retriever"])
    build.add("RETRIEVER", outputs, **attributes)
    assert build.tags()["source_count"] == count


def test_documents_of_retrievers_side_by_side_and_inside_one_another() -> None:
    build = Builder()
    build.add("CHAIN")
    outer = build.add("RETRIEVER", ["a", "b", "c"])
    between = build.add("CHAIN", parent=outer)
    build.add("RETRIEVER", ["a", "b"], parent=between)
    build.add("RETRIEVER", ["c", "d"], parent=between)
    build.add('"RETRIEVER"', ["e"])
    assert build.tags()["source_count"] == "4"


def test_spans_that_are_their_own_ancestors_end_somewhere() -> None:
    build = Builder()
    build.add("CHAIN")
    one, other = build.add("RETRIEVER", ["a"]), build.add("RETRIEVER", ["b"])
    one.parent_span_id, other.parent_span_id = other.span_id, one.span_id
    assert build.tags()["source_count"] == "0"


# --- the answer -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "answer"),
    [
        ("It is sunny.", "It is sunny."),
        ('"It is sunny."', "It is sunny."),
        ('{"not": "closed', '{"not": "closed'),
        ({"choices": [{"message": {"content": "first"}}, {"message": {"content": "second"}}]}, "first"),
        ({"choices": [{"text": "completed"}]}, "completed"),
        ({"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}, "a"),
        ({"messages": [{"role": "assistant", "content": "a"}, {"role": "tool", "tool_calls": [1]}]}, "a"),
        (
            [
                {
                    "role": "assistant",
                    "parts": [{"type": "text", "content": "It is "}, {"type": "text", "content": "hot"}],
                }
            ],
            "It is hot",
        ),
        (
            {"content": [{"type": "text", "text": "one "}, {"type": "image"}, {"type": "text", "text": "two"}]},
            "one two",
        ),
        ({"output": [{"type": "message", "content": [{"type": "output_text", "text": "r"}]}]}, "r"),
        ({"message": {"content": '{"answer": "stays JSON"}'}}, '{"answer": "stays JSON"}'),
        ({"answer": "yes", "sources": [1]}, "yes"),
        ({"result": {"text": "deep"}}, "deep"),
        ({"status": 200}, '{"status":200}'),
        (7, "7"),
        ([], "[]"),
        (None, "null"),
    ],
)
def test_the_final_answer(outputs: Any, answer: str) -> None:
    assert final_answer(outputs) == answer
    if not isinstance(outputs, str):
        assert final_answer(json.dumps(outputs, separators=(",", ":"))) == answer


def test_the_answer_is_that_of_the_root_or_else_of_the_last_model_call() -> None:
    build = Builder()
    root = build.add("AGENT")
    build.add("CHAT_MODEL", "ends last")
    build.add("LLM", "ends earlier, though longer")
    build.add("LLM")
    build.add("TOOL", "no model call at all")
    assert build.tags()["response_length"] == str(len("ends last"))
    put(root.attributes, "mlflow.spanOutputs", "é 🙂")
    assert build.tags()["response_length"] == "3"


@pytest.mark.parametrize("outputs", ["[" * 1000 + "]" * 1000, '{"text":' * 900 + '"x"' + "}" * 900, "[" * 100_000])
def test_outputs_nested_too_deep_are_their_own_text(outputs: str) -> None:
    assert final_answer(outputs) == outputs


def test_a_number_too_long_to_be_one() -> None:
    build = Builder()
    build.add(domain_count="9" * 5000)
    assert build.tags()["is_multi_domain"] == "true"


def test_structured_outputs() -> None:
    build = Builder()
    put(build.add().attributes, "mlflow.spanOutputs", {"choices": [{"message": {"content": "four"}}]})
    assert build.tags()["response_length"] == "4"


# --- properties -------------------------------------------------------------------------------------------------------

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.binary(max_size=9)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
    | st.text('[]{}",: ab1.', max_size=12),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["choices", "messages", "content", "text", "type", "a"]), inner, max_size=3)
        | inner.map(lambda value: json.dumps(value, default=repr))
    ),
    max_leaves=6,
)
KEYS = [
    *NAMES,
    *(f"mlflow.traceTag.{name}" for name in NAMES[:5]),
    "mlflow.spanType",
    "mlflow.spanOutputs",
    "gen_ai.retrieval.documents",
    "retrieval.documents.0.x",
    "tool.name",
    "user.id",
    "session.id",
    "error.type",
    "x",
    "old",
]
spans = st.fixed_dictionaries(
    {
        "span_id": st.sampled_from([b"a", b"b", b"c", b""]),
        "parent_span_id": st.sampled_from([b"", b"a", b"b", b"z", bytes(8)]),
        "start": st.integers(0, 3),
        "failed": st.booleans(),
        "type": st.sampled_from(["TOOL", "LLM", "RETRIEVER", "", '"LLM"']),
        "attributes": st.dictionaries(st.sampled_from(KEYS), values, max_size=6),
    }
)
own = st.builds(
    lambda type_, action, default, allowed: {
        "extends": "standard",
        "on_violation": action,
        "violations_tag": "wrong",
        "tags": {
            "x": {
                "type": type_,
                "aliases": ["old"],
                "required": True,
                **({"default": 1 if type_ != "bool" else True} if default else {}),
                **({"allowed": [1, "0"]} if allowed else {}),
                "from": [{"span": "user.id"}, {"computed": "response_length"}],
            }
        },
    },
    st.sampled_from(["str", "int", "float", "bool", "csv"]),
    st.sampled_from(["keep", "tag", "drop_tag"]),
    st.booleans(),
    st.booleans(),
)


@given(
    st.just("standard") | own,
    st.lists(spans, max_size=4),
    st.dictionaries(st.sampled_from([*NAMES, "x", "old", "wrong", "more"]), st.text("a1,.[ t", max_size=5), max_size=4),
    st.booleans(),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_it_never_raises_writes_only_strings_and_is_at_rest_after_once(
    schema: Any, drawn: list[dict[str, Any]], tags: dict[str, str], late: bool
) -> None:
    batch = ExportTraceServiceRequest()
    scope = batch.resource_spans.add().scope_spans.add()
    for each in drawn:
        span = scope.spans.add(span_id=each["span_id"], parent_span_id=each["parent_span_id"])
        span.start_time_unix_nano = each["start"]
        put(span.attributes, "mlflow.spanType", each["type"])
        for key, value in each["attributes"].items():
            put(span.attributes, key, value)
        if each["failed"]:
            fail(span, "E")
    apply = TagSchema(TagSchemaConfig(schema=schema), {})
    trace = Trace(TRACE_ID, batch, tags=dict(tags), late=late)
    assert apply(trace) is trace
    once = dict(trace.tags)
    assert all(isinstance(text, str) for pair in once.items() for text in pair)
    assert apply(trace) is trace
    assert trace.tags == once


def test_everything_computed_is_in_the_standard() -> None:
    asked = {source.computed for tag in STANDARD.tags.values() for source in tag.from_ if source.computed}
    assert asked == set(COMPUTED)
