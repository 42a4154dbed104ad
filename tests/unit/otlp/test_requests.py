"""The codec: what is read, what is refused, what is answered."""

import base64
import contextlib
import gzip
import json
import math
import random
import zlib

import pytest
import zstandard
from google.protobuf.json_format import ParseDict
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status as RpcStatus
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from spanbridge.collector.errors import Busy, Forbidden, Invalid, Refusal, TooLarge, Unauthenticated
from spanbridge.collector.otlp import requests as otlp
from spanbridge.collector.otlp.compression import decompress
from spanbridge.collector.otlp.requests import Status
from spanbridge.processors.types import Batch, Logs, spans
from tests.paths import DATA
from tests.samples.otlp_requests import SPANS, as_json, batch, logs, message, nested_value

LIMIT = 64 << 20
CAPTURES = sorted((DATA / "captures").glob("vercel*.json"))


def decode_json(text, kind=Batch):
    return otlp.decode(kind, "json", text if isinstance(text, bytes) else json.dumps(text).encode(), LIMIT)


def span_json(**fields):
    return {"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]}


def value_json(**value):
    return span_json(attributes=[{"key": "k", "value": value}])


def first(request):
    return next(spans(request))


# --- the two encodings say the same -----------------------------------------------------------------------------------

text = st.text(max_size=12)
values = st.recursive(
    st.fixed_dictionaries({})
    | st.builds(lambda v: {"string_value": v}, text)
    | st.builds(lambda v: {"bool_value": v}, st.booleans())
    | st.builds(lambda v: {"int_value": v}, st.integers(-(1 << 63), (1 << 63) - 1))
    | st.builds(lambda v: {"double_value": v}, st.floats(allow_nan=False))
    | st.builds(lambda v: {"bytes_value": v}, st.binary(max_size=9)),
    lambda inner: (
        st.builds(lambda v: {"array_value": {"values": v}}, st.lists(inner, max_size=3))
        | st.builds(
            lambda v: {"kvlist_value": {"values": [{"key": k, "value": x} for k, x in v]}},
            st.lists(st.tuples(text, inner), max_size=3),
        )
    ),
    max_leaves=5,
)
attributes = st.lists(st.fixed_dictionaries({"key": text}, optional={"value": values}), max_size=3)
times = st.integers(0, (1 << 64) - 1)
counts = st.integers(0, (1 << 32) - 1)
ids = {"trace_id": st.binary(max_size=16), "span_id": st.binary(max_size=8)}
events = st.fixed_dictionaries({}, optional={"time_unix_nano": times, "name": text, "attributes": attributes})
links = st.fixed_dictionaries({}, optional={**ids, "trace_state": text, "attributes": attributes, "flags": counts})
any_span = st.fixed_dictionaries(
    {},
    optional={
        **ids,
        "parent_span_id": st.binary(max_size=8),
        "name": text,
        "kind": st.integers(0, 5),
        "start_time_unix_nano": times,
        "attributes": attributes,
        "dropped_attributes_count": counts,
        "events": st.lists(events, max_size=2),
        "links": st.lists(links, max_size=2),
        "status": st.fixed_dictionaries({}, optional={"code": st.integers(0, 2), "message": text}),
        "flags": counts,
    },
)
resources = st.fixed_dictionaries({}, optional={"attributes": attributes})
scopes = st.fixed_dictionaries({}, optional={"name": text, "attributes": attributes})
scope_spans = st.fixed_dictionaries(
    {"spans": st.lists(any_span, max_size=2)}, optional={"scope": scopes, "schema_url": text}
)
resource_spans = st.fixed_dictionaries(
    {"scope_spans": st.lists(scope_spans, max_size=1)}, optional={"resource": resources}
)
batches = resource_spans.map(lambda item: Batch(resource_spans=[item]))
slow_to_draw = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


@slow_to_draw
@given(batches)
def test_json_and_protobuf_agree(request_):
    assert otlp.decode(Batch, "protobuf", request_.SerializeToString(), LIMIT) == request_
    assert decode_json(as_json(request_)) == request_


def test_json_and_protobuf_agree_on_logs():
    request = logs(2)
    record = request.resource_logs[0].scope_logs[0].log_records[0]
    record.body.string_value, record.trace_id, record.severity_number = "hello", bytes(range(16)), 9
    assert decode_json(as_json(request), Logs) == request
    assert otlp.decode(Logs, "protobuf", request.SerializeToString(), LIMIT) == request


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.stem)
def test_what_the_javascript_exporter_sends_is_read_as_it_is(path):
    document = json.loads(path.read_bytes())
    request = decode_json(path.read_bytes())
    sent = [s for r in document["resourceSpans"] for scope in r["scopeSpans"] for s in scope["spans"]]
    assert [span.trace_id.hex() for span in spans(request)] == [s["traceId"] for s in sent]
    assert as_json(request)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] == sent[0]["name"]
    # protobuf's own parser, told of the hexadecimal ids, reads the same
    assert ParseDict(_base64_ids(document), Batch(), ignore_unknown_fields=True) == request


