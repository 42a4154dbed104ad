"""Tag schemas: where values come from, how they are written, what a wrong one does, which schema takes a trace."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from spanbridge.processors.attributes import put
from spanbridge.processors.tag_schema import TagSchema, TagSchemaConfig
from spanbridge.processors.types import Trace
from tests.paths import DATA

FOLDER = DATA / "tag_schema"
TRACE_ID = b"t" * 16


def trace_of(
    root: dict[str, Any] | None = None,
    child: dict[str, Any] | None = None,
    resource: dict[str, Any] | None = None,
    **fields: Any,
) -> Trace:
    """A root span with one child; without `root` attributes of its own the root is still there."""
    batch = ExportTraceServiceRequest()
    spans = batch.resource_spans.add()
    fill(spans.resource.attributes, resource)
    scope = spans.scope_spans.add()
    fill(scope.spans.add(trace_id=TRACE_ID, span_id=b"root----", name="run").attributes, root)
    inner = scope.spans.add(trace_id=TRACE_ID, span_id=b"child---", parent_span_id=b"root----", name="step")
    fill(inner.attributes, child)
    return Trace(TRACE_ID, batch, **fields)


def fill(attributes: Any, values: dict[str, Any] | None) -> None:
    for key, value in (values or {}).items():
        put(attributes, key, value)


def schema_of(tags: dict[str, Any], **more: Any) -> TagSchema:
    environ = more.pop("environ", {})
    return TagSchema(TagSchemaConfig(schema={"tags": tags, **more}), environ)


def tagged(tags: dict[str, Any], trace: Trace, **more: Any) -> dict[str, str]:
    result = schema_of(tags, **more)(trace)
    assert result is trace
    return trace.tags


# --- where a value comes from -----------------------------------------------------------------------------------------

FROM_EVERYWHERE = {
    "from": [
        {"root": "r"},
        {"span": "s"},
        {"resource": "res"},
        {"metadata": "m"},
        {"env": "E"},
        {"constant": "constant"},
    ]
}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "constant"),
        ({"environ": {"E": "env"}}, "env"),
        ({"environ": {"E": ""}}, "constant"),
        ({"metadata": {"m": "metadata"}, "environ": {"E": "env"}}, "metadata"),
        ({"resource": {"res": "resource"}, "metadata": {"m": "metadata"}}, "resource"),
        ({"child": {"s": "child"}, "resource": {"res": "resource"}}, "child"),
        ({"root": {"s": "root"}, "child": {"s": "child"}}, "root"),
        ({"root": {"r": "root r", "s": "root s"}}, "root r"),
        ({"root": {"r": ""}, "child": {"r": "child", "s": "child s"}}, "child s"),
        ({"root": {"r": "r", "x": "own name"}}, "own name"),
        ({"root": {"x": "own name", "mlflow.traceTag.x": "explicit"}}, "explicit"),
        ({"root": {"x": "own name"}, "tags": {"x": "tag"}}, "tag"),
        ({"child": {"x": "child"}}, "constant"),
    ],
)
def test_the_first_source_with_a_value_counts(given: dict[str, Any], expected: str) -> None:
    environ = given.pop("environ", {})
    assert tagged({"x": FROM_EVERYWHERE}, trace_of(**given), environ=environ) == {"x": expected}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"tags": {"old": "a", "other": "o"}}, {"x": "a", "other": "o"}),
        ({"tags": {"x": "x", "old": "a"}}, {"x": "x"}),
        ({"root": {"older": "b"}}, {"x": "b"}),
        ({"root": {"mlflow.traceTag.old": "c", "x": "x"}}, {"x": "c"}),
        ({}, {"x": "default"}),
    ],
)
def test_aliases_lead_to_the_one_name(given: dict[str, Any], expected: dict[str, str]) -> None:
    assert tagged({"x": {"aliases": ["old", "older"], "default": "default"}}, trace_of(**given)) == expected


def test_a_tag_without_any_value_is_not_written() -> None:
    assert tagged({"x": {}, "y": {"type": "csv"}}, trace_of({"y": " , "})) == {}


def test_the_resource_of_the_root_comes_first() -> None:
    trace = trace_of(resource={"team": "of the root"})
    other = ExportTraceServiceRequest()
    spans = other.resource_spans.add()
    fill(spans.resource.attributes, {"team": "of another", "zone": "z"})
    spans.scope_spans.add().spans.add(trace_id=TRACE_ID, span_id=b"other---", parent_span_id=b"root----")
    other.MergeFrom(trace.batch)
    tags = {"team": {"from": [{"resource": "team"}]}, "zone": {"from": [{"resource": "zone"}]}}
    assert tagged(tags, Trace(TRACE_ID, other)) == {"team": "of the root", "zone": "z"}


def test_without_a_root_the_earliest_span_with_its_parent_elsewhere_stands_in() -> None:
    trace = trace_of()
    trace.batch.resource_spans[0].scope_spans[0].ClearField("spans")
    spans = trace.batch.resource_spans[0].scope_spans[0].spans
    for span_id, parent, start in (
        (b"inner---", b"top-----", 1),
        (b"later---", b"remote--", 9),
        (b"top-----", b"remote--", 5),
    ):
        span = spans.add(trace_id=TRACE_ID, span_id=span_id, parent_span_id=parent, start_time_unix_nano=start)
        put(span.attributes, "x", span_id.decode())
    assert tagged({"x": {}, "y": {"default": "d"}}, trace) == {"x": "top-----", "y": "d"}


@pytest.mark.parametrize("batch", [ExportTraceServiceRequest()])
def test_a_trace_without_spans_has_what_needs_none(batch: ExportTraceServiceRequest) -> None:
    assert tagged({"x": FROM_EVERYWHERE}, Trace(TRACE_ID, batch)) == {"x": "constant"}
    assert TagSchema(TagSchemaConfig(), {})(Trace(TRACE_ID, batch)) is not None


# --- how it is written ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "value", "expected"),
    [
        ("str", "text", "text"),
        ("str", 3, "3"),
        ("str", 0.5, "0.5"),
        ("str", True, "true"),
        ("str", ["a", 1], '["a", 1]'),
        ("str", {"é": None}, '{"é": null}'),
        ("str", b"bytes\xff", "bytes\ufffd"),
        ("int", 3, "3"),
        ("int", " 42 ", "42"),
        ("int", "-7", "-7"),
        ("int", 4.0, "4"),
        ("float", 1, "1.0"),
        ("float", "0.90", "0.9"),
        ("float", 1e-7, "1e-07"),
        ("bool", True, "true"),
        ("bool", "False", "false"),
        ("bool", "yes", "true"),
        ("bool", 0, "false"),
        ("csv", "a, b,,c ", "a,b,c"),
        ("csv", ["a", "b"], "a,b"),
        ("csv", '["a", "b"]', "a,b"),
        ("csv", "[a, b", "a,b"),
        ("csv", [1, True], "1,true"),
        ("csv", 5, "5"),
    ],
)
def test_a_type_is_written_in_one_way(type_: str, value: Any, expected: str) -> None:
    assert tagged({"x": {"type": type_}}, trace_of({"x": value})) == {"x": expected}


@pytest.mark.parametrize(
    ("type_", "value", "kept"),
    [
        ("int", "many", "many"),
        ("int", 1.5, "1.5"),
        ("int", True, "true"),
        ("int", [1], "[1]"),
        ("float", "nan", "nan"),
        ("float", float("inf"), "inf"),
        ("float", "1,5", "1,5"),
        ("bool", "maybe", "maybe"),
        ("bool", 2, "2"),
    ],
)
def test_what_is_not_of_the_type_is_kept_and_told(type_: str, value: Any, kept: str) -> None:
    told: list[tuple[str, str]] = []
    config = TagSchemaConfig(schema={"tags": {"x": {"type": type_}}})
    trace = trace_of({"x": value})
    TagSchema(config, {}, lambda *violation: told.append(violation))(trace)
    assert trace.tags == {"x": kept}
    assert told == [("x", "type")]


# --- what a violation does --------------------------------------------------------------------------------------------

CHECKED = {
    "team": {"allowed": ["payments", "search"]},
    "order": {"pattern": "[A-Z]{2}[0-9]+"},
    "areas": {"type": "csv", "allowed": ["a", "b"]},
    "size": {"type": "int", "allowed": [1, 2]},
    "who": {"required": True},
}
WRONG = {"team": "sales", "order": "XX12 ", "areas": "a,c", "size": "03"}
RIGHT = {"team": "search", "order": "XX12", "areas": "b,a", "size": "02", "who": "me"}
BROKEN = [("team", "allowed"), ("order", "pattern"), ("areas", "allowed"), ("size", "allowed"), ("who", "required")]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("keep", {"team": "sales", "order": "XX12 ", "areas": "a,c", "size": "3"}),
        (
            "tag",
            {
                "team": "sales",
                "order": "XX12 ",
                "areas": "a,c",
                "size": "3",
                "schema.violations": "team:allowed,order:pattern,areas:allowed,size:allowed,who:required",
            },
        ),
        ("drop_tag", {}),
        ("drop_trace", None),
    ],
)
def test_what_a_violation_does(action: str, expected: dict[str, str] | None) -> None:
    told: list[tuple[str, str]] = []
    config = TagSchemaConfig(schema={"tags": CHECKED, "on_violation": action})
    result = TagSchema(config, {}, lambda *violation: told.append(violation))(trace_of(WRONG))
    assert (result and result.tags) == expected
    assert told == BROKEN


@pytest.mark.parametrize("action", ["keep", "tag", "drop_tag", "drop_trace"])
def test_what_holds_to_the_schema_is_written(action: str) -> None:
    assert tagged(CHECKED, trace_of(RIGHT), on_violation=action) == {**RIGHT, "size": "2"}


def test_a_tag_may_say_its_own() -> None:
    tags = {"a": {"allowed": ["x"]}, "b": {"allowed": ["x"], "on_violation": "drop_tag"}}
    assert tagged(tags, trace_of({"a": "1", "b": "2"}), violations_tag="wrong") == {
        "a": "1",
        "wrong": "a:allowed,b:allowed",
    }
    tags["a"]["on_violation"] = "drop_trace"
    assert schema_of(tags)(trace_of({"a": "1"})) is None
    assert schema_of(tags)(trace_of({"b": "1"})) is not None


def test_a_dropped_value_makes_room_for_the_next_source_and_then_for_the_default() -> None:
    tags = {"x": {"type": "int", "from": [{"root": "a"}, {"root": "b"}], "default": 9, "on_violation": "drop_tag"}}
    assert tagged(tags, trace_of({"a": "?", "b": 2})) == {"x": "2"}
    assert tagged(tags, trace_of({"a": "?"})) == {"x": "9"}
    assert tagged(tags, trace_of(tags={"x": "?"})) == {"x": "9"}


def test_a_required_tag_with_a_default_is_never_missing() -> None:
    assert tagged({"x": {"required": True, "default": 0, "type": "int"}}, trace_of(), on_violation="drop_trace") == {
        "x": "0"
    }


# --- which schema takes a trace ---------------------------------------------------------------------------------------


def test_schemas_from_yaml() -> None:
    config = TagSchemaConfig.model_validate(yaml.safe_load((FOLDER / "schemas.yaml").read_text()))
    apply = TagSchema(config, {"TEAM": "search"})

    checkout = apply(trace_of({"order.total": 12}, resource={"service.name": "checkout-api"}))
    assert checkout is not None
    assert checkout.tags["order_value"] == "12.0"
    assert checkout.tags["team"] == "search"
    assert checkout.tags["environment"] == "dev"
    assert checkout.tags["schema.violations"] == "user_id:required,order_id:required"

    batch = apply(trace_of(resource={"service.name": "nightly", "deployment.environment.name": "test-7"}))
    assert batch is not None
    assert batch.tags == {"job": "nightly"}

    other = apply(trace_of(resource={"service.name": "shop", "deployment.environment.name": "prod"}))
    assert other is not None
    assert other.tags["environment"] == "prod"
    assert "team" not in other.tags


@pytest.mark.parametrize(
    ("when", "resource", "taken"),
    [
        ({}, {}, True),
        ({"service.name": "checkout*"}, {"service.name": "checkout"}, True),
        ({"service.name": "checkout*"}, {"service.name": "the-checkout"}, False),
        ({"service.name": "checkout*"}, {}, False),
        ({"service.name": "a?c"}, {"service.name": "abc"}, True),
        ({"service.name": "a.c"}, {"service.name": "abc"}, False),
        ({"service.name": ["a", "b*"]}, {"service.name": "bee"}, True),
        ({"service.name": ["a", "b*"]}, {"service.name": "ab"}, False),
        ({"service.name": "*", "zone": "1"}, {"service.name": "x", "zone": 1}, True),
        ({"service.name": "*", "zone": "1"}, {"service.name": "x", "zone": 2}, False),
    ],
)
def test_when(when: dict[str, Any], resource: dict[str, Any], taken: bool) -> None:
    apply = TagSchema(TagSchemaConfig(schemas=[{"when": when, "tags": {"x": {"default": "y"}}}]), {})
    trace = apply(trace_of(resource=resource))
    assert trace is not None
    assert trace.tags == ({"x": "y"} if taken else {})


def test_extending_keeps_the_standard_and_replaces_by_name() -> None:
    tags = tagged(
        {"environment": {"default": "lab"}, "extra": {"default": 1}},
        trace_of({"user.id": "u"}, resource={"deployment.environment.name": "prod"}),
        extends="standard",
    )
    assert (tags["environment"], tags["extra"], tags["user_id"], tags["session_id"]) == ("lab", "1", "u", "none")


# --- late parts -------------------------------------------------------------------------------------------------------

LATE = {
    "x": {"from": [{"root": "r"}, {"span": "s"}, {"resource": "res"}], "default": "d", "required": True},
    "has_error": {"from": [{"computed": "has_error"}]},
    "n": {"type": "int", "required": True, "on_violation": "drop_trace"},
}


def rootless(trace: Trace) -> Trace:
    for span in trace.batch.resource_spans[0].scope_spans[0].spans:
        span.parent_span_id = b"elsewher"
    return trace


def test_of_a_late_part_only_what_it_says_itself_is_written() -> None:
    everywhere = {"root": {"s": "s"}, "child": {"s": "s"}, "resource": {"res": "res"}}
    assert tagged(LATE, trace_of(**everywhere, late=True)) == {}
    assert tagged(LATE, trace_of({"r": "r"}, late=True)) == {"x": "r"}
    assert tagged(LATE, trace_of({"x": "own"}, late=True)) == {"x": "own"}
    assert tagged(LATE, rootless(trace_of({"x": "x", "r": "r"}, late=True))) == {}
    assert tagged(LATE, rootless(trace_of(late=True, tags={"n": "7 "}))) == {"n": "7"}


def test_a_late_part_is_not_dropped_and_its_wrong_value_not_written() -> None:
    assert tagged(LATE, trace_of({"n": "many"}, late=True)) == {}


# --- configuration ----------------------------------------------------------------------------------------------------


def tag(**config: Any) -> dict[str, Any]:
    return {"schema": {"tags": {"x": config}}}


@pytest.mark.parametrize(
    ("config", "path", "words"),
    [
        (tag(type="integer"), "schema.tags.x.type", "Input should be 'str', 'int', 'float', 'bool' or 'csv'"),
        (tag(pattern="("), "schema.tags.x.pattern", "'(' is not an RE2 regular expression"),
        (tag(pattern="(?=x)"), "schema.tags.x.pattern", "is not an RE2"),
        (tag(type="int", default="many"), "schema.tags.x", "default 'many' breaks the tag's own `type`"),
        (tag(allowed=["a"], default="b"), "schema.tags.x", "default 'b' breaks the tag's own `allowed`"),
        (tag(pattern="a+", default="b"), "schema.tags.x", "default 'b' breaks the tag's own `pattern`"),
        (tag(type="csv", allowed=["a"], default=["a", "b"]), "schema.tags.x", "breaks the tag's own `allowed`"),
        (tag(type="bool", **{"from": [{"constant": "maybe"}]}), "schema.tags.x", "constant 'maybe' breaks"),
        (tag(type="int", allowed=[1, "two"]), "schema.tags.x", "allowed value 'two' is no int"),
        (tag(on_violation="drop"), "schema.tags.x.on_violation", "'keep', 'tag', 'drop_tag' or 'drop_trace'"),
        (tag(require=True), "schema.tags.x.require", "Extra inputs"),
        (
            tag(**{"from": [{"computed": "cost"}]}),
            "schema.tags.x.from.0.computed",
            "'cost' can't be computed; there are",
        ),
        (tag(**{"from": [{"root": "a", "span": "b"}]}), "schema.tags.x.from.0", "a source is one of root, span"),
        (tag(**{"from": [{}]}), "schema.tags.x.from.0", "a source is one of"),
        (tag(**{"from": [{"attribute": "a"}]}), "schema.tags.x.from.0.attribute", "Extra inputs"),
        (tag(**{"from": "root"}), "schema.tags.x.from", "tuple"),
        (tag(aliases=["x"]), "schema", "'x' is both the tag x and an alias of x"),
        (tag(aliases=["a", "a"]), "schema", "'a' is both an alias of x and an alias of x"),
        ({"schema": {"tags": {"x": {"aliases": ["y"]}, "y": {}}}}, "schema", "'y' is both an alias of x and the tag y"),
        (
            {"schema": {"extends": "standard", "tags": {"x": {"aliases": ["confidence"]}}}},
            "schema",
            "'confidence' is both the tag confidence and an alias of x",
        ),
        ({"schema": {"tags": {"schema.violations": {}}}}, "schema", "both the list of violations and the tag"),
        ({"schema": {"tags": {"a@b": {}}}}, "schema", "'a@b' is no tag name"),
        ({"schema": {"tags": {"mlflow.user": {}}}}, "schema", "'mlflow.user' is no tag name"),
        ({"schema": {"tags": {"y" * 251: {}}}}, "schema", "is no tag name"),
        ({"schema": {}}, "schema", "a schema without tags does nothing"),
        ({"schema": "standart"}, "schema", "there is no schema 'standart'; write `standard`"),
        ({"schemas": [{"extends": "other"}]}, "schemas.0.extends", "Input should be 'standard'"),
        (
            {"schemas": [{"extends": "standard"}, {"name": "b", "extends": "standard"}]},
            "",
            "schemas.0 takes every trace, so b is never reached",
        ),
        ({"schema": "standard", "schemas": [{"tags": {"x": {}}}]}, "", "so standard is never reached"),
        ({"schemas": [{"tags": {"x": {}}, "when": {"service.name": 7}}]}, "schemas.0.when.service.name.str", "string"),
    ],
)
def test_a_wrong_schema_is_refused(config: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        TagSchemaConfig.model_validate(config)
    error = refused.value.errors()[0]
    assert ".".join(map(str, error["loc"])) == path
    assert words in error["msg"]


def test_without_any_key_the_schema_is_the_standard_one() -> None:
    assert [schema.name for schema in TagSchemaConfig().in_order] == ["standard"]
    assert [schema.name for schema in TagSchemaConfig(schema="standard").in_order] == ["standard"]


def test_the_batch_is_left_as_it_was() -> None:
    trace = trace_of({"user.id": "u", "domains": "a,b"}, resource={"a": "b"})
    before = Span()
    before.CopyFrom(trace.batch.resource_spans[0].scope_spans[0].spans[0])
    TagSchema(TagSchemaConfig(), {})(trace)
    assert trace.batch.resource_spans[0].scope_spans[0].spans[0] == before
