"""Redaction: which rule decides, where it looks, what it leaves valid, and what it does when something goes wrong."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pydantic import ValidationError

from spanbridge.processors.attributes import as_dict, assign, put
from spanbridge.processors.redaction import DETECTORS, Redaction, RedactionConfig
from spanbridge.processors.redaction.config import pattern_set

EMAIL = "bob@example.com"
CARD = "4111111111111111"


def request_of(**attributes: Any) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="chat", trace_id=b"t" * 16, span_id=b"s" * 8)
    for key, value in attributes.items():
        put(span.attributes, key, value)
    return request


def span_of(request: ExportTraceServiceRequest) -> Span:
    return request.resource_spans[0].scope_spans[0].spans[0]


def redacted(config: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return as_dict(span_of(Redaction(RedactionConfig(**config))(request_of(**attributes))).attributes)


# --- where it looks ------------------------------------------------------------------------------------------------


def filled_batch(text: str) -> ExportTraceServiceRequest:
    """A request with the text in every place that holds text."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add(schema_url=text)
    put(resource.resource.attributes, "a", text)
    resource.resource.entity_refs.add(schema_url=text, type=text, id_keys=[text], description_keys=[text])
    scope = resource.scope_spans.add(schema_url=text)
    scope.scope.name = scope.scope.version = text
    put(scope.scope.attributes, "a", text)
    span = scope.spans.add(name=text, trace_state=text, trace_id=b"t" * 16, span_id=b"s" * 8)
    span.status.message = text
    fill(span.attributes, text)
    fill(span.events.add(name=text).attributes, text)
    fill(span.links.add(trace_state=text).attributes, text)
    return request


def filled_logs(text: str) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add(schema_url=text)
    put(resource.resource.attributes, "a", text)
    scope = resource.scope_logs.add(schema_url=text)
    scope.scope.name = text
    for body in (text, [text], {"a": {"b": text}}, text.encode()):
        record = scope.log_records.add(event_name=text, severity_text=text)
        fill(record.attributes, text)
        assign(record.body, body)
    return request


def fill(attributes: Any, text: str) -> None:
    put(attributes, "string", text)
    put(attributes, "bytes", b"\xff " + text.encode())
    put(attributes, "list", [1, [text], {"a": text}])
    put(attributes, "map", {"a": {"b": [text]}, text: 1})
    put(attributes, "json", json.dumps({"a": [text], text: json.dumps([json.dumps({"b": text})])}))
    put(attributes, "mlflow.spanInputs", f"Say {text}!")
    put(attributes, text, 1)


@pytest.mark.parametrize("filled", [filled_batch, filled_logs])
@pytest.mark.parametrize("config", [{"detectors": ["email"]}, {"detectors": ["email"], "redact_all_types": True}])
def test_no_place_is_left_out(filled: Any, config: dict[str, Any]) -> None:
    request = Redaction(RedactionConfig(**config))(filled(EMAIL))
    assert EMAIL.encode() not in request.SerializeToString()
    assert request == filled("****")


def test_ids_numbers_and_order_stay() -> None:
    request = request_of(a="x", b=7, c=EMAIL, d=1.5, e=True)
    before = span_of(request).start_time_unix_nano
    after = span_of(Redaction(RedactionConfig())(request))
    assert (after.trace_id, after.span_id, after.start_time_unix_nano) == (b"t" * 16, b"s" * 8, before)
    assert list(as_dict(after.attributes).items()) == [("a", "x"), ("b", 7), ("c", "****"), ("d", 1.5), ("e", True)]


def test_fields_that_otlp_does_not_know_are_dropped() -> None:
    request = request_of(a="x")
    unknown = b"\xfa\x3e" + bytes([len(EMAIL)]) + EMAIL.encode()  # field 1007, length-delimited
    smuggled = ExportTraceServiceRequest.FromString(request.SerializeToString() + unknown)
    assert EMAIL.encode() in smuggled.SerializeToString()
    assert EMAIL.encode() not in Redaction(RedactionConfig())(smuggled).SerializeToString()


@pytest.mark.parametrize(
    ("value", "all_types", "expected"),
    [
        (int(CARD), False, int(CARD)),
        (int(CARD), True, "****"),
        (float(CARD), True, "****.0"),
        ([int(CARD), 7], True, ["****", 7]),
        (1732106400000, True, 1732106400000),
        (0.25, True, 0.25),
        (True, True, True),
        (CARD.encode(), False, b"****"),
    ],
)
def test_values_that_are_no_text(value: Any, all_types: bool, expected: Any) -> None:
    assert redacted({"detectors": "all", "redact_all_types": all_types}, a=value) == {"a": expected}


