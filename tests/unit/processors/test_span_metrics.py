"""Span metrics: exact totals, labels, buckets, bounds, and nothing raises."""

import json
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from prometheus_client import CollectorRegistry
from pydantic import ValidationError

from spanbridge.processors.attributes import put
from spanbridge.processors.span_metrics import SpanMetrics, SpanMetricsConfig
from spanbridge.processors.types import Batch

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""A busy machine is no failure."""

MS = 1_000_000


def make_batch(*parts, service="shop", **resource) -> Batch:
    """A batch of one resource; each part gives a span's fields, and its `attributes` and `events`."""
    batch = Batch()
    resource_spans = batch.resource_spans.add()
    for key, value in ({"service.name": service} | resource).items():
        put(resource_spans.resource.attributes, key, value)
    for part in parts:
        fields = {"name": "GET", "kind": Span.SPAN_KIND_SERVER, "start_time_unix_nano": 10**18} | part
        attributes = fields.pop("attributes", {})
        events = fields.pop("events", [])
        fields["end_time_unix_nano"] = fields["start_time_unix_nano"] + int(fields.pop("ms", 5) * MS)
        span = resource_spans.scope_spans.add().spans.add(**fields)
        for key, value in attributes.items():
            put(span.attributes, key, value)
        for values in events:
            event = span.events.add(name="exception")
            for key, value in values.items():
                put(event.attributes, key, value)
    return batch


def recorded(*batches, **config):
    """Reads a sample of what a registry shows after the batches."""
    metrics = SpanMetrics(SpanMetricsConfig.model_validate(config))
    registry = CollectorRegistry()
    registry.register(metrics)
    for batch in batches:
        metrics.record(batch)
    return lambda name, **labels: registry.get_sample_value(name, labels)


SERVER = {
    "service_name": "shop",
    "span_name": "GET",
    "span_kind": "SPAN_KIND_SERVER",
    "status_code": "STATUS_CODE_UNSET",
}
ERROR = {"status": Status(code=Status.STATUS_CODE_ERROR)}


def test_calls_are_counted_by_the_four_dimensions():
    """As the connector names and labels them."""
    read = recorded(
        make_batch({}, {}, {"name": "POST"}, ERROR, {"kind": Span.SPAN_KIND_CLIENT}), make_batch({}, service="cart")
    )

    assert read("traces_span_metrics_calls_total", **SERVER) == 2
    assert read("traces_span_metrics_calls_total", **SERVER | {"span_name": "POST"}) == 1
    assert read("traces_span_metrics_calls_total", **SERVER | {"status_code": "STATUS_CODE_ERROR"}) == 1
    assert read("traces_span_metrics_calls_total", **SERVER | {"span_kind": "SPAN_KIND_CLIENT"}) == 1
    assert read("traces_span_metrics_calls_total", **SERVER | {"service_name": "cart"}) == 1


def test_durations_fall_into_the_connectors_buckets():
    """Milliseconds, upper bounds inclusive, cumulative; a span that ends before it starts took no time."""
    parts = [{"ms": ms} for ms in (2, 2.1, 5, 15_000, 20_000, -7)]
    read = recorded(make_batch(*parts))
    name = "traces_span_metrics_duration"

    assert [read(f"{name}_bucket", **SERVER, le=le) for le in ("2.0", "4.0", "6.0", "10000.0", "15000.0", "+Inf")] == [
        2,
        3,
        4,
        4,
        5,
        6,
    ]
    assert read(f"{name}_count", **SERVER) == 6
    assert read(f"{name}_sum", **SERVER) == pytest.approx(2 + 2.1 + 5 + 15_000 + 20_000)


