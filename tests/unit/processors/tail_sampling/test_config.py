"""The configuration of tail_sampling: documented examples load and mean what they say, wrong ones are refused."""

import pytest
import yaml
from pydantic import TypeAdapter, ValidationError

from spanbridge.processors.tail_sampling import TailSampler, TailSamplingConfig
from spanbridge.processors.tail_sampling.policies.config import PolicyConfig
from tests.paths import DATA
from tests.unit.processors.tail_sampling.test_policies import Clock, error, having, make_trace

FOLDER = DATA / "sampling"


def load(name: str) -> TailSamplingConfig:
    return TailSamplingConfig.model_validate(yaml.safe_load((FOLDER / name).read_text()))


def test_every_key_of_every_policy_loads():
    """And every type there is, is in the file."""
    config = load("tail_sampling.yaml")

    assert {policy.type for policy in config.policies} == set(
        TypeAdapter(PolicyConfig).json_schema()["discriminator"]["mapping"]
    )
    assert (config.decision_wait, config.decision_wait_after_root_received) == (10.0, 2.0)
    assert config.decision_cache.non_sampled_cache_size == 200_000
    assert TailSampler(config, Clock()).decide(make_trace()).policy == "everything"


def test_defaults_are_the_collectors():
    """And ours where it has no such key."""
    config = TailSamplingConfig.model_validate({"policies": [{"name": "all", "type": "always_sample"}]})

    assert config.model_dump(exclude={"policies"}) == {
        "decision_wait": 30.0,
        "decision_wait_after_root_received": 0.0,
        "num_traces": 50_000,
        "block_on_overflow": False,
        "on_eviction": "decide",
        "expected_new_traces_per_sec": 0,
        "decision_cache": {"sampled_cache_size": 0, "non_sampled_cache_size": 0},
        "sample_on_first_match": False,
        "drop_pending_traces_on_shutdown": False,
        "maximum_trace_size_bytes": 0,
        "maximum_trace_spans": 0,
        "sampling_strategy": "trace-complete",
        "num_shards": 1,
        "tail_storage": None,
    }


@pytest.mark.parametrize(
    ("service", "parts", "policy"),
    [
        ("billing", [{}], "other teams keep all"),
        ("billing", [having(app__do_not_sample=True)], "forbidden"),
        ("shop", [having(http__route="/v1/cart")], "other routes, all"),
        ("shop", [having(http__route="/v1/name/7")], ""),
        ("shop", [having(http__route="/v1/name/7"), error()], "errors"),
        ("cart", [{}], ""),
        ("cart", [error()], "errors"),
        ("cart", [having(http__route="/live")], ""),
        ("cart", [having(http__route="/live", app__force_sample=True)], "forced"),
        ("cart", [having(app__force_sample=True, app__do_not_sample=True)], "forbidden"),
    ],
)
def test_the_worked_example_decides_as_its_rules_say(service, parts, policy):
    """Seven rules, each seen to hold."""
    sampler = TailSampler(load("tail_sampling_example.yaml"), Clock())

    assert sampler.decide(make_trace(*parts, resource={"service.name": service})).policy == policy


LATENCY = {"name": "slow", "type": "latency", "latency": {"threshold_ms": 5}}
ALL = {"name": "all", "type": "always_sample"}
LIMIT = {"name": "limit", "type": "rate_limiting", "rate_limiting": {"spans_per_second": 1}}


def policy(type_: str, **section) -> dict:
    return {"policies": [{"name": "p", "type": type_, type_: section}]}


def composite(**changes) -> dict:
    section = {"max_total_spans_per_second": 10, "policy_order": ["all"], "composite_sub_policy": [ALL]} | changes
    return {"policies": [{"name": "p", "type": "composite", "composite": section}]}


AT = ("policies", 0)