def _base64_ids(value):
    if isinstance(value, list):
        return [_base64_ids(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        k: base64.b64encode(bytes.fromhex(v)).decode() if k in ("traceId", "spanId", "parentSpanId") else _base64_ids(v)
        for k, v in value.items()
    }


def test_the_captures_are_there():
    assert len(CAPTURES) == 4


# --- OTLP/JSON, rule by rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"traceId": "5B8EFFF798038103D269B633813FC60C"},
            {"trace_id": bytes.fromhex("5b8efff798038103d269b633813fc60c")},
        ),
        ({"spanId": "eee19b7ec3c1b174"}, {"span_id": bytes.fromhex("eee19b7ec3c1b174")}),
        ({"parentSpanId": ""}, {"parent_span_id": b""}),
        ({"kind": 3}, {"kind": 3}),
        ({"kind": 77}, {"kind": 77}),
        ({"startTimeUnixNano": "1544712660000000000"}, {"start_time_unix_nano": 1544712660000000000}),
        ({"startTimeUnixNano": 1544712660000000000}, {"start_time_unix_nano": 1544712660000000000}),
        ({"endTimeUnixNano": 1.5e18}, {"end_time_unix_nano": 1500000000000000000}),
        ({"droppedEventsCount": "7"}, {"dropped_events_count": 7}),
        ({"name": "a", "span_id": "00", "someNewField": {"x": [1]}}, {"name": "a"}),
        ({"name": None, "kind": None, "attributes": None, "status": None}, {}),
        ({"name": "half \ud83d of it"}, {"name": "half \ufffd of it"}),
        ({"name": "\\ud83d stays text, \U0001f600 is whole"}, {"name": "\\ud83d stays text, \U0001f600 is whole"}),
    ],
)
def test_json_fields(fields, expected):
    read = first(decode_json(span_json(**fields)))
    assert {name: getattr(read, name) for name in expected} == expected
    assert {field.name for field, _ in read.ListFields()} == {name for name, value in expected.items() if value}


@pytest.mark.parametrize(
    ("value", "name", "expected"),
    [
        ({"intValue": "-9223372036854775808"}, "int_value", -(1 << 63)),
        ({"intValue": 12}, "int_value", 12),
        ({"intValue": 1 << 63}, "double_value", 2.0**63),
        ({"intValue": -1.7976931348623157e308}, "double_value", -1.7976931348623157e308),
        ({"doubleValue": 1}, "double_value", 1.0),
        ({"doubleValue": "1.5e3"}, "double_value", 1500.0),
        ({"doubleValue": "-Infinity"}, "double_value", -math.inf),
        ({"bytesValue": "+/8="}, "bytes_value", b"\xfb\xff"),
        ({"bytesValue": "-_8"}, "bytes_value", b"\xfb\xff"),
        ({"boolValue": False}, "bool_value", False),
        ({"stringValue": ""}, "string_value", ""),
    ],
)
def test_json_values(value, name, expected):
    read = first(decode_json(value_json(**value))).attributes[0].value
    assert read.WhichOneof("value") == name
    assert getattr(read, name) == expected


