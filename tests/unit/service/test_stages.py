"""What the processors of a pipeline come to, in the order of the file."""

import pytest
from prometheus_client import CollectorRegistry

from spanbridge.collector.exporters import SendLimits
from spanbridge.collector.flow.released_traces import ReleasedTraces
from spanbridge.collector.service.stages import PipelineStages, add_stages
from spanbridge.collector.telemetry.metrics import Telemetry
from tests.flows import configured

USUAL = SendLimits(max_traces=64, max_spans=2048)
TAIL = {"policies": [{"name": "all", "type": "always_sample"}], "decision_wait": "3s"}


def stages(**processors):
    made = PipelineStages(Telemetry(CollectorRegistry()), ReleasedTraces(), {})
    return add_stages(made, configured(processors))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [
        ({}, SendLimits(64, 8192, send_batch_size=8192, timeout=0.2)),
        ({"send_batch_size": 100, "timeout": "1s"}, SendLimits(64, 2048, send_batch_size=100, timeout=1.0)),
        (
            {"send_batch_size": 100, "send_batch_max_size": 150, "timeout": 0},
            SendLimits(64, 150, send_batch_size=100, timeout=0.0),
        ),
    ],
)
def test_batch_changes_the_usual_limits_of_an_exporter(batch, expected):
    assert stages(batch=batch).send_limits(USUAL) == expected


def test_without_batch_the_usual_limits_stay():
    assert stages(genai={}).send_limits(USUAL) == USUAL


def test_the_order_of_the_file_is_kept():
    made = stages(redaction={}, genai={}, span_metrics={}, tag_schema={})
    assert [stage.name for stage in made.head] == ["redaction", "genai", "span_metrics"]
    assert [stage.name for stage in made.trace] == ["genai", "tag_schema"]
    assert [stage.observes for stage in made.head] == [False, False, True]


def test_what_has_a_stage_at_the_head_is_counted_there_alone():
    made = stages(genai={}, tag_schema={})
    assert {stage.name: stage.counts for stage in made.trace} == {"genai": False, "tag_schema": True}


def test_a_memory_limiter_refuses_at_the_head_and_watches_meanwhile():
    made = stages(memory_limiter={"check_interval": "1s", "limit_mib": 100})
    assert [stage.name for stage in made.head] == ["memory_limiter"]
    assert len(made.background) == 1


def test_tail_sampling_says_when_a_trace_is_whole_wherever_groupbytrace_stands():
    grouping = {"wait_duration": "9s"}
    for made in (stages(tail_sampling=TAIL, groupbytrace=grouping), stages(groupbytrace=grouping, tail_sampling=TAIL)):
        assert made.assembly.wait_duration == 3
    assert stages(groupbytrace=grouping).assembly.wait_duration == 9
