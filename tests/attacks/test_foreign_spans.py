"""Who knows the id of another tenant's trace can neither write into it nor lead it away."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from spanbridge.collector.errors import Denied
from spanbridge.collector.exporters import SerializedTrace
from spanbridge.collector.exporters.mlflow.routing import Router
from spanbridge.collector.exporters.mlflow.settings import settings_from
from spanbridge.collector.flow.assembly import Assembly, AssemblyLimits
from spanbridge.collector.flow.delivery import Delivery, DeliveryOptions
from spanbridge.collector.flow.fragments import fragments
from spanbridge.collector.flow.settlement import SettlementAccount
from spanbridge.collector.journal import Entry, Row
from spanbridge.collector.telemetry.metrics import Telemetry
from spanbridge.processors.types import Context
from tests.fakes import MemoryExporter
from tests.faults.support.flow import flowing
from tests.polling import until
from tests.samples.spans import new_id, trace_batch
from tests.samples.traces import span, trace

A = Context(tenant="a", allow_experiments=("team-a/*",))
A_TOO = Context(tenant="a too", allow_experiments=("team-a/*",))
B = Context(tenant="b", allow_experiments=("team-b/*",))
ANYBODY = Context()


def assembled(*parts):
    """The one trace that requests, given as (context, batch), come to."""
    assembly = Assembly(AssemblyLimits())
    for number, (context, batch) in enumerate(parts, 1):
        row = Row(number, Entry(batch.SerializeToString(), context))
        assembly.add(row, fragments(row), 0.0)
    (pending,) = assembly.drain()
    return pending


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [(A, B, False), (A, ANYBODY, False), (ANYBODY, A, False), (A, A_TOO, True), (ANYBODY, ANYBODY, True)],
)
def test_only_tenants_of_the_same_rights_share_a_trace(first, second, joined):
    trace_id = new_id(16)
    children, root = trace_batch(trace_id, 3, name="a"), trace_batch(trace_id, 1, name="thief")
    del children.resource_spans[0].scope_spans[0].spans[-1]
    pending = assembled((first, children), (second, root))
    assert pending.spans == (3 if joined else 2)
    assert pending.foreign == (0 if joined else 1)
    assert pending.context is (second if joined else first)
    assert pending.account.rows == [1, 2]  # both requests are settled with the trace


@pytest.mark.parametrize("late", [B, ANYBODY])
def test_a_trace_that_was_handed_on_stays_its_tenant_s(late):
    trace_id, assembly = new_id(16), Assembly(AssemblyLimits())

    def add(number, context):
        row = Row(number, Entry(trace_batch(trace_id, 1).SerializeToString(), context))
        assembly.add(row, fragments(row), 0.0)

    def handed_on():
        (pending,) = assembly.drain()
        assembly.done(pending.trace_id)
        return pending

    add(1, A)
    handed_on()
    add(2, late)
    foreign = handed_on()
    assert (foreign.spans, foreign.fragments, foreign.foreign, foreign.account.rows) == (0, [], 1, [2])
    add(3, late)
    add(4, A_TOO)
    own = handed_on()
    assert (own.spans, own.foreign, own.context) == (1, 1, A_TOO)


@pytest.mark.parametrize(
    ("settings", "context", "allowed"),
    [
        ({"experiment": "{service.name}"}, A, False),
        ({"experiment": "team-a/{service.name}"}, A, True),
        ({"experiment": "{missing}", "default_experiment": "everybody"}, A, False),
        ({"experiment_id": "7"}, A, False),
        ({"experiment_id": "7"}, Context(tenant="a", allow_experiments=("id:7",)), True),
        ({"experiment": "{service.name}"}, ANYBODY, True),
        ({}, Context(experiment_name="team-b/x", tenant="a", allow_experiments=("team-a/*",)), False),
    ],
)
def test_a_route_is_checked_whatever_led_to_it(settings, context, allowed):
    router = Router(settings_from({}, tracking_uri="http://mlflow", **settings))
    subject = trace([span(b"t" * 16, b"s" * 8)], {"service.name": "team-b/x"}, context)
    if allowed:
        router(subject)
    else:
        with pytest.raises(Denied, match="tenant 'a' may not write to experiment"):
            router(subject)


async def test_what_is_denied_is_dropped_and_counted_and_the_rest_goes_on():
    class Guarded(MemoryExporter):
        def group(self, trace):
            if trace.context.tenant == "b":
                raise Denied("not there")
            return super().group(trace)

    exporter, settled = Guarded(), []
    telemetry = Telemetry(CollectorRegistry())
    delivery = Delivery("mlflow", exporter, DeliveryOptions(), telemetry, settled.append)
    running = asyncio.create_task(delivery.run())
    for number, context in enumerate((A, B, A), 1):
        subject = trace([span(bytes([number] * 16), b"s" * 8)], context=context)
        account = SettlementAccount(subject.trace_id, open_parts=1)
        await delivery.offer(subject, SerializedTrace.of(subject), account)
    await until(lambda: len(settled) == 3)
    running.cancel()
    delivery.close()
    assert {trace_id[0] for trace_id, _ in exporter.spans} == {1, 3}
    assert not [letter for account in settled for letter in account.dead_letters]
    labels = {"otel_signal": "traces", "reason": "experiment not allowed"}
    assert telemetry.registry.get_sample_value("spanbridge_dropped_items_total", labels) == 1


@pytest.mark.parametrize("late", [B, ANYBODY])
async def test_a_trace_stays_its_tenant_s_after_a_restart_too(late, tmp_path):
    trace_id, exporter = new_id(16), MemoryExporter()
    async with flowing(tmp_path, exporter, shutdown=5.0) as ground:
        await ground.put(trace_batch(trace_id, 2, name="a"), A)
        await until(ground.settled)
    exporter.calls.clear()
    async with flowing(tmp_path, exporter, shutdown=5.0) as ground:
        await ground.put(trace_batch(trace_id, 1, name="thief"), late)
        await until(ground.settled)
        foreign = {"otel_signal": "traces", "reason": "another tenant's trace"}
        assert ground.telemetry.registry.get_sample_value("spanbridge_dropped_items_total", foreign) == 1
        assert not exporter.calls
        await ground.put(trace_batch(trace_id, 1, name="own"), A_TOO)
        await until(ground.settled)
    assert exporter.calls == [[trace_id]]
    assert sorted(exporter.spans.values()) == ["a", "child 0", "own"]