# --- JSON ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f'{{"a": "to {EMAIL}!", "b": 1.50}}', '{"a": "to ****!", "b": 1.5}'),
        (f'{{"a":"{EMAIL}","b":[null,true]}}', '{"a":"****","b":[null,true]}'),
        (f'{{"card": {CARD}, "at": 1732106400000}}', '{"card": "****", "at": 1732106400000}'),
        (f'["\\u00e9 {EMAIL}"]', '["\\u00e9 ****"]'),
        (f'["\\ud83d {EMAIL}"]', '["\\ud83d ****"]'),
        ('["bob\\u0040example.com"]', '["****"]'),
        ('["https:\\/\\/u:pw@host\\/"]', '["https://****@host/"]'),
        (json.dumps(["bob@bücher.example"]), '["****"]'),
        ('{"a@b.co": 1, "c@d.co": 2, "e@f.co": 3}', '{"****": 1, "****-2": 2, "****-3": 3}'),
        (json.dumps({"a": json.dumps({"b": int(CARD)})}), json.dumps({"a": json.dumps({"b": "****"})})),
        (json.dumps(f"line\n{CARD}"), json.dumps("line\n****")),
        (f'{{"a": 1, "a": "x", "a": "{EMAIL}", "a": 2}}', '{"a": 1, "a": "x", "a": "****", "a": 2}'),
        # what a limit on attribute length has cut off
        (f'{{"a": "line\\n{CARD} and bob\\u0040example.com, then', '{"a": "line\\n**** and ****, then'),
        (f'{{"a": "{{\\"b\\": \\"\\\\n{CARD}', '{"a": "{\\"b\\": \\"\\\\n****'),
        (f'{{"a": 1{"0" * 5000}, "b": "{EMAIL}"}}', f'{{"a": 1{"0" * 5000}, "b": "****"}}'),
    ],
)
def test_json_in_a_string_stays_what_it_was(text: str, expected: str) -> None:
    assert redacted({"detectors": "all"}, a=text) == {"a": expected}


def test_json_without_a_find_is_not_rewritten() -> None:
    text = '{ "b":1.50,"a" : "\\u0041@home", "x": "sk-learn-pipeline-model-selection" }'
    assert redacted({"detectors": "all"}, a=text) == {"a": text}


# --- keys ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "kept"),
    [
        ({}, {"a", "b", "c"}),
        ({"detectors": ["email"]}, {"a", "b", "c"}),
        ({"blocked_values": ["x"]}, {"a", "b", "c"}),
        ({"allow_all_keys": True, "allowed_keys": ["a"]}, {"a", "b", "c"}),
        ({"allowed_keys": ["a", "b"]}, {"a", "b"}),
        ({"allowed_keys": ["a"], "detectors": "all"}, {"a"}),
        ({"allowed_keys": ["a"], "ignored_keys": ["b"]}, {"a", "b"}),
        ({"allowed_keys": ["a"], "ignored_key_patterns": ["^c$"]}, {"a", "c"}),
        ({"allow_all_keys": False}, set()),
        ({"allow_all_keys": False, "detectors": "all"}, set()),
    ],
)
def test_which_keys_stay(config: dict[str, Any], kept: set[str]) -> None:
    assert set(redacted(config, a=1, b=2, c=3)) == kept


def test_allowed_keys_are_about_attributes_not_about_what_is_in_them() -> None:
    value = {"role": "user", "content": "hi"}
    assert redacted({"allowed_keys": ["a"]}, a=value, b=1) == {"a": value}


def test_allowed_keys_are_about_a_body_that_is_a_map() -> None:
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add()
    assign(record.body, {"content": {"any": 1}, "secret": 2})
    Redaction(RedactionConfig(allowed_keys=["content"]))(logs)
    assert as_dict(record.body.kvlist_value.values) == {"content": {"any": 1}}


BLOCKED = {"blocked_key_patterns": ["(?i)password", "^pin$"]}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"db.Password": "hunter2"}, {"db.Password": "****"}),
        ({"pin": 1234}, {"pin": "****"}),
        ({"pin": ""}, {"pin": "****"}),
        ({"pin": [1, {"a": 2}]}, {"pin": "****"}),
        ({"spin": 1}, {"spin": 1}),
        ({"a": {"b": {"pin": 1}}}, {"a": {"b": {"pin": "****"}}}),
        ({"a": [{"password": "x"}]}, {"a": [{"password": "****"}]}),
        ({"a": '{"b":[{"pin":1,"c":2}]}'}, {"a": '{"b":[{"pin":"****","c":2}]}'}),
        ({"a": '{"\\u0070in": {"b": 1}}'}, {"a": '{"pin": "****"}'}),
        (
            {"a": json.dumps({"b": json.dumps({"password": "x"})})},
            {"a": json.dumps({"b": json.dumps({"password": "****"})})},
        ),
    ],
)
def test_blocked_keys_at_every_depth(given: dict[str, Any], expected: dict[str, Any]) -> None:
    assert redacted(BLOCKED, **given) == expected