def test_json_knows_what_is_no_number():
    assert math.isnan(first(decode_json(value_json(doubleValue="NaN"))).attributes[0].value.double_value)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b'{"a":"\xff"}', "not valid JSON"),
        (b'{"resourceSpans":"\\ud83d', "not valid JSON"),
        (b'{"resourceSpans":NaN}', "not valid JSON"),
        ([], "must be a JSON object"),
        ({"resourceSpans": {}}, "resourceSpans must be a JSON array"),
        ({"resourceSpans": [None]}, "ResourceSpans must be a JSON object"),
        (span_json(kind="SPAN_KIND_CLIENT"), "kind must be an integer: OTLP/JSON has no names"),
        (span_json(kind=2.5), "kind must be an integer"),
        (span_json(kind=True), "kind must be an integer"),
        (span_json(traceId="W47/95gDgQPSabYzgT/GDA=="), "traceId must be hexadecimal"),
        (span_json(traceId="5b8efff798038103d269b633813fc60"), "traceId must be hexadecimal"),
        (span_json(traceId="5b 8e ff f7"), "traceId must be hexadecimal"),
        (span_json(traceId=5), "traceId must be a string"),
        (span_json(name=5), "name must be a string"),
        (span_json(startTimeUnixNano="-1"), "startTimeUnixNano must be an integer"),
        (span_json(startTimeUnixNano="1_0"), "startTimeUnixNano must be an integer"),
        (span_json(startTimeUnixNano="2024-01-01T00:00:00Z"), "startTimeUnixNano must be an integer"),
        (span_json(startTimeUnixNano=1 << 64), "startTimeUnixNano must be an integer"),
        (value_json(intValue=1.5), "intValue must be an integer"),
        (value_json(intValue=str(1 << 63)), "intValue must be an integer"),
        (value_json(boolValue="true"), "boolValue must be true or false"),
        (value_json(doubleValue="1e999"), "doubleValue must be a number"),
        (value_json(doubleValue="nan"), "doubleValue must be a number"),
        (value_json(bytesValue="!"), "bytesValue must be base64"),
        (value_json(arrayValue=[]), "ArrayValue must be a JSON object"),
    ],
)
def test_what_is_no_otlp_json_is_refused_with_its_field_and_without_its_value(document, reason):
    with pytest.raises(Invalid) as refused:
        decode_json(document)
    assert reason in str(refused.value)
    assert "W47" not in str(refused.value)


# --- nothing but a Refusal --------------------------------------------------------------------------------------------

names = st.sampled_from(
    [
        "resourceSpans",
        "scopeSpans",
        "spans",
        "resource",
        "scope",
        "attributes",
        "key",
        "value",
        "stringValue",
        "intValue",
        "doubleValue",
        "boolValue",
        "bytesValue",
        "arrayValue",
        "kvlistValue",
        "values",
        "traceId",
        "spanId",
        "name",
        "kind",
        "status",
        "code",
        "events",
        "links",
        "resourceLogs",
        "scopeLogs",
        "body",
    ]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
    max_leaves=15,
)
kinds = st.sampled_from([Batch, Logs])


@given(kinds, st.sampled_from(["protobuf", "json"]), st.binary(max_size=200))
def test_arbitrary_bytes_are_read_or_refused(kind, encoding, body):
    with contextlib.suppress(Refusal):
        assert isinstance(otlp.decode(kind, encoding, body, LIMIT), kind)


@given(kinds, st.dictionaries(names, json_values, max_size=3))
def test_arbitrary_json_is_read_or_refused(kind, document):
    try:
        request = decode_json(json.dumps(document).encode(), kind)
    except Refusal:
        return
    assert otlp.decode(kind, "protobuf", request.SerializeToString(), LIMIT) == request


@slow_to_draw
@given(batches, st.randoms(use_true_random=False))
def test_damaged_requests_are_read_or_refused(request_, chance: random.Random):
    body = bytearray(request_.SerializeToString())
    for _ in range(min(len(body), 3)):
        body[chance.randrange(len(body))] = chance.randrange(256)
    with contextlib.suppress(Refusal):
        otlp.decode(Batch, "protobuf", bytes(body), LIMIT)


@given(st.sampled_from(["gzip", "deflate", "zlib", "zstd"]), st.binary(max_size=300))
def test_arbitrary_bytes_unfold_or_are_refused(coding, body):
    with contextlib.suppress(Refusal):
        assert len(decompress(coding, body, 1000)) <= 1000


# --- nesting ----------------------------------------------------------------------------------------------------------


def nested_json(depth):
    value = '{"arrayValue":{"values":[' * depth + "{}" + "]}}" * depth
    return b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":[{"value":%b}]}]}]}]}' % value.encode()


@pytest.mark.parametrize("depth", [0, 1, 46, 47])
def test_nesting_is_read_as_deep_as_protobuf_reads_it(depth):
    read = decode_json(nested_json(depth))
    assert read == otlp.decode(Batch, "protobuf", nested_value(depth), LIMIT)
    assert otlp.decode(Batch, "protobuf", read.SerializeToString(), LIMIT) == read