WRONG = [
    # values, path, what is said
    ({}, ("policies",), "Field required"),
    ({"policies": []}, ("policies",), "at least 1"),
    ({"policies": [ALL], "num_traces": 0}, ("num_traces",), "greater than 0"),
    ({"policies": [ALL], "decision_wait": 5}, ("decision_wait",), "needs a unit"),
    ({"policies": [ALL], "num_shards": 0}, ("num_shards",), "greater than or equal to 1"),
    ({"policies": [ALL], "num_shards": 257}, ("num_shards",), "less than or equal to 256"),
    ({"policies": [ALL], "sampling_strategy": "root"}, ("sampling_strategy",), "span-ingest"),
    ({"policies": [ALL], "on_eviction": "keep"}, ("on_eviction",), "decide"),
    ({"policies": [ALL], "decision_cache": {"size": 1}}, ("decision_cache", "size"), "Extra inputs"),
    ({"policies": [ALL], "decision_cache": {"sampled_cache_size": -1}}, ("decision_cache", "sampled_cache_size"), ""),
    ({"policies": [ALL], "tail_storage": "pebble"}, (), "in the journal already"),
    ({"policies": [ALL], "decisionwait": "1s"}, ("decisionwait",), "Extra inputs"),
    ({"policies": [ALL, LATENCY, ALL]}, (), "'all' is there twice"),
    ({"policies": [{"name": "p", "type": "dunno"}]}, AT, "'dunno'"),
    ({"policies": [{"name": "p"}]}, AT, "type"),
    ({"policies": [{"type": "always_sample"}]}, (*AT, "always_sample", "name"), "Field required"),
    ({"policies": [{"name": "", "type": "always_sample"}]}, (*AT, "always_sample", "name"), "at least 1"),
    ({"policies": [{"name": "p", "type": "latency"}]}, (*AT, "latency", "latency"), "Field required"),
    ({"policies": [LATENCY | {"span_count": {}}]}, (*AT, "latency", "span_count"), "Extra inputs"),
    (policy("latency", threshold_ms=-1), (*AT, "latency", "latency", "threshold_ms"), "greater than or equal"),
    (policy("latency", threshold_ms=9, upper_threshold_ms=9), (*AT, "latency", "latency"), "above threshold_ms"),
    (policy("latency", threshold="5s"), (*AT, "latency", "latency", "threshold"), "Extra inputs"),
    (policy("numeric_attribute", key="k"), (*AT, "numeric_attribute", "numeric_attribute"), "min_value, max_value"),
    (
        policy("numeric_attribute", key="k", min_value=100, max_value=50),
        (*AT, "numeric_attribute", "numeric_attribute"),
        "min_value is above max_value",
    ),
    (policy("numeric_attribute", min_value=1), (*AT, "numeric_attribute", "numeric_attribute", "key"), "required"),
    (policy("probabilistic", sampling_percentage=-1), (*AT, "probabilistic", "probabilistic"), "greater than or"),
    (policy("status_code", status_codes=[]), (*AT, "status_code", "status_code", "status_codes"), "at least 1"),
    (policy("status_code", status_codes=["BAD"]), (*AT, "status_code", "status_code", "status_codes", 0), "'ERROR'"),
    (policy("string_attribute", key="k", values=[]), (*AT, "string_attribute", "string_attribute", "values"), "least"),
    (
        policy("string_attribute", key="k", values=["ok", "("], enabled_regex_matching=True),
        (*AT, "string_attribute", "string_attribute"),
        "'(' is not a regular expression",
    ),
    (policy("boolean_attribute", value=True), (*AT, "boolean_attribute", "boolean_attribute", "key"), "required"),
    (policy("rate_limiting"), (*AT, "rate_limiting", "rate_limiting", "spans_per_second"), "required"),
    (policy("bytes_limiting", bytes_per_second=-1), (*AT, "bytes_limiting", "bytes_limiting"), "greater than"),
    (policy("span_count", min_spans=5, max_spans=4), (*AT, "span_count", "span_count"), "max_spans is below"),
    (policy("trace_state", key="k", values=["v" * 255]), (*AT, "trace_state", "trace_state", "values"), "255"),
    (policy("ottl_condition"), (*AT, "ottl_condition", "ottl_condition"), "at least one condition"),
    (
        policy("ottl_condition", span=["true", "name = 1"]),
        (*AT, "ottl_condition", "ottl_condition", "span"),
        "condition 2: unexpected '=' (column 6)",
    ),
    (
        policy("ottl_condition", spanevent=["kind == 1"]),
        (*AT, "ottl_condition", "ottl_condition", "spanevent"),
        "kind is not a path of context spanevent (column 1)",
    ),
    (policy("ottl_condition", span=["true"], error_mode="loud"), (*AT, "ottl_condition", "ottl_condition"), "ignore"),
    (policy("and", and_sub_policy=[]), (*AT, "and", "and", "and_sub_policy"), "at least 1"),
    (
        policy("and", and_sub_policy=[LATENCY | {"latency": {"threshold_ms": "x"}}]),
        (*AT, "and", "and", "and_sub_policy", 0, "latency", "latency", "threshold_ms"),
        "valid integer",
    ),
    (
        policy("and", and_sub_policy=[{"name": "d", "type": "drop", "drop": {"drop_sub_policy": [ALL]}}]),
        (*AT, "and", "and", "and_sub_policy", 0),
        "'drop'",
    ),
    (policy("not", not_sub_policy=composite()["policies"][0]), (*AT, "not", "not", "not_sub_policy"), "'composite'"),
    (policy("drop", drop_sub_policy=[]), (*AT, "drop", "drop", "drop_sub_policy"), "at least 1"),
    (composite(policy_order=["all", "none"]), (*AT, "composite", "composite"), "'none' is not a name of composite_sub"),
    (composite(policy_order=["all", "all"]), (*AT, "composite", "composite"), "'all' is there twice"),
    (composite(composite_sub_policy=[ALL, ALL]), (*AT, "composite", "composite"), "'all' is there twice"),
    (composite(composite_sub_policy=[]), (*AT, "composite", "composite", "composite_sub_policy"), "at least 1"),
    (composite(max_total_spans_per_second=0), (*AT, "composite", "composite"), "greater than 0"),
    (
        composite(rate_allocation=[{"policy": "no", "percent": 1}]),
        (*AT, "composite", "composite"),
        "'no' is not a name",
    ),
    (composite(rate_allocation=[{"policy": "all", "percent": 101}]), (*AT, "composite", "composite"), "equal to 100"),
    (policy("token_usage"), (*AT, "token_usage", "token_usage"), "min_total, min_input or min_output"),
    (policy("cost", min_usd=-0.1), (*AT, "cost", "cost", "min_usd"), "greater than or equal to 0"),
    (policy("span_type", types=[]), (*AT, "span_type", "span_type", "types"), "at least 1"),
    (policy("span_type", types=["LLM"], min_count=0), (*AT, "span_type", "span_type", "min_count"), "equal to 1"),
    (policy("session"), (*AT, "session", "session", "sampling_percentage"), "required"),
    (policy("experiment_quota"), (*AT, "experiment_quota", "experiment_quota", "traces_per_minute"), "required"),
    (policy("error_type", values=[]), (*AT, "error_type", "error_type", "values"), "at least 1"),
    (policy("tool", names=[""]), (*AT, "tool", "tool", "names", 0), "at least 1"),
]