def test_blocked_keys_without_anchors_are_found_at_every_depth() -> None:
    text = json.dumps({"b": json.dumps({"password": "x"}), "c": 1})
    expected = json.dumps({"b": json.dumps({"password": "****"}), "c": 1})
    assert redacted({"blocked_key_patterns": ["passw"]}, a=text, password=1) == {"a": expected, "password": "****"}


def test_ignored_keys_are_left_as_they_are() -> None:
    config = {"ignored_keys": ["a"], "ignored_key_patterns": ["^safe\\."], "detectors": ["email"], **BLOCKED}
    given = {"a": EMAIL, "safe.password": EMAIL, "b": {"a": EMAIL, "c": EMAIL}, "d": f'{{"a": "{EMAIL}"}}'}
    expected = {"a": EMAIL, "safe.password": EMAIL, "b": {"a": EMAIL, "c": "****"}, "d": '{"a": "****"}'}
    assert redacted(config, **given) == expected


# --- values --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "text", "expected"),
    [
        (["4[0-9]{12}(?:[0-9]{3})?"], "visa 4111111111111111.", "visa ****."),
        (["^internal"], "internal internal", "**** internal"),
        (["..."], "secret", "****"),
        (["(se)cret"], "a secret", "a ****"),
        ([".*"], "one\ntwo", "****\n****"),
        (["x*"], "aaa", "aaa"),
        (["."], "****", "****"),
        (["müller"], '{"a": "m\\u00fcller"}', '{"a": "****"}'),
        ([r"C:\\\w+"], '{"a": "C:\\\\bob"}', '{"a": "****"}'),
        ([r'"ssn": \d+'], '{"ssn": 1, "a": 2}', '{****, "a": 2}'),
        ([r"\d{5}"], '{"zip": 12345}', '{"zip": "****"}'),
        (["x[[:a]", "b:]y"], "xa and b:]y", "**** and ****"),  # joined to one they would be a third
    ],
)
def test_blocked_values(patterns: list[str], text: str, expected: str) -> None:
    assert redacted({"blocked_values": patterns}, a=text) == {"a": expected}
    assert redacted({"blocked_values": patterns}, a=expected) == {"a": expected}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("help@mycompany.com", "help@mycompany.com"),
        (f"help@mycompany.com or {EMAIL}", "help@mycompany.com or ****"),
        (f'{{"a": "help@mycompany.com {EMAIL}"}}', '{"a": "help@mycompany.com ****"}'),
    ],
)
def test_what_an_allowed_value_covers_stays_and_nothing_besides(text: str, expected: str) -> None:
    config = {"detectors": ["email"], "allowed_values": [r"[a-z]+@mycompany\.com"]}
    assert redacted(config, a=text) == {"a": expected}


def test_an_allowed_value_under_a_blocked_key() -> None:
    config = {**BLOCKED, "allowed_values": ["^none$", "^7$"]}
    assert redacted(config, password="none", pin=7, db_password="none!") == {
        "password": "none",
        "pin": 7,
        "db_password": "****",
    }


@pytest.mark.parametrize(
    ("function", "digest"),
    [
        ("sha1", lambda b: hashlib.sha1(b).hexdigest()),
        ("sha3", lambda b: hashlib.sha3_256(b).hexdigest()),
        ("md5", lambda b: hashlib.md5(b).hexdigest()),
        ("hmac-sha256", lambda b: hmac.new(b"k", b, "sha256").hexdigest()),
        ("hmac-sha512", lambda b: hmac.new(b"k", b, "sha512").hexdigest()),
    ],
)
def test_digests_in_the_place_of_the_mask(function: str, digest: Any) -> None:
    config = {"detectors": ["email"], "hash_function": function, "hmac_key": "k", **BLOCKED}
    assert redacted(config, a=f"to {EMAIL}.", pin=7, b=f'{{"password": "{EMAIL}"}}') == {
        "a": f"to {digest(EMAIL.encode())}.",
        "pin": digest(b"7"),
        "b": f'{{"password": "{digest(EMAIL.encode())}"}}',
    }


# --- summary and counts --------------------------------------------------------------------------------------------