def test_durations_in_seconds_with_own_buckets():
    """Or not at all."""
    histogram = {"unit": "s", "explicit": {"buckets": ["1ms", "1s"]}}
    read = recorded(make_batch({"ms": 500}), histogram=histogram)
    assert [read("traces_span_metrics_duration_bucket", **SERVER, le=le) for le in ("0.001", "1.0", "+Inf")] == [
        0,
        1,
        1,
    ]
    assert read("traces_span_metrics_duration_sum", **SERVER) == 0.5

    read = recorded(make_batch({}), histogram={"disable": True})
    assert read("traces_span_metrics_duration_count", **SERVER) is None
    assert read("traces_span_metrics_calls_total", **SERVER) == 1


def test_errors_by_type():
    """error.type, else the last exception's, else _OTHER; only spans in error count."""
    read = recorded(
        make_batch(
            ERROR | {"attributes": {"error.type": "timeout"}},
            ERROR | {"attributes": {"error.type": "timeout"}, "events": [{"exception.type": "X"}]},
            ERROR | {"attributes": {"error.type": 500}},
            ERROR | {"events": [{"exception.type": "A"}, {"exception.type": "B"}, {}]},
            ERROR,
            {"attributes": {"error.type": "timeout"}},
        )
    )

    counts = {
        error: read("spanbridge_span_errors_total", service_name="shop", error_type=error)
        for error in ("timeout", "500", "B", "_OTHER")
    }
    assert counts == {"timeout": 2, "500": 1, "B": 1, "_OTHER": 1}


def test_dimensions_can_be_added_and_left_out():
    """An attribute of the span, else of the resource, else the default."""
    read = recorded(
        make_batch({"attributes": {"http.method": "PUT"}}, {}, region="eu"),
        make_batch({"attributes": {"region": "us", "http.method": ""}}),
        dimensions=[{"name": "http.method", "default": "?"}, {"name": "region"}],
        exclude_dimensions=["span.kind", "status.code"],
    )
    common = {"service_name": "shop", "span_name": "GET"}

    assert read("traces_span_metrics_calls_total", **common, http_method="PUT", region="eu") == 1
    assert read("traces_span_metrics_calls_total", **common, http_method="?", region="eu") == 1
    assert read("traces_span_metrics_calls_total", **common, http_method="?", region="us") == 1


def genai(**attributes) -> dict:
    return {"attributes": {key.replace("__", "."): value for key, value in attributes.items()}, "ms": 1500}


CHAT = {
    "gen_ai__operation__name": "chat",
    "gen_ai__provider__name": "openai",
    "gen_ai__request__model": "gpt-4o",
}
OPERATION = {
    "service_name": "shop",
    "gen_ai_operation_name": "chat",
    "gen_ai_provider_name": "openai",
    "gen_ai_request_model": "gpt-4o",
}


def test_gen_ai_operations():
    """Seconds and tokens, in the buckets that the semantic conventions advise."""
    usage = {"gen_ai__usage__input_tokens": 42, "gen_ai__usage__output_tokens": 7}
    read = recorded(make_batch(genai(**CHAT, **usage), genai(**CHAT), genai(**CHAT, **usage) | ERROR))

    duration = "gen_ai_client_operation_duration"
    assert read(f"{duration}_count", **OPERATION, error_type="") == 2
    assert read(f"{duration}_sum", **OPERATION, error_type="") == 3.0
    assert read(f"{duration}_bucket", **OPERATION, error_type="", le="1.28") == 0
    assert read(f"{duration}_bucket", **OPERATION, error_type="", le="2.56") == 2
    assert read(f"{duration}_count", **OPERATION, error_type="_OTHER") == 1
    tokens = "gen_ai_client_token_usage"
    assert read(f"{tokens}_count", **OPERATION, gen_ai_token_type="input") == 2
    assert read(f"{tokens}_sum", **OPERATION, gen_ai_token_type="input") == 84
    assert read(f"{tokens}_bucket", **OPERATION, gen_ai_token_type="input", le="16.0") == 0
    assert read(f"{tokens}_bucket", **OPERATION, gen_ai_token_type="input", le="64.0") == 2
    assert read(f"{tokens}_sum", **OPERATION, gen_ai_token_type="output") == 14


