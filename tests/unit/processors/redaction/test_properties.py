"""No planted secret survives anywhere in the bytes; redacting twice is redacting once; nothing makes it raise."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from spanbridge.processors.attributes import assign, put
from spanbridge.processors.redaction import DETECTORS, Redaction, RedactionConfig
from spanbridge.processors.redaction.detectors import luhn

UPPER, LOWER, DIGIT = "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz", "0123456789"
ALNUM, HEX = UPPER + LOWER + DIGIT, "0123456789abcdef"


def some(alphabet: str, low: int, high: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=low, max_size=high)


def joined(*parts: str | st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*(st.just(part) if isinstance(part, str) else part for part in parts)).map("".join)


def with_check_digit(number: str) -> str:
    return next(number + digit for digit in DIGIT if luhn(number + digit))


def german_iban(account: str) -> str:
    check = 98 - int(account + "131400") % 97
    return f"DE{check:02}{account}"


def grouped(number: str, separator: str) -> str:
    return separator.join(number[i : i + 4] for i in range(0, len(number), 4))


separators = st.sampled_from(["", " ", "-"])
area = joined(st.sampled_from("23456789"), some(DIGIT, 2, 2))
label = joined(some(ALNUM, 1, 8), some(ALNUM + "-", 0, 5), some(ALNUM, 1, 3))

SECRETS: dict[str, st.SearchStrategy[str]] = {
    "email": joined(
        some(ALNUM + "._%+-é", 1, 20).filter(lambda text: text.strip(".")),
        st.sampled_from(["@", "%40"]),
        joined(st.sampled_from(LOWER), label),
        ".",
        st.sampled_from(["com", "co.uk", "museum", "xn--p1ai", "рф"]),
    ),
    "phone": st.one_of(
        joined("+", st.sampled_from("123456789"), some(DIGIT, 9, 13)),
        st.tuples(
            area, area, some(DIGIT, 4, 4), st.sampled_from(["{}-{}-{}", "({}) {}-{}", "{}.{}.{}", "1-{}-{}-{}"])
        ).map(lambda parts: parts[3].format(*parts[:3])),
    ),
    "credit_card": st.tuples(
        st.one_of(joined("4", some(DIGIT, 14, 14)), joined("5", st.sampled_from("12345"), some(DIGIT, 13, 13))),
        separators,
    ).map(lambda parts: grouped(with_check_digit(parts[0]), parts[1])),
    "iban": st.tuples(some(DIGIT, 18, 18), separators).map(lambda parts: grouped(german_iban(parts[0]), parts[1])),
    "us_ssn": st.tuples(st.integers(1, 665), st.integers(1, 99), st.integers(1, 9999)).map(
        lambda parts: "{:03}-{:02}-{:04}".format(*parts)
    ),
    "ipv4": st.ip_addresses(v=4).map(str).filter(lambda text: not text.endswith(".0.0.0")),
    "ipv6": st.ip_addresses(v=6).map(str).filter(lambda text: any(char in DIGIT for char in text)),
    "jwt": joined("eyJ", some(ALNUM + "-_", 8, 40), ".", some(ALNUM + "-_", 8, 40), ".", some(ALNUM + "-_", 0, 40)),
    "bearer": joined("Bearer ", some(ALNUM, 16, 40)),
    "basic_auth": st.tuples(some(ALNUM, 1, 9), some(ALNUM, 1, 9)).map(lambda p: "Basic " + base64_of(f"{p[0]}:{p[1]}")),
    "url_credentials": joined("https://", some(ALNUM, 0, 9), ":", some(ALNUM + "!$", 1, 9), "@host/x"),
    "aws_key": st.one_of(
        joined("AKIA", some(UPPER + DIGIT, 16, 16)), joined("AWS_SECRET_ACCESS_KEY=", some(ALNUM + "+/", 40, 40))
    ),
    "azure_key": joined("AccountKey=", some(ALNUM + "+/", 86, 86), "=="),
    "anthropic_key": joined("sk-ant-api03-", some(ALNUM + "-_", 40, 90)),
    "openai_key": joined(st.sampled_from(["sk-", "sk-proj-"]), some(ALNUM, 20, 60)),
    "github_token": st.one_of(
        joined(st.sampled_from(["ghp_", "ghs_", "gho_"]), some(ALNUM, 36, 36)),
        joined("github_pat_", some(ALNUM + "_", 82, 82)),
    ),
    "gitlab_token": joined("glpat-", some(ALNUM + "-_", 20, 20)),
    "google_api_key": joined("AIza", some(ALNUM + "-_", 35, 35)),
    "slack_token": joined("xoxb-", some(DIGIT, 12, 12), "-", some(ALNUM, 24, 24)),
    "stripe_key": joined("sk_live_", some(ALNUM, 24, 99)),
    "huggingface_token": joined("hf_", some(ALNUM, 34, 34)),
    "databricks_token": joined("dapi", some(HEX, 32, 32)),
    "langsmith_key": joined("lsv2_pt_", some(HEX, 32, 32), "_", some(HEX, 10, 10)),
    "groq_key": joined("gsk_", some(ALNUM, 52, 52)),
    "nvidia_key": joined("nvapi-", some(ALNUM + "-_", 64, 64)),
    "npm_token": joined("npm_", some(ALNUM, 36, 36)),
    "sendgrid_key": joined("SG.", some(ALNUM + "-_", 22, 22), ".", some(ALNUM + "-_", 43, 43)),
    "private_key": joined(
        "-----BEGIN PRIVATE KEY-----\n",
        some(ALNUM + "+/", 64, 64),
        "\n",
        some(ALNUM, 9, 9),
        "=\n-----END PRIVATE KEY-----",
    ),
}


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def bare(secret: str) -> str:
    """The part of a secret that alone would be a secret."""
    for prefix in ("Bearer ", "Basic ", "AWS_SECRET_ACCESS_KEY=", "AccountKey=", "-----BEGIN PRIVATE KEY-----\n"):
        secret = secret.removeprefix(prefix)
    return secret.removeprefix("https://").removesuffix("@host/x").split("\n")[0]


words = st.sampled_from(
    ["", "call", "Paris\n", "x = 1;", "日本語", "naïve", "100%", "C:\\new", '"quoted"', "🙂", "\x00"]
)
before = st.sampled_from([" ", "\n", ": ", "(", "<", '"', "[", "\t", "日本 "])
after = st.sampled_from([" ", "\n", ", ", ")", ">", '"', "]", "\t", " 日本", "; "])


WRAPPINGS: list[Callable[[str], str]] = [
    lambda text: json.dumps({"messages": [{"role": "user", "content": text}]}),
    lambda text: json.dumps({"a": text, "at": 1732106400000}, ensure_ascii=False, separators=(",", ":")),
    lambda text: json.dumps([[text]], indent=1),
    lambda text: json.dumps({text: 1}),
    json.dumps,
    lambda text: "".join(f"\\u{ord(char):04x}" if ord(char) < 0x10000 else char for char in text),
    lambda text: json.dumps({"a": {"b": text}})[:-1],  # cut off
    lambda text: f"<p>{text}</p>",
]

PLACES: list[Callable[[Any, str], None]] = [
    lambda span, text: put(span.attributes, "gen_ai.input.messages", text),
    lambda span, text: put(span.attributes, "mlflow.spanInputs", [{"content": [text]}, 1]),
    lambda span, text: put(span.attributes, "map", {"a": {text: [text]}}),
    lambda span, text: put(span.attributes, "bytes", text.encode()),
    lambda span, text: put(span.attributes, text, 1),
    lambda span, text: put(span.events.add(name=text).attributes, "exception.message", text),
    lambda span, text: put(span.links.add(trace_state=text).attributes, "a", text),
    lambda span, text: setattr(span, "name", text),
    lambda span, text: setattr(span.status, "message", text),
]


def batch_with(places: list[Callable[[Any, str], None]], text: str) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name="chat")
    for place in places:
        place(span, text)
    return request


ALL = RedactionConfig(detectors="all")
CONFIGS = [
    ALL,
    RedactionConfig(detectors="all", redact_all_types=True, summary="debug"),
    RedactionConfig(detectors="all", blocked_values=["^never$"], blocked_key_patterns=["^none$"]),
    RedactionConfig(detectors="all", hash_function="hmac-sha256", hmac_key="k"),
]


def test_every_detector_has_secrets_to_plant() -> None:
    assert set(SECRETS) == set(DETECTORS)


@pytest.mark.parametrize("detector", DETECTORS)
@given(data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_planted_secret_survives(detector: str, data: st.DataObject) -> None:
    secret = data.draw(SECRETS[detector])
    text = data.draw(words) + data.draw(before) + secret + data.draw(after) + data.draw(words)
    for wrapping in data.draw(st.lists(st.sampled_from(WRAPPINGS), max_size=3)):
        text = wrapping(text)
    places = data.draw(st.lists(st.sampled_from(PLACES), min_size=1, max_size=3))
    redact = Redaction(data.draw(st.sampled_from(CONFIGS)))
    left = redact(batch_with(places, text)).SerializeToString()
    assert bare(secret).encode() not in left
    assert json.dumps(bare(secret))[1:-1].encode() not in left


@pytest.mark.parametrize("detector", DETECTORS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_json_with_a_secret_in_it_stays_json(detector: str, data: st.DataObject) -> None:
    secret = data.draw(SECRETS[detector])
    text = json.dumps({"a": [f"x {secret} y"], "n": json.dumps({"b": secret})}, ensure_ascii=data.draw(st.booleans()))
    request = Redaction(ALL)(batch_with([PLACES[0]], text))
    document = json.loads(request.resource_spans[0].scope_spans[0].spans[0].attributes[0].value.string_value)
    assert "****" in document["a"][0]
    assert "****" in json.loads(document["n"])["b"]


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.binary(max_size=30)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    | st.text('0123456789 -.:@+/\\"u{}[],abAB*', max_size=40)
    | st.one_of(*SECRETS.values()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), inner, max_size=3)
        | inner.map(lambda value: json.dumps(value, default=repr))
    ),
    max_leaves=8,
)
patterns = st.sampled_from(
    [
        ".",
        "..",
        "a",
        "^.",
        ".$",
        "[0-9]+",
        "\\*",
        "\\*a",
        "\\w+\\*",
        "(a|b)c*",
        '"',
        ":",
        "[{\\[]",
        "\\\\",
        "(?i)A",
        "\\bb",
    ]
)
configs = st.builds(
    RedactionConfig,
    detectors=st.just("all") | st.lists(st.sampled_from(list(DETECTORS)), max_size=3),
    allowed_keys=st.lists(st.sampled_from(["a", "b", "c"]), max_size=2),
    ignored_keys=st.lists(st.sampled_from(["a", "b"]), max_size=1),
    blocked_key_patterns=st.lists(patterns, max_size=2),
    blocked_values=st.lists(patterns, max_size=3),
    allowed_values=st.lists(patterns, max_size=1),
    redact_all_types=st.booleans(),
    summary=st.sampled_from(["silent", "info", "debug"]),
)


@given(configs, st.dictionaries(st.sampled_from(["a", "b", "c", "pin"]) | st.text("ab*@.", max_size=5), anything))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_redacting_twice_is_redacting_once(config: RedactionConfig, given_: dict[str, Any]) -> None:
    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add(name=str(given_)[:50])
    for key, value in given_.items():
        put(span.attributes, key, value)
    redact = Redaction(config)
    once = redact(request).SerializeToString()
    twice = redact(ExportTraceServiceRequest.FromString(once))
    assert twice.SerializeToString() == once


@given(configs, anything, anything)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_log_records_too(config: RedactionConfig, body: Any, value: Any) -> None:
    logs = ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add()
    assign(record.body, body)
    put(record.attributes, "c", value)
    redact = Redaction(config)
    once = redact(logs).SerializeToString()
    assert redact(ExportLogsServiceRequest.FromString(once)).SerializeToString() == once