SUMMARIZED = {
    "allowed_keys": ["m", "n", "ok", "plain"],
    "ignored_keys": ["i"],
    "detectors": ["email"],
    "allowed_values": ["^ok@"],
    "blocked_key_patterns": ["^n$"],
}


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("silent", {}),
        ("info", {"masked.count": 2, "redacted.count": 2, "ignored.count": 1}),
        (
            "debug",
            {
                "masked.count": 2,
                "masked.keys": "m,n",
                "redacted.count": 2,
                "redacted.keys": "****,x",
                "ignored.count": 1,
            },
        ),
    ],
)
def test_summary(level: str, expected: dict[str, Any]) -> None:
    given = {"m": EMAIL, "n": "x", "i": EMAIL, "x": 1, EMAIL: 1, "plain": "p"}
    request = Redaction(RedactionConfig(**SUMMARIZED, summary=level))(request_of(**given))
    attributes = as_dict(span_of(request).attributes)
    assert {k: v for k, v in attributes.items() if k.startswith("redaction.")} == {
        f"redaction.{key}": value for key, value in expected.items()
    }
    again = Redaction(RedactionConfig(**SUMMARIZED, summary=level))(request_of(**attributes))
    assert as_dict(span_of(again).attributes) == attributes


def test_summary_of_allowed_values_and_of_an_earlier_redaction() -> None:
    config = {"detectors": ["email"], "allowed_values": ["ok@x.com"], "summary": "debug"}
    attributes = redacted(config, a="ok@x.com", b=EMAIL, **{"redaction.masked.keys": "z", "redaction.masked.count": 3})
    assert attributes["redaction.allowed.keys"] == "a"
    assert attributes["redaction.allowed.count"] == 1
    assert (attributes["redaction.masked.keys"], attributes["redaction.masked.count"]) == ("b,z", 4)


def test_summary_of_a_log_body() -> None:
    logs = ExportLogsServiceRequest()
    scope = logs.resource_logs.add().scope_logs.add()
    text, mapped = scope.log_records.add(), scope.log_records.add()
    assign(text.body, EMAIL)
    assign(mapped.body, {"a": EMAIL, "b": 1})
    Redaction(RedactionConfig(detectors=["email"], summary="debug"))(logs)
    keys = [as_dict(record.attributes)["redaction.body.masked.keys"] for record in (text, mapped)]
    assert keys == ["body", "a"]


def test_every_mask_is_counted_by_its_rule() -> None:
    counts: dict[str, int] = {}
    config = RedactionConfig(
        allowed_keys=["a", "b", "pin"], detectors=["email", "credit_card"], blocked_values=["ACME"], **BLOCKED
    )
    given = {"a": f"{EMAIL} {EMAIL} ACME", "b": {"c": CARD, "pin": 1}, "pin": 1, "x": 1, "y": 1}
    Redaction(config, counts.__setitem__)(request_of(**given))
    assert counts == {"email": 2, "blocked_values": 1, "credit_card": 1, "blocked_key_patterns": 2, "allowed_keys": 2}


def test_nothing_found_nothing_counted() -> None:
    counts: dict[str, int] = {}
    Redaction(RedactionConfig(), counts.__setitem__)(request_of(a="hello"))
    assert counts == {}


# --- when something goes wrong ----------------------------------------------------------------------------------------


def test_what_cannot_be_read_to_its_end_is_masked() -> None:
    counts: dict[str, int] = {}
    deep = "[" * 5000 + f'"{EMAIL}"' + "]" * 5000
    request = Redaction(RedactionConfig(), counts.__setitem__)(request_of(a=deep, b="fine"))
    assert as_dict(span_of(request).attributes) == {"a": "****", "b": "fine"}
    assert counts == {"error": 1}


def test_a_span_name_that_cannot_be_read_is_masked() -> None:
    request = request_of()
    span_of(request).name = "[" * 5000 + f'"{EMAIL}"' + "]" * 5000
    assert span_of(Redaction(RedactionConfig())(request)).name == "****"


def test_a_value_nested_too_deep_is_masked() -> None:
    request = request_of(a=[], b="fine")
    value = span_of(request).attributes[0].value
    for _ in range(1500):
        value = value.array_value.values.add()
    value.string_value = EMAIL
    config = RedactionConfig(detectors=["email"], redact_all_types=True)
    assert as_dict(span_of(Redaction(config)(request)).attributes) == {"a": "****", "b": "fine"}


def test_a_search_that_came_to_its_end_says_so() -> None:
    patterns = pattern_set(["a", "b"])
    assert sorted(patterns.Match("xbx")) == [1, 2]
    assert patterns.Match("x") == [2]


