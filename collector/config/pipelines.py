"""Step 3 from YAML to running code: how components hang together.

Models have been made of the sections; here the references between them are checked, and the pipelines put together that
they form with their journals. What the components of a pipeline come to is the next step, in `service`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from spanbridge.collector.config.components import Kind, Role, component_of, has_role, types_in_role
from spanbridge.collector.config.service import PipelineSection
from spanbridge.collector.config.substitution import Path, show
from spanbridge.collector.config.validation import sections, suggestion
from spanbridge.collector.exporters.config import DEFAULT_JOURNAL_BYTES, SendingQueueConfig
from spanbridge.collector.journal import Signal
from spanbridge.processors.settings import ConfigModel

_SIGNALS: Mapping[str, Signal] = {"traces": "traces", "logs": "logs"}
_NOT_CARRIED = ("metrics", "profiles")


@dataclass(frozen=True, slots=True)
class JournalConfig:
    """The journal of one pipeline: the file_storage extension it lives in, "" for memory, and its bound in bytes."""

    storage: str
    capacity: int


_NO_JOURNAL = JournalConfig("", 0)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """One pipeline: `id` is "traces" or "traces/name", the others are component ids in the order of the file.

    Log records are joined to the spans they belong to, so a logs pipeline ends in the journal of a traces pipeline.
    """

    id: str
    signal: Signal
    receivers: tuple[str, ...]
    processors: tuple[str, ...]
    exporters: tuple[str, ...]
    journal: JournalConfig


@dataclass(frozen=True, slots=True)
class Written:
    """What the file says. None stands for what is there but wrong, so that a reference to it is no second problem."""

    models: Mapping[Kind, Mapping[str, ConfigModel | None]]
    extensions: Sequence[str] | None
    pipelines: Mapping[str, PipelineSection | None]


@dataclass(slots=True)
class Wiring:
    """What came of it. `added` are processors that the file does not have."""

    pipelines: dict[str, PipelineConfig] = field(default_factory=dict)
    added: dict[str, ConfigModel] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def wire(written: Written) -> Wiring:
    """Check every reference and put the pipelines together.

    Returns:
        What came of it; `pipelines` is complete only when there is no problem.
    """
    wiring = Wiring()
    wiring.problems += [*_missing(written), *_extension_problems(written)]
    wiring.warnings += [*_unused(written), *_queue_bounds(written)]
    for pipeline_id, section in written.pipelines.items():
        if section is not None:
            _add_pipeline(wiring, pipeline_id, section, written)
    _join_logs(wiring, written)
    return wiring


def _missing(written: Written) -> Iterator[str]:
    kinds: tuple[Kind, ...] = ("receiver", "exporter")
    for kind in kinds:
        if not written.models[kind]:
            yield f"{kind}s: at least one {kind} must be configured"
    if not written.pipelines:
        yield "service::pipelines: must have at least one pipeline"


def _extension_problems(written: Written) -> Iterator[str]:
    defined = written.models["extension"]
    for extension in written.extensions or ():
        if extension not in defined:
            yield f"service::extensions: {_undefined('extension', extension, defined)}"
    for path, extension, role in _extensions_used(written):
        if extension not in defined:
            yield f"{show(path)}: {_undefined('extension', extension, defined)}"
        elif written.extensions is not None and extension not in written.extensions:
            yield f'{show(path)}: references extension "{extension}", which is not listed in service::extensions'
        elif defined[extension] is not None and not has_role("extension", extension, role):
            wanted = " or ".join(types_in_role(role))
            yield f'{show(path)}: references extension "{extension}", which is no {wanted}'


def _extensions_used(written: Written) -> Iterator[tuple[Path, str, Role]]:
    """Every extension that a component names: the path, the id, and what it is wanted for."""
    kinds: tuple[Kind, ...] = ("receiver", "exporter")
    for kind in kinds:
        for path, section in sections(written.models[kind], (f"{kind}s",)):
            if isinstance(section, SendingQueueConfig) and section.storage:
                yield (*path, "storage"), section.storage, "storage"
            authenticator = getattr(section, "authenticator", None)
            if authenticator:
                yield (*path, "authenticator"), authenticator, "authenticator"


def _undefined(kind: Kind, component_id: str, defined: Mapping[str, ConfigModel | None]) -> str:
    hint = suggestion(component_id, defined)
    return f'references {kind} "{component_id}", which is not configured under {kind}s; {hint}'


def _unused(written: Written) -> Iterator[str]:
    pipelines = [section for section in written.pipelines.values() if section]
    used: dict[Kind, set[str]] = {
        "receiver": {id_ for section in pipelines for id_ in section.receivers},
        "processor": {id_ for section in pipelines for id_ in section.processors},
        "exporter": {id_ for section in pipelines for id_ in section.exporters},
        "extension": set(written.extensions or ()),
    }
    for kind, models in written.models.items():
        place = "service::extensions" if kind == "extension" else "any pipeline"
        for component_id in models:
            if component_id not in used[kind]:
                yield f"{kind}s::{component_id}: is configured but not used in {place}"


def _queue_bounds(written: Written) -> Iterator[str]:
    for exporter, model in written.models["exporter"].items():
        queue = getattr(model, "sending_queue", None)
        if isinstance(queue, SendingQueueConfig) and queue.queue_size is not None and queue.sizer != "bytes":
            yield (
                f"exporters::{exporter}::sending_queue::queue_size: the journal is bounded in bytes and not in "
                f"{queue.sizer}, so {queue.journal_bytes} bytes count; set sizer to bytes and queue_size to bytes"
            )


def _add_pipeline(wiring: Wiring, pipeline_id: str, section: PipelineSection, written: Written) -> None:
    path: Path = ("service", "pipelines", pipeline_id)
    try:
        signal = _signal(pipeline_id)
    except ValueError as error:
        wiring.problems.append(f"{show(path)}: {error}")
        return
    problems = [show((*path, key)) + problem for key, problem in _reference_problems(section, written)]
    wiring.problems += problems
    if problems:
        return
    processors = section.processors
    if signal == "traces" and _needs_assembly(section):
        processors = (*processors, _added_assembly(wiring, path, written))
    journal = _journal(wiring, path, _queues(section, written)) if signal == "traces" else _NO_JOURNAL
    wiring.pipelines[pipeline_id] = PipelineConfig(
        pipeline_id, signal, section.receivers, processors, section.exporters, journal
    )


def _added_assembly(wiring: Wiring, path: Path, written: Written) -> str:
    """The id of the groupbytrace that a pipeline into MLflow gets: the one of the file, should there be one."""
    if "groupbytrace" not in written.models["processor"]:
        wiring.added["groupbytrace"] = component_of("processor", "groupbytrace").config()
    wiring.warnings.append(
        f"{show(path)}::processors: names neither groupbytrace nor tail_sampling, but MLflow needs whole traces; "
        "groupbytrace is added at the end"
    )
    return "groupbytrace"


def _join_logs(wiring: Wiring, written: Written) -> None:
    """Give each logs pipeline the journal of the first traces pipeline that shares an exporter with it."""
    traces = [id_ for id_, section in written.pipelines.items() if section and id_.partition("/")[0] == "traces"]
    for pipeline in [pipeline for pipeline in wiring.pipelines.values() if pipeline.signal == "logs"]:
        partners = [id_ for id_ in traces if _exporters(written, id_) & set(pipeline.exporters)]
        if not partners:
            wiring.problems.append(
                f"service::pipelines::{pipeline.id}: shares no exporter with a traces pipeline; log records are joined "
                "to their spans on the way to the same exporter, so name one"
            )
        elif partners[0] in wiring.pipelines:
            journal = wiring.pipelines[partners[0]].journal
            wiring.pipelines[pipeline.id] = replace(pipeline, journal=journal)


def _exporters(written: Written, pipeline_id: str) -> set[str]:
    section = written.pipelines[pipeline_id]
    return set(section.exporters) if section else set()


def _signal(pipeline_id: str) -> Signal:
    written, slash, name = pipeline_id.partition("/")
    if written in _SIGNALS and (name or not slash):
        return _SIGNALS[written]
    if written in _NOT_CARRIED:
        raise ValueError(f"{written} are not carried, only traces and logs; send them to an OpenTelemetry Collector")
    if written in _SIGNALS:
        raise ValueError('is no pipeline id; write a signal or "signal/name"')
    raise ValueError(f'unknown signal "{written}"; {suggestion(written, _SIGNALS)}')


def _reference_problems(section: PipelineSection, written: Written) -> Iterator[tuple[str, str]]:
    """What is wrong with the references of one pipeline, with the key under it."""
    named: dict[Kind, tuple[str, ...]] = {
        "receiver": section.receivers,
        "processor": section.processors,
        "exporter": section.exporters,
    }
    for kind, ids in named.items():
        if not ids and kind != "processor":
            yield f"{kind}s", f": must have at least one {kind}"
        for component_id in dict.fromkeys(ids):
            if component_id not in written.models[kind]:
                yield f"{kind}s", f": {_undefined(kind, component_id, written.models[kind])}"
            elif ids.count(component_id) > 1:
                yield f"{kind}s", f': references {kind} "{component_id}" multiple times'
    samplers = [id_ for id_ in section.processors if id_.partition("/")[0] == "tail_sampling"]
    if len(set(samplers)) > 1:
        yield "processors", f": {' and '.join(samplers)} would decide on the same traces; put their policies into one"


def _needs_assembly(section: PipelineSection) -> bool:
    """Whether whole traces are wanted and nothing puts them together. Ids that are wrong are reported elsewhere."""
    wanted = any(has_role("exporter", id_, "whole traces") for id_ in section.exporters)
    return wanted and not any(has_role("processor", id_, "assembler") for id_ in section.processors)


def _queues(section: PipelineSection, written: Written) -> dict[str, SendingQueueConfig]:
    found = {id_: getattr(written.models["exporter"][id_], "sending_queue", None) for id_ in section.exporters}
    return {id_: queue for id_, queue in found.items() if isinstance(queue, SendingQueueConfig) and queue.enabled}


def _journal(wiring: Wiring, path: Path, queues: Mapping[str, SendingQueueConfig]) -> JournalConfig:
    """The journal that the exporters of a pipeline share: the storage one of them names, the largest of their bounds.

    The largest, since the Collector would give each exporter that much room.
    """
    storages = list(dict.fromkeys(queue.storage for queue in queues.values() if queue.storage))
    capacity = max((queue.journal_bytes for queue in queues.values()), default=DEFAULT_JOURNAL_BYTES)
    if len(storages) > 1:
        wiring.problems.append(
            f"{show(path)}::exporters: share one journal, so they must name the same sending_queue::storage; "
            f"there are {', '.join(storages)}"
        )
    if not storages:
        wiring.warnings.append(
            f"{show(path)}: keeps what it acknowledged in memory, so that it is lost when the process dies; set "
            "sending_queue::storage of an exporter to a file_storage extension to keep it on disk"
        )
    return JournalConfig(storages[0] if storages else "", capacity)