@pytest.mark.parametrize(("values", "path", "problem"), WRONG)
def test_wrong_configuration_is_refused_with_its_path(values, path, problem):
    """Each is one error, at the key that is wrong, in a sentence that says what is."""
    with pytest.raises(ValidationError) as caught:
        TailSamplingConfig.model_validate(values)

    (found,) = caught.value.errors()
    assert path == found["loc"][: len(path)]
    assert problem in found["msg"]


STATEFUL = [
    LIMIT,
    {"name": "b", "type": "bytes_limiting", "bytes_limiting": {"bytes_per_second": 1}},
    {"name": "q", "type": "experiment_quota", "experiment_quota": {"traces_per_minute": 1}},
    {"name": "l", "type": "latency", "latency": {"threshold_ms": 1, "upper_threshold_ms": 2}},
    {"name": "s", "type": "span_count", "span_count": {"max_spans": 2}},
    {"name": "a", "type": "and", "and": {"and_sub_policy": [ALL, LIMIT]}},
    {"name": "n", "type": "not", "not": {"not_sub_policy": LIMIT}},
    {"name": "d", "type": "drop", "drop": {"drop_sub_policy": [LIMIT]}},
    composite(composite_sub_policy=[ALL, LIMIT])["policies"][0],
]


@pytest.mark.parametrize("stateful", STATEFUL, ids=[entry["type"] for entry in STATEFUL])
def test_span_ingest_refuses_what_may_change_its_mind(stateful):
    """Wherever it stands; with trace-complete it is fine."""
    TailSamplingConfig.model_validate({"policies": [stateful]})

    with pytest.raises(ValidationError, match="may change its mind"):
        TailSamplingConfig.model_validate({"policies": [ALL, stateful], "sampling_strategy": "span-ingest"})


def test_span_ingest_takes_the_rest():
    """Lower bounds, attributes, status, draws, and combinations of them."""
    policies = [ALL, LATENCY, {"name": "p", "type": "probabilistic", "probabilistic": {"sampling_percentage": 5}}]
    config = {"policies": [*policies, composite()["policies"][0] | {"name": "c"}], "sampling_strategy": "span-ingest"}

    assert TailSamplingConfig.model_validate(config).sampling_strategy == "span-ingest"