@pytest.mark.parametrize("pattern", ["(x+x+)+y", "(x|xx)*y", "(.*)*y", "x{1,500}y", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_patterns_that_would_hang_a_backtracking_engine(pattern: str) -> None:
    text = "x" * 100_000
    began = time.perf_counter()
    assert redacted({"blocked_values": [pattern], "blocked_key_patterns": [pattern]}, a=text) == {"a": text}
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize(
    "text",
    ["a" * 300_000, "a@" * 100_000, "1 " * 100_000, "1" * 300_000, ":" * 200_000, "\\" * 200_000, "AB12 " * 50_000],
)
def test_long_texts_made_to_be_slow(text: str) -> None:
    began = time.perf_counter()
    redacted({"detectors": "all"}, a=f"{EMAIL} +1 415 555 0132 {CARD} DE89370400440532013000 ::1 {text} \\u0041")
    assert time.perf_counter() - began < 5


def test_many_finds_in_one_text() -> None:
    addresses = [f"u{n}@example.com" for n in range(10_000)]
    config = {"detectors": "all", "allowed_values": ["u[0-9]*7@"], "blocked_values": ["e.ample"]}
    began = time.perf_counter()
    left = redacted(config, a=" ".join(addresses), b=json.dumps(dict.fromkeys(addresses, 1)))
    assert time.perf_counter() - began < 10
    assert "@example" not in left["a"] + left["b"]
    assert len(json.loads(left["b"])) == len(addresses)


# --- configuration ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "path", "words"),
    [
        ({"blocked_values": ["ok", "("]}, "blocked_values.1", "'(' is not an RE2 regular expression (missing ): ()"),
        ({"blocked_key_patterns": ["(?=x)"]}, "blocked_key_patterns.0", "'(?=x)' is not an RE2"),
        ({"ignored_key_patterns": [r"(a)\1"]}, "ignored_key_patterns.0", "is not an RE2"),
        ({"allowed_values": ["[z-a]"]}, "allowed_values.0", "'[z-a]' is not an RE2"),
        ({"blocked_values": [".{900}"]}, "blocked_values.0", "is too costly"),
        ({"blocked_values": [rf"a{{900}}{n}" for n in range(90)]}, "", "too many or too large together"),
        ({"detectors": ["email", "emial"]}, "detectors", "there is no detector 'emial'; there are email, phone"),
        ({"detectors": "email"}, "detectors", "'email' is neither \"all\" nor a list of detectors"),
        ({"detectors": 7}, "detectors", "7 is neither"),
        ({"hash_function": "sha256"}, "hash_function", "sha1"),
        ({"hash_function": "hmac-sha256"}, "", "hash_function hmac-sha256 needs a key; set hmac_key"),
        ({"summary": "all"}, "summary", "debug"),
        ({"url_sanitizer": {"enabled": True, "attributes": ["url"]}}, "", "url_sanitizer and db_sanitizer are not"),
        ({"db_sanitizer": {"sql": {"enabled": True}}}, "", "url_sanitizer and db_sanitizer are not"),
        ({"blocked_keys": ["x"]}, "blocked_keys", "Extra inputs"),
    ],
)
def test_a_wrong_configuration_is_refused(config: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(ValidationError) as refused:
        RedactionConfig(**config)
    error = refused.value.errors()[0]
    assert ".".join(map(str, error["loc"])) == path
    assert words in error["msg"]


def test_the_configuration_of_contrib_is_accepted_and_keeps_its_secret() -> None:
    config = RedactionConfig(
        allow_all_keys=False,
        allowed_keys=["description", "group"],
        ignored_keys=["safe_attribute"],
        redact_all_types=True,
        blocked_key_patterns=[".*token.*", ".*api_key.*"],
        blocked_values=["4[0-9]{12}(?:[0-9]{3})?", "(5[1-5][0-9]{14})"],
        allowed_values=[".+@mycompany.com"],
        hash_function="hmac-sha512",
        hmac_key="swordfish",
        summary="debug",
        url_sanitizer={"enabled": False},
        db_sanitizer={"sql": {"enabled": False}},
    )
    assert config.active_detectors == ()
    assert "swordfish" not in repr(config) + config.model_dump_json()


def test_which_detectors_run() -> None:
    assert RedactionConfig().active_detectors == tuple(DETECTORS)
    assert RedactionConfig(detectors=None).active_detectors == tuple(DETECTORS)
    assert RedactionConfig(detectors="all").active_detectors == tuple(DETECTORS)
    assert RedactionConfig(detectors=["jwt", "email"]).active_detectors == ("email", "jwt")
    assert RedactionConfig(blocked_values=["x"]).active_detectors == ()