@pytest.mark.parametrize("depth", [48, 49, 200, 330])
def test_deeper_nesting_is_refused_in_both_encodings(depth):
    with pytest.raises(Invalid):
        otlp.decode(Batch, "protobuf", nested_value(depth), LIMIT)
    with pytest.raises(Invalid, match="nested deeper than 100"):
        decode_json(nested_json(depth))


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"resourceSpans":' * 50_000, b'{"resourceSpans":' + b"[" * 5000])
def test_bottomless_json_is_refused(body):
    with pytest.raises(Invalid):
        decode_json(body)


# --- ids --------------------------------------------------------------------------------------------------------------

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))


@pytest.mark.parametrize(
    ("trace_id", "span_id", "good"),
    [
        (TRACE, SPAN, True),
        (bytes(15) + b"\1", bytes(7) + b"\1", True),
        (b"", SPAN, False),
        (TRACE, b"", False),
        (bytes(16), SPAN, False),
        (TRACE, bytes(8), False),
        (TRACE[:15], SPAN, False),
        (TRACE + b"x", SPAN, False),
        (TRACE, SPAN[:4], False),
        (TRACE, TRACE, False),
    ],
)
def test_spans_with_bad_ids_go_and_the_others_stay(trace_id, span_id, good):
    request = batch(2)
    request.resource_spans[0].scope_spans[0].spans.insert(1, first(Batch.FromString(batch().SerializeToString())))
    odd = request.resource_spans[0].scope_spans[0].spans[1]
    odd.trace_id, odd.span_id, odd.name = trace_id, span_id, "odd"
    assert otlp.drop_bad_ids(request) == (not good)
    assert [s.name for s in spans(request)] == (["span 1", "odd", "span 2"] if good else ["span 1", "span 2"])


def test_items_are_counted():
    assert (otlp.count(batch(3)), otlp.count(logs(2)), otlp.count(Batch()), otlp.count(Logs())) == (3, 2, 0, 0)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_a_full_success_leaves_partial_success_unset():
    assert otlp.encode_response(Batch, "json") == b"{}"
    assert otlp.encode_response(Logs, "json") == b"{}"
    response = ExportTraceServiceResponse.FromString(otlp.encode_response(Batch, "protobuf"))
    assert not response.HasField("partial_success")
    assert ExportLogsServiceResponse.FromString(otlp.encode_response(Logs, "protobuf")) == ExportLogsServiceResponse()


def test_a_partial_success_says_how_many_and_why():
    response = ExportTraceServiceResponse.FromString(otlp.encode_response(Batch, "protobuf", 3))
    assert response.partial_success.rejected_spans == 3
    assert otlp.BAD_IDS in response.partial_success.error_message
    plain = json.loads(otlp.encode_response(Batch, "json", 3))
    assert ParseDict(plain, ExportTraceServiceResponse()) == response


class Later(Busy):
    """A kind of Busy."""


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Busy("full"), Status(14, 503, "full", 1.0)),
        (Later("full", 0.25), Status(14, 503, "full", 0.25)),
        (Invalid("bad"), Status(3, 400, "bad")),
        (TooLarge("big"), Status(8, 413, "big")),
        (Unauthenticated("who"), Status(16, 401, "who")),
        (Forbidden("no"), Status(7, 403, "no")),
        (Refusal("no"), Status(14, 503, "no")),
        (RuntimeError("postgresql://user:secret@host"), Status(14, 503, "the request can't be taken in right now")),
        (Invalid("x" * 5000), Status(3, 400, "x" * 1000)),
    ],
)
def test_statuses(error, status):
    assert otlp.status_of(error) == status


@pytest.mark.parametrize(
    ("delay", "header", "text", "seconds", "nanos"),
    [(1.0, "1", "1s", 1, 0), (0.25, "1", "0.25s", 0, 250_000_000), (1.5, "2", "1.5s", 1, 500_000_000)],
)
def test_when_to_come_again_is_said_in_every_form(delay, header, text, seconds, nanos):
    status = Status(14, 503, "full", delay)
    assert status.retry_after_header == header
    rpc, info = RpcStatus.FromString(otlp.encode_status(status, "protobuf")), RetryInfo()
    assert rpc.details[0].Unpack(info)
    assert (rpc.code, rpc.message, info.retry_delay.seconds, info.retry_delay.nanos) == (14, "full", seconds, nanos)
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": text}
    assert json.loads(otlp.encode_status(status, "json")) == {"code": 14, "message": "full", "details": [detail]}