@pytest.mark.parametrize(
    ("attributes", "tokens"),
    [
        ({"gen_ai__usage__prompt_tokens": 3, "gen_ai__usage__completion_tokens": 4}, (3, 4)),
        ({"gen_ai__usage__input_tokens": "3"}, (3, None)),
        ({"gen_ai__usage__input_tokens": 3.0}, (3, None)),
        ({"gen_ai__usage__input_tokens": 0}, (0, None)),
        ({"gen_ai__usage__input_tokens": -3}, (None, None)),
        ({"gen_ai__usage__input_tokens": "many"}, (None, None)),
        ({"gen_ai__usage__input_tokens": True}, (None, None)),
        ({"mlflow__chat__tokenUsage": json.dumps({"input_tokens": 5, "output_tokens": 6, "total_tokens": 11})}, (5, 6)),
        ({"mlflow__chat__tokenUsage": '{"input_tokens": 5}', "gen_ai__usage__input_tokens": 9}, (5, None)),
        ({"mlflow__chat__tokenUsage": "broken"}, (None, None)),
    ],
)
def test_tokens(attributes, tokens):
    """The names in use, as numbers or text; MLflow's summary goes before the single ones, so nothing counts twice."""
    read = recorded(make_batch(genai(**CHAT, **attributes)))

    found = [read("gen_ai_client_token_usage_sum", **OPERATION, gen_ai_token_type=side) for side in ("input", "output")]
    assert tuple(found) == tokens


@pytest.mark.parametrize(
    ("attributes", "cost"),
    [
        ({"mlflow__llm__cost": '{"total_cost": 0.25}'}, 0.25),
        ({"gen_ai__usage__cost": 0.25}, 0.25),
        ({"mlflow__llm__cost": '{"total_cost": 0.5}', "gen_ai__usage__cost": 0.25}, 0.5),
        ({"mlflow__llm__cost": '{"total_cost": "x"}'}, None),
        ({"gen_ai__usage__cost": float("nan")}, None),
        ({}, None),
    ],
)
def test_cost(attributes, cost):
    """In dollars, where it is known."""
    read = recorded(make_batch(genai(**CHAT, **attributes)))

    assert read("spanbridge_gen_ai_cost_usd_total", **OPERATION) == cost


def test_older_names_of_provider_and_model():
    """gen_ai.system, and the response's model where the request names none."""
    names = {"gen_ai__operation__name": "chat", "gen_ai__system": "openai", "gen_ai__response__model": "gpt-4o"}
    read = recorded(make_batch(genai(**names)))

    assert read("gen_ai_client_operation_duration_count", **OPERATION, error_type="") == 1


def test_gen_ai_can_be_switched_off():
    """Then only the span metrics are there."""
    read = recorded(make_batch(genai(**CHAT)), gen_ai=False)

    assert read("gen_ai_client_operation_duration_count", **OPERATION, error_type="") is None
    assert read("traces_span_metrics_calls_total", **SERVER) == 1


def test_series_are_bounded_and_the_overflow_is_counted():
    """The first thousand names have their series, the others share one; no span is lost from the totals."""
    spans_sent = [{"name": f"GET /{number}"} for number in range(50)] * 3
    batch = make_batch(*spans_sent, ERROR | {"name": "GET /1", "attributes": {"error.type": "x"}})
    read = recorded(batch, aggregation_cardinality_limit=10)
    name = "traces_span_metrics_calls_total"
    kept = [read(name, **SERVER | {"span_name": f"GET /{number}"}) for number in range(50)]
    other = dict.fromkeys(SERVER, "other")

    assert kept == [3] * 10 + [None] * 40
    assert read(name, **other) == 121
    assert read("traces_span_metrics_duration_count", **other) == 121
    assert read("spanbridge_span_metrics_overflow_total", metric="traces_span_metrics_calls") == 121
    assert read("spanbridge_span_metrics_overflow_total", metric="traces_span_metrics_duration") == 121
    assert read("spanbridge_span_metrics_overflow_total", metric="spanbridge_span_errors") == 0


