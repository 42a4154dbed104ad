"""Step 1 from YAML to running code: `${env:NAME}` and its kin, resolved as the Collector's confmap does.

`${env:NAME}`, `${env:NAME:-default}`, `${NAME}`, `${file:PATH}` and `${yaml:TEXT}` are replaced, inside out and again
in what came in their place; `$$` stands for one `$`, also in what came from a variable. Keys are left alone. A
reference that is the whole value is read as YAML, so that `${env:PORT}` is a number; inside other text it is text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias

from spanbridge.collector.config.sources import parse, retrieve
from spanbridge.collector.errors import ConfigError

Path: TypeAlias = tuple[str | int, ...]

_REFERENCE = re.compile(r"\$\{((?:(?!\$\{)[^}])*)\}")
_SCHEME = re.compile(r"(env|file|yaml):(.*)", re.DOTALL)
_VARIABLE = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)(?::-(.*))?", re.DOTALL)
_LIMIT = 100
"""How many replacements one text may take, as in the Collector: one that names itself never ends."""


def show(path: Path) -> str:
    """Return a path as the Collector writes it, "a::b"."""
    return "::".join(map(str, path))


class Substitution:
    """Resolves references and remembers what it met.

    `texts` holds, for each value that was one reference and reads as something else than text in YAML, what it was
    as text: a key that wants text gets "0123" and not 83. `problems` and `warnings` begin with the path.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.texts: dict[Path, str] = {}
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def expand(self, value: Any, path: Path = (), trail: tuple[str, ...] = ()) -> Any:
        """Return `value` with every reference resolved; one that can't be stays as it is and is a problem.

        Args:
            value: any part of the tree.
            path: where it is.
            trail: the references whose content it is, so that one that leads back to itself is found.
        """
        if isinstance(value, dict):
            return {key: self.expand(item, (*path, key), trail) for key, item in value.items()}
        if isinstance(value, list):
            return [self.expand(item, (*path, index), trail) for index, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        try:
            return self._scalar(value, path, trail)
        except ValueError as error:
            self.problems.append(f"{show(path)}: {error}")
            return value

    def _scalar(self, text: str, path: Path, trail: tuple[str, ...]) -> Any:
        match = _next(text)
        if match is None or match.group() != text:
            return self._inline(text, path)
        if text in trail:
            raise ValueError(f"{text} refers to itself")
        raw = self._resolve(match[1], path)
        value = _as_yaml(raw)
        if isinstance(value, str):
            return self._scalar(value, path, (*trail, text))
        self._remember_text(raw or "", path)
        return self.expand(value, path, (*trail, text))

    def _inline(self, text: str, path: Path) -> str:
        for _ in range(_LIMIT):
            match = _next(text)
            if match is None:
                return text.replace("$$", "$")
            text = text[: match.start()] + (self._resolve(match[1], path) or "") + text[match.end() :]
        raise ValueError("a reference refers to itself")

    def _remember_text(self, raw: str, path: Path) -> None:
        try:
            self.texts[path] = self._inline(raw, path)
        except ValueError:  # no problem as long as nobody wants it as text
            return

    def _resolve(self, reference: str, path: Path) -> str | None:
        """The text behind a reference; None for a variable that is not set, as the Collector has it."""
        match = _SCHEME.fullmatch(reference)
        scheme, rest = match.groups() if match else ("env", reference)
        try:
            if scheme == "env":
                return self._variable(rest, path)
            return retrieve(scheme, rest, self._env).removesuffix("\n")
        except ValueError as error:
            raise ValueError(f"${{{reference}}} {error}") from error

    def _variable(self, reference: str, path: Path) -> str | None:
        match = _VARIABLE.fullmatch(reference)
        if match is None:
            raise ValueError("names no environment variable; write ${env:NAME} with letters, digits and _")
        name, default = match.groups()
        if name in self._env:
            return self._env[name] or None
        if default is None:
            warning = f"{show(path)}: the environment variable {name} is not set; it reads as empty"
            if warning not in self.warnings:
                self.warnings.append(warning)
        return default


def _next(text: str) -> re.Match[str] | None:
    """The first innermost reference whose `$` is not escaped by an odd number of `$` before it."""
    for match in _REFERENCE.finditer(text):
        before = text[: match.start()]
        if (len(before) - len(before.rstrip("$"))) % 2 == 0:
            return match
    return None


def _as_yaml(raw: str | None) -> Any:
    """What a reference that stands alone is: text stays as it is, quotes included, even where it is no YAML."""
    if not raw:
        return raw
    try:
        value = parse(raw)
    except ConfigError:
        return raw
    return raw if isinstance(value, str) else value
