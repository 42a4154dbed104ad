"""`spanbridge journal ls|retry|drop`: the spans that were set aside, while the bridge runs or not."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from spanbridge.collector.errors import ConfigError
from spanbridge.collector.journal.sqlite import dead_letters as aside
from spanbridge.collector.journal.sqlite.paths import journal_path


def main(arguments: Sequence[str]) -> int:
    """List, retry or drop what was set aside: `spanbridge journal`.

    Returns:
        0.

    Raises:
        ConfigError: the configuration is wrong, or there is no such journal.
    """
    options = _parser().parse_args(arguments)
    ids = [int(text) for text in getattr(options, "ids", [])] or None
    for path in _paths(options):
        if options.action == "ls":
            _list(path)
        else:
            count = (aside.retry if options.action == "retry" else aside.drop)(path, ids)
            sys.stdout.write(f"{path.name}: {count} {'due again' if options.action == 'retry' else 'dropped'}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    from spanbridge.collector.cli.main import add_config_options

    parser = argparse.ArgumentParser(prog="spanbridge journal", description="Spans that a destination would not take.")
    actions = parser.add_subparsers(dest="action", required=True)
    for name, text in (
        ("ls", "list them, with the reason"),
        ("retry", "make them due again"),
        ("drop", "delete them for good"),
    ):
        action = actions.add_parser(name, help=text)
        action.add_argument("--journal", type=Path, help="the journal's file")
        action.add_argument("--data", type=Path, help="the data folder of `spanbridge up`")
        add_config_options(action)
        if name != "ls":
            action.add_argument("ids", nargs="*", metavar="ID", help="which; all of them by default")
    return parser


def _paths(options: argparse.Namespace) -> list[Path]:
    if options.journal:
        return [options.journal]
    if options.data or not options.config:
        return [journal_path(str((options.data or Path("spanbridge-data")) / "journal"), "traces")]
    return _configured(options)


def _configured(options: argparse.Namespace) -> list[Path]:
    from spanbridge.collector.cli.main import load_config
    from spanbridge.collector.extensions.file_storage.config import FileStorageConfig

    config = load_config(options)
    paths = []
    for pipeline in config.pipelines.values():
        storage = config.extensions.get(pipeline.journal.storage)
        if isinstance(storage, FileStorageConfig) and pipeline.signal == "traces":
            paths.append(journal_path(storage.directory, pipeline.id))
    if not paths:
        raise ConfigError(["no pipeline of this configuration keeps its journal on disk; set sending_queue::storage"])
    return paths


def _list(path: Path) -> None:
    found = aside.entries(path)
    sys.stdout.write(f"{path.name}: {len(found)} set aside\n")
    for entry in found:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.time))
        traces = ",".join(entry.trace_ids[:3]) + (",..." if len(entry.trace_ids) > 3 else "")  # noqa: PLR2004
        reason = "".join(char if char.isprintable() else "?" for char in entry.reason)
        sys.stdout.write(f"{entry.id:6}  {when}  {entry.exporter}  {entry.span_count} span(s)  {traces}  {reason}\n")
