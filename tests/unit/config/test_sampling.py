"""Sampling configurations as whole files: contrib's documented forms load, wrong ones are refused with their path."""

import pytest
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter

from spanbridge.collector.config.loading import Config, load
from spanbridge.collector.errors import ConfigError
from spanbridge.collector.flow.assembly import AssemblyLimits
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.service.stages import Plan, add_stages
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.tail_sampling.policy_config import PolicyConfig
from tests.paths import DATA

CONFIGS = DATA / "config" / "sampling"
GENAI = {"token_usage", "cost", "span_type", "session", "experiment_quota", "error_type", "tool"}


def good(name: str) -> Config:
    return load([str(CONFIGS / "good" / f"{name}.yaml")], env={})


def plan(config: Config) -> Plan:
    """What the processors of the file's pipeline come to."""
    made = Plan(Telemetry(CollectorRegistry()), ReleasedTraces(), {})
    return add_stages(made, [(id_, config.processors[id_]) for id_ in config.pipelines["traces"].processors])


@pytest.mark.parametrize("file", sorted((CONFIGS / "good").glob("*.yaml")), ids=lambda file: file.stem)
def test_good_files_load_and_become_stages_with_the_warnings_beside_them(file):
    config = load([str(file)], env={})
    warnings = file.with_suffix(".warnings")

    assert plan(config).trace or plan(config).head
    assert sorted(config.warnings) == sorted(warnings.read_text().splitlines() if warnings.exists() else [])


@pytest.mark.parametrize("file", sorted((CONFIGS / "bad").glob("*.yaml")), ids=lambda file: file.stem)
def test_bad_files_tell_every_problem_beside_the_file(file):
    with pytest.raises(ConfigError) as caught:
        load([str(file)], env={})

    assert sorted(caught.value.problems) == sorted(file.with_suffix(".problems").read_text().splitlines())


def test_between_them_the_files_have_every_policy():
    types = {
        policy.type
        for name in ("every_policy", "genai_policies")
        for policy in good(name).processors["tail_sampling"].policies
    }

    assert types == set(TypeAdapter(PolicyConfig).json_schema()["discriminator"]["mapping"])
    assert {policy.type for policy in good("genai_policies").processors["tail_sampling"].policies} == GENAI


def test_tail_sampling_says_how_traces_are_assembled():
    assert plan(good("every_policy")).assembly == AssemblyLimits(
        wait_duration=10, wait_duration_after_root_received=None, num_traces=100
    )
    assert plan(good("genai_policies")).assembly == AssemblyLimits(
        wait_duration=60,
        wait_duration_after_root_received=5,
        num_traces=20_000,
        maximum_trace_size_bytes=10_485_760,
        maximum_trace_spans=5000,
    )


@pytest.mark.parametrize(
    ("cache", "sizes"),
    [
        ("{sampled_cache_size: 150_000}", (150_000, 100_000)),
        ("{}", (100_000, 100_000)),
        ("{non_sampled_cache_size: 500_000, sampled_cache_size: 10}", (100_000, 500_000)),
    ],
)
def test_a_larger_decision_cache_remembers_more(cache, sizes):
    config = load(
        [str(CONFIGS / "good" / "every_policy.yaml")], [f"processors.tail_sampling.decision_cache={cache}"], env={}
    )
    remembered = plan(config).remembered
    assert (remembered.kept_size, remembered.dropped_size) == sizes


@pytest.mark.parametrize("order", [["groupbytrace", "tail_sampling"], ["tail_sampling", "groupbytrace"]])
def test_beside_groupbytrace_too(order):
    override = f"service.pipelines.traces.processors=[{', '.join(order)}]"
    config = load([str(CONFIGS / "good" / "departures.yaml")], [override], env={})

    assert plan(config).assembly == AssemblyLimits(
        wait_duration=30,
        wait_duration_after_root_received=None,
        num_traces=50_000,
        maximum_trace_size_bytes=1_000_000,
        block_on_overflow=True,
        drop_pending_traces_on_shutdown=True,
    )


def test_a_pipeline_into_mlflow_with_tail_sampling_gets_no_groupbytrace():
    assert good("every_policy").pipelines["traces"].processors == ("tail_sampling",)


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("num_traces=0", "num_traces: must be greater than 0"),
        ("policies=[]", "policies: must not be empty"),
        ("policies=[{name: a, type: probability}]", "policies::0: unknown type; did you mean 'probabilistic'?"),
        ("policies=[{name: a}]", "policies::0: its type is required"),
        ("decision_wait=-1s", 'decision_wait: \'-1s\' is not a duration; write for example "200ms", "30s" or "5m"'),
        ("maximum_trace_spans=-1", "maximum_trace_spans: must be greater than or equal to 0"),
        ("on_eviction=keep", "on_eviction: must be 'decide' or 'drop'"),
        (
            "decision_cache={size: 5}",
            "decision_cache::size: unknown key; known are non_sampled_cache_size, sampled_cache_size",
        ),
    ],
)
def test_one_problem(override, problem):
    with pytest.raises(ConfigError) as caught:
        load([str(CONFIGS / "good" / "every_policy.yaml")], [f"processors.tail_sampling.{override}"], env={})

    assert list(caught.value.problems) == [f"processors::tail_sampling::{problem}"]
