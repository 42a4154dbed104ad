"""Step 1 from YAML to running code: sources and overrides, merged into one tree as the Collector's confmap does.

A source is a path, `file:PATH`, `yaml:KEY::PATH: VALUE` or `env:NAME`. Mappings merge deeply, anything else is
replaced by the later source. Scalars are read as Go's yaml.v3 reads them, which is YAML 1.2: `on` and `12:30` are text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from spanbridge.collector.errors import ConfigError

Tree: TypeAlias = dict[str, Any]

_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]+):(?P<rest>.*)", re.DOTALL)
_TAG = "tag:yaml.org,2002:"
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
    ("merge", r"<<", ["<"]),
)


class _Loader(yaml.SafeLoader):
    """YAML 1.2 scalars only, and no key twice: the later one would replace the first in silence."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012  add_implicit_resolver below fills it for this class

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[str] = []

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Checked before merge keys ("<<") are unfolded, since these may repeat keys by design.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag not in (_TAG + "str", _TAG + "merge"):
                self.problems.append(f"line {line}: a key must be text; put it in quotes")
            elif key.value in lines:
                self.problems.append(f'line {line}: the key "{key.value}" is already there in line {lines[key.value]}')
            else:
                lines[key.value] = line
        return node


for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_TAG + _tag, re.compile(rf"(?:{_pattern})\Z"), _first)


def parse(text: str) -> Any:
    """Return the value of one YAML document; None when it is empty.

    Raises:
        ConfigError: it is no YAML, or a key occurs twice; every problem begins with its line.
    """
    try:
        loader = _Loader(text)
        document = loader.get_single_node()
        if loader.problems:
            raise ConfigError(loader.problems)
        return None if document is None else loader.construct_document(document)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError([_yaml_problem(error)]) from error


def _yaml_problem(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    reason = getattr(error, "problem", None) or getattr(error, "reason", None) or "a value can't be read"
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return f"{place}not valid YAML: {reason}"


def merged(sources: Sequence[str], overrides: Sequence[str], env: Mapping[str, str]) -> Tree:
    """Return one tree of all sources and then all overrides, the later winning.

    Args:
        sources: as the module says.
        overrides: "a.b=value" or "a::b=value"; the value is YAML.
        env: the environment, for `env:NAME`.

    Raises:
        ConfigError: a source can't be read or is not a mapping; every problem begins with the source's name.
    """
    problems: list[str] = []
    trees: list[Tree] = []
    for name, text in _texts(sources, overrides, env, problems):
        try:
            trees.append(_mapping(text))
        except ConfigError as error:
            problems += [f"{name}, {problem}" for problem in error.problems]
    if problems:
        raise ConfigError(problems)
    return reduce(_merge, trees, {})


def _texts(
    sources: Sequence[str], overrides: Sequence[str], env: Mapping[str, str], problems: list[str]
) -> Iterable[tuple[str, str]]:
    """Name and YAML text of each source; names hold no value, as a value may be a secret."""
    for source in sources:
        scheme, rest = _location(source)
        name = "yaml" if scheme == "yaml" else source
        try:
            yield name, retrieve(scheme, rest, env)
        except ValueError as error:
            problems.append(f"{name}: {error}")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not key.strip():
            problems.append(f'--set {key}: a value is missing; write for example "--set exporters.mlflow.timeout=10s"')
            continue
        path = key.strip() if "::" in key else key.strip().replace(".", "::")
        yield f"--set {key.strip()}", f"{path}: {value}"


def _location(source: str) -> tuple[str, str]:
    match = _SCHEME.fullmatch(source)
    return (match["scheme"], match["rest"]) if match else ("file", source)


def retrieve(scheme: str, rest: str, env: Mapping[str, str]) -> str:
    """Return the text behind `scheme:rest`; `env` is the environment.

    Raises:
        ValueError: nothing is there, or the scheme is not known.
    """
    if scheme == "yaml":
        return rest
    if scheme == "env":
        if rest not in env:
            raise ValueError("this environment variable is not set")
        return env[rest]
    if scheme != "file":
        raise ValueError(f'the scheme "{scheme}" is not supported; use a path, "file:", "yaml:" or "env:"')
    try:
        return Path(rest).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ValueError(f"can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ValueError("is not UTF-8 text") from error


def _mapping(text: str) -> Tree:
    value = parse(text)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(['top level: must be a mapping, beginning for example with "receivers:"'])
    return reduce(_merge, (_nested(key, item) for key, item in value.items()), {})


def _nested(key: str, value: Any) -> Tree:
    """`{"a::b": value}` as `{"a": {"b": value}}`."""
    for step in reversed(key.split("::")):
        value = {step: value}
    return value  # type: ignore[no-any-return]  # split yields at least one step


def _merge(earlier: Tree, later: Tree) -> Tree:
    result = dict(earlier)
    for key, value in later.items():
        held = result.get(key)
        result[key] = _merge(held, value) if isinstance(held, dict) and isinstance(value, dict) else value
    return result