def test_a_giant_name_is_cut():
    """A label of 255 characters at most."""
    read = recorded(make_batch({"name": "x" * 10_000}, {"name": "x" * 300}, service="s" * 9999))

    labels = SERVER | {"span_name": "x" * 255, "service_name": "s" * 255}
    assert read("traces_span_metrics_calls_total", **labels) == 2


def test_recording_leaves_the_batch_and_adds_up_over_any_split():
    """However spans are batched, the numbers are the same."""
    rng = random.Random(1)
    parts = [
        genai(**CHAT, gen_ai__usage__input_tokens=rng.randrange(100))
        | {"name": rng.choice("abc"), "ms": rng.random() * 99}
        for _ in range(300)
    ]
    whole = make_batch(*parts)
    before = whole.SerializeToString(deterministic=True)

    def totals(*batches):
        metrics = SpanMetrics(SpanMetricsConfig())
        for batch in batches:
            metrics.record(batch)
        return [
            (sample.name, sample.labels, pytest.approx(sample.value))
            for family in metrics.collect()
            for sample in family.samples
        ]

    assert totals(whole) == totals(*(make_batch(*parts[at : at + 7]) for at in range(0, 300, 7)))
    assert whole.SerializeToString(deterministic=True) == before


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(max_size=6)
    | st.binary(max_size=3)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(st.text(max_size=3), SCALARS, max_size=2)
KEYS = st.sampled_from(
    [
        "error.type",
        "gen_ai.operation.name",
        "gen_ai.usage.input_tokens",
        "gen_ai.usage.cost",
        "mlflow.llm.cost",
        "mlflow.chat.tokenUsage",
        "gen_ai.request.model",
        "region",
    ]
)


@settings(STEADY, max_examples=200)
@given(
    st.lists(
        st.tuples(
            st.dictionaries(KEYS, VALUES, max_size=5),
            st.integers(0, 2**64 - 1),
            st.integers(0, 2**64 - 1),
            st.integers(-3, 9),
            st.integers(-3, 9),
        ),
        max_size=4,
    )
)
def test_raises_nothing(parts):
    """Whatever decodes is counted, once each."""
    batch = Batch()
    scope_spans = batch.resource_spans.add().scope_spans.add()
    for attributes, start, end, kind, status in parts:
        span = scope_spans.spans.add(start_time_unix_nano=start, end_time_unix_nano=end, kind=kind)
        span.status.code = status
        for key, value in attributes.items():
            put(span.attributes, key, value)
    metrics = SpanMetrics(SpanMetricsConfig(dimensions=({"name": "region"},)))

    metrics.record(batch)

    samples = [sample for family in metrics.collect() for sample in family.samples]
    assert sum(sample.value for sample in samples if sample.name == "traces_span_metrics_calls_total") == len(parts)


@pytest.mark.parametrize(
    ("values", "path"),
    [
        ({"histogram": {"explicit": {"buckets": ["2ms", "1ms"]}}}, ("histogram", "explicit", "buckets")),
        ({"histogram": {"explicit": {"buckets": []}}}, ("histogram", "explicit", "buckets")),
        ({"histogram": {"unit": "m"}}, ("histogram", "unit")),
        ({"dimensions": [{"name": ""}]}, ("dimensions", 0, "name")),
        ({"exclude_dimensions": ["host"]}, ("exclude_dimensions", 0)),
        ({"aggregation_cardinality_limit": 0}, ("aggregation_cardinality_limit",)),
        ({"namespace": "x"}, ("namespace",)),
    ],
)
def test_wrong_configuration_is_refused_with_its_path(values, path):
    """At the key that is wrong."""
    with pytest.raises(ValidationError) as caught:
        SpanMetricsConfig.model_validate(values)

    assert path == caught.value.errors()[0]["loc"]