def test_a_status_without_delay_has_no_details():
    status = Status(3, 400, "bad")
    assert status.retry_after_header is None
    assert RpcStatus.FromString(otlp.encode_status(status, "protobuf")) == RpcStatus(code=3, message="bad")
    assert json.loads(otlp.encode_status(status, "json")) == {"code": 3, "message": "bad"}


# --- size -------------------------------------------------------------------------------------------------------------


def raw_deflate(data):
    squeezer = zlib.compressobj(wbits=-15)
    return squeezer.compress(data) + squeezer.flush()


def zstd_stream(data):
    return zstandard.ZstdCompressor(write_content_size=False).compress(data)


PACKERS = {
    "gzip": ("gzip", gzip.compress),
    "zlib": ("zlib", zlib.compress),
    "deflate in zlib": ("deflate", zlib.compress),
    "deflate raw": ("deflate", raw_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd stream": ("zstd", zstd_stream),
}
packers = pytest.mark.parametrize(("coding", "pack"), PACKERS.values(), ids=PACKERS)


@packers
@settings(max_examples=25)
@given(data=st.binary(max_size=100) | st.integers(0, 200_000).map(lambda n: b"spans " * n))
def test_what_was_packed_unfolds(coding, pack, data):
    packed = pack(data)
    assert decompress(coding, packed, len(data)) == data
    if data:
        with pytest.raises(TooLarge):
            decompress(coding, packed, len(data) - 1)


@packers
def test_a_cut_body_is_refused(coding, pack):
    packed = pack(random.Random(1).randbytes(5000))
    for end in (0, 1, len(packed) // 2, len(packed) - 1):
        with pytest.raises(Invalid):
            decompress(coding, packed[:end], LIMIT)


@pytest.mark.parametrize(("coding", "pack"), [PACKERS["gzip"], PACKERS["zstd"], PACKERS["zstd stream"]])
def test_members_may_follow_one_another_but_not_without_end(coding, pack):
    assert decompress(coding, pack(b"a" * 40_000) + pack(b"") + pack(b"b"), LIMIT) == b"a" * 40_000 + b"b"
    with pytest.raises(TooLarge):
        decompress(coding, pack(b"a" * 60) + pack(b"b" * 60), 100)
    with pytest.raises(Invalid, match="goes on"):
        decompress(coding, pack(b"") * 10_001, LIMIT)


@pytest.mark.parametrize(("coding", "pack"), PACKERS.values(), ids=PACKERS)
def test_what_follows_the_end_is_refused(coding, pack):
    with pytest.raises(Invalid):
        decompress(coding, pack(b"spans") + b"\0garbage", LIMIT)


def test_a_window_beyond_reason_is_refused():
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    squeezer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(Invalid):
        decompress("zstd", squeezer.compress(b"x" * 1000) + squeezer.flush(), LIMIT)


def test_no_coding_is_no_work():
    body = b"plain"
    assert decompress("", body, 5) is body


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_the_limit_is_the_last_size_taken(encoding):
    body = batch(10).SerializeToString() if encoding == "protobuf" else json.dumps(as_json(batch(10))).encode()
    assert otlp.decode(Batch, encoding, body, len(body)) == batch(10)
    with pytest.raises(TooLarge):
        otlp.decode(Batch, encoding, body, len(body) - 1)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("protobuf", message(*SPANS, payload=b"\x12\x00" * 500_000)),
        ("protobuf", message(*SPANS, 2, payload=b"\x4a\x00" * 500_000)),
        ("protobuf", message(*SPANS, payload=b"\x12\x02\x30\x01" * 250_000)),
        ("protobuf", message(*SPANS, payload=b"\x12\x80\x00" * 300_000)),
        ("protobuf", message(*SPANS, payload=b"\x92\x00\x00" * 300_000)),
        ("json", b'{"resourceSpans":[{"scopeSpans":[{"spans":[' + b"{}," * 300_000 + b"{}]}]}]}"),
        ("json", b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":' + b"[]," * 300_000 + b"[]]}]}]}]}"),
    ],
)
def test_a_request_made_of_nothing_is_too_large_for_its_size(encoding, body):
    with pytest.raises(TooLarge, match="tiny"):
        otlp.decode(Batch, encoding, body, 1 << 20)


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_real_requests_may_fill_the_limit(encoding):
    request = batch(2000, attributes=8)
    body = request.SerializeToString() if encoding == "protobuf" else json.dumps(as_json(request)).encode()
    assert otlp.decode(Batch, encoding, body, len(body)) == request
