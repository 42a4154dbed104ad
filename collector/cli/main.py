"""The `spanbridge` command: without a subcommand it runs the bridge, as the Collector's binary does.

A subcommand is one row of `COMMANDS`. Its function gets the arguments after its name and returns the exit code; what
it needs is imported when it is called, so that none pays for another. Exit codes: 0 done, 1 failed, 2 a wrong
configuration or command line, 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from spanbridge.collector.errors import ConfigError, SpanbridgeError

if TYPE_CHECKING:
    from spanbridge.collector.config.loading import Config

FAILED, WRONG, INTERRUPTED = 1, 2, 130


@dataclass(frozen=True, slots=True)
class Command:
    """`target` is "module:function"; the function takes the arguments and returns the exit code."""

    target: str
    help: str


COMMANDS: Mapping[str, Command] = {
    "up": Command("spanbridge.collector.cli.up:main", "start with a built-in configuration and the MLflow UI"),
    "validate": Command("spanbridge.collector.cli.main:validate", "check a configuration without running it"),
    "components": Command("spanbridge.collector.cli.main:components", "list the components there are"),
    "schema": Command("spanbridge.collector.cli.main:schema", "print the JSON Schema of the configuration"),
    "check": Command("spanbridge.collector.cli.check:main", "try whether MLflow can be reached and written to"),
    "journal": Command("spanbridge.collector.cli.journal:main", "list, retry or drop spans that were set aside"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code. Every problem is one line on standard error."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        command = COMMANDS.get(arguments[0]) if arguments else None
        if command is None:
            return run(arguments)
        return int(_function(command.target)(arguments[1:]))
    except ConfigError as error:
        return _fail(error.problems, WRONG)
    except SpanbridgeError as error:
        return _fail([str(error)], FAILED)
    except ModuleNotFoundError as error:
        return _fail([f"this installation lacks the module {error.name}"], FAILED)
    except BrokenPipeError:
        # Whoever read our output (`| head`) has gone; Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


def _function(target: str) -> Callable[..., Any]:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]  # the table names functions


def _fail(problems: Sequence[str], code: int) -> int:
    for problem in problems:
        sys.stderr.write(f"error: {problem}\n")
    return code


def run(arguments: Sequence[str]) -> int:
    """`spanbridge --config F`."""
    parser = argparse.ArgumentParser(
        prog="spanbridge",
        allow_abbrev=False,
        description="OpenTelemetry bridge and collector sidecar for MLflow.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="commands (each has its own --help):\n"
        + "\n".join(f"  {name:12}{command.help}" for name, command in COMMANDS.items()),
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {version_string()}")
    add_config_options(parser)
    config = load_config(parser.parse_args(arguments))
    _function("spanbridge.collector.service.run:run")(config)
    return 0


def validate(arguments: Sequence[str]) -> int:
    """`spanbridge validate --config F`: warnings on standard error; silent and 0 when all is well."""
    parser = argparse.ArgumentParser(prog="spanbridge validate", description="Check a configuration.")
    add_config_options(parser)
    for warning in load_config(parser.parse_args(arguments)).warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return 0


def components(arguments: Sequence[str]) -> int:
    """`spanbridge components`."""
    argparse.ArgumentParser(prog="spanbridge components", description="List the components.").parse_args(arguments)
    from spanbridge.collector.config.components import describe_components

    sys.stdout.write(describe_components())
    return 0


def schema(arguments: Sequence[str]) -> int:
    """`spanbridge schema`."""
    argparse.ArgumentParser(prog="spanbridge schema", description="Print the JSON Schema.").parse_args(arguments)
    from spanbridge.collector.config.json_schema import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")
    return 0


def add_config_options(parser: argparse.ArgumentParser) -> None:
    """The options that `load_config` reads."""
    option: dict[str, Any] = {"action": "append", "default": []}
    parser.add_argument(
        "--config", metavar="SOURCE", help="file, or file:, yaml: or env: as in the Collector; several merge", **option
    )
    parser.add_argument(
        "--set", metavar="KEY=VALUE", help="override one value, e.g. exporters.mlflow.timeout=10s", **option
    )
    parser.add_argument("--feature-gates", metavar="GATES", help="accepted for the Collector's sake, without effect")


def load_config(options: argparse.Namespace) -> Config:
    """The configuration that the command line names.

    Raises:
        ConfigError: there is none, or it is wrong.
    """
    from spanbridge.collector.config.loading import load

    if not options.config:
        raise ConfigError(["no configuration is given; use --config FILE, or start with `spanbridge up`"])
    config = load(options.config, options.set, env=os.environ)
    if options.feature_gates is None:
        return config
    return replace(config, warnings=("--feature-gates: there are none here; ignored", *config.warnings))


def version_string() -> str:
    """Return the installed version, of whichever distribution it is."""
    for distribution in ("spanbridge", "spanbridge-sidecar"):
        with suppress(PackageNotFoundError):
            return version(distribution)
    return "(not installed)"


if __name__ == "__main__":
    sys.exit(main())
