"""A component is one file and one row: what the table names exists, and a new row needs no edit elsewhere."""

import sys
from contextlib import asynccontextmanager

import pytest

from spanbridge.collector.config import components, json_schema
from spanbridge.collector.config.components import COMPONENTS, Component
from spanbridge.collector.config.loading import load
from spanbridge.collector.errors import ConfigError
from spanbridge.collector.journal.memory import MemoryJournal
from spanbridge.collector.service.run import running as service_running
from spanbridge.processors.settings import ConfigModel
from tests.flows import running
from tests.samples.spans import trace_batch

UPPER = '''
"""`upper`: the names of spans in capitals."""

from pydantic import Field

from spanbridge.processors.settings import ConfigModel
from spanbridge.processors.stages import BuildContext, Stages, spans_only
from spanbridge.processors.types import Batch, spans


class UpperConfig(ConfigModel):
    """`upper`."""

    suffix: str = Field(default="", description="What is put behind a name.")


def build(config: UpperConfig, context: BuildContext) -> Stages:
    """The stage of a section."""
    changed = context.metrics.counter("spanbridge_upper_names", "Names changed.", "processor")

    def upper(batch: Batch) -> Batch:
        for span in spans(batch):
            span.name = span.name.upper() + config.suffix
            changed.labels(context.component_id).inc()
        return batch

    return Stages(head=spans_only(upper))
'''

UPPER_ROW = Component("processor", "upper", "upper:UpperConfig", "upper:build", "Writes names in capitals.")

CONFIG = """
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:0"}}}}
processors: {upper: {suffix: "!"}}
exporters: {debug: {sending_queue: {storage: shelf}}}
extensions: {shelf: {}}
service:
  extensions: [shelf]
  telemetry: {metrics: {level: none}}
  pipelines: {traces: {receivers: [otlp], processors: [upper], exporters: [debug]}}
"""


class ShelfConfig(ConfigModel):
    """The section of a storage of our own."""


class ShelfJournal(MemoryJournal):
    """A journal in that storage."""


def build_shelf(config, context):
    """Opens a journal for a pipeline."""

    @asynccontextmanager
    async def open_journal(options):
        async with ShelfJournal(
            options.capacity, dead_letter_limits=options.dead_letter_limits, on_dropped=options.on_dropped
        ) as journal:
            yield journal

    return open_journal


SHELF_ROW = Component(
    "extension", "shelf", f"{__name__}:ShelfConfig", f"{__name__}:build_shelf", "Keeps journals.", roles=("storage",)
)


@pytest.fixture
def _new_rows(monkeypatch, tmp_path):
    """The diff that adds two components: for each a file, and a row of the table."""
    (tmp_path / "upper.py").write_text(UPPER)
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in (components, json_schema):
        monkeypatch.setattr(module, "COMPONENTS", (*COMPONENTS, UPPER_ROW, SHELF_ROW))
    yield
    sys.modules.pop("upper", None)


@pytest.mark.parametrize("row", COMPONENTS, ids=lambda row: f"{row.kind} {row.type}")
def test_a_row_names_its_config_model_and_its_builder(row):
    assert issubclass(row.config, ConfigModel)
    assert callable(row.build)


def test_no_name_stands_twice():
    names = [(row.kind, name) for row in COMPONENTS for name in row.names]
    assert len(set(names)) == len(names)


@pytest.mark.usefixtures("_new_rows")
async def test_a_new_processor_works_at_once_and_counts_in_a_metric_of_its_own():
    async with running({"upper": {"suffix": "!"}, "upper/2": {"suffix": "?"}}) as flow:
        await flow.put(trace_batch(size=1, name="ask"))
    assert flow.shelf.names(flow.shelf.traces[0].trace_id) == {"ASK!?"}
    assert flow.sample("spanbridge_upper_names_total", processor="upper") == 1
    assert flow.sample("otelcol_processor_outgoing_items_total", processor="upper/2") == 1


@pytest.mark.usefixtures("_new_rows")
def test_a_new_processor_is_checked_listed_and_in_the_schema():
    with pytest.raises(ConfigError) as caught:
        load([f"yaml:{CONFIG}", "yaml:processors::upper::sufix: x"], env={})
    assert caught.value.problems == ("processors::upper::sufix: unknown key; did you mean 'suffix'?",)
    assert "upper" in components.describe_components()
    assert json_schema.json_schema()["$defs"]["UpperConfig"]["properties"]["suffix"]["description"]


@pytest.mark.usefixtures("_new_rows")
async def test_a_new_storage_keeps_the_journal_of_a_pipeline():
    async with service_running(load([f"yaml:{CONFIG}"], env={})) as service:
        assert isinstance(service.journals["traces"], ShelfJournal)
        assert service.health.ready


@pytest.mark.usefixtures("_new_rows")
def test_what_is_no_storage_is_told_with_all_that_are():
    changes = (
        "extensions::health_check: {}",
        "service::extensions: [health_check]",
        "exporters::debug::sending_queue::storage: health_check",
    )
    with pytest.raises(ConfigError) as caught:
        load([f"yaml:{CONFIG}", *(f"yaml:{change}" for change in changes)], env={})
    path = "exporters::debug::sending_queue::storage"
    assert caught.value.problems == (f'{path}: references extension "health_check", which is no file_storage or shelf',)
