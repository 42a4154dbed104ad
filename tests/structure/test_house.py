"""The house stays one that a person can draw: folders, functions, docstrings and keys are counted and bounded."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docs.make_reference import every_model
from tests.paths import ROOT

MOST_MODULES = 16
MOST_AT_THE_TOP = 6
MEDIAN_LINES, P90_LINES = 7, 25
CONVENTIONS = ROOT / "processors/genai/conventions"
"""One file a convention, each by itself: as many as there are conventions."""

SOURCE = [ROOT / "collector", ROOT / "processors"]


def modules(*folders: Path) -> list[Path]:
    return sorted(file for folder in folders for file in folder.rglob("*.py"))


@dataclass
class Definition:
    """A function, method or class, and where it is."""

    name: str
    place: str
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    public: bool
    """By its name and those of what it is in; what is inside a function is nobody else's."""

    @property
    def is_function(self) -> bool:
        return not isinstance(self.node, ast.ClassDef)

    @property
    def lines(self) -> int:
        """From its `def` to its last line, without decorators and docstring."""
        inside = self.node.end_lineno - self.node.lineno + 1
        first = self.node.body[0]
        return inside - (first.end_lineno - first.lineno + 1 if ast.get_docstring(self.node) is not None else 0)


def definitions(file: Path) -> Iterator[Definition]:
    place = str(file.relative_to(ROOT))

    def walk(node: ast.AST, path: tuple[str, ...], *, public: bool) -> Iterator[Definition]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                name = (*path, child.name)
                visible = public and not child.name.startswith("_")
                yield Definition(".".join(name), f"{place}:{child.lineno}", child, visible)
                yield from walk(child, name, public=visible and isinstance(child, ast.ClassDef))
            else:
                yield from walk(child, path, public=public)

    yield from walk(ast.parse(file.read_text()), (), public=True)


ALL = [definition for file in modules(*SOURCE) for definition in definitions(file)]


def test_no_folder_is_crowded():
    folders = {file.parent for file in modules(*SOURCE, ROOT / "tests", ROOT / "docs")} - {CONVENTIONS}
    counts = {
        str(folder.relative_to(ROOT)): sum(file.name != "__init__.py" for file in folder.glob("*.py"))
        for folder in folders
    }
    fullest = sorted(counts.items(), key=lambda item: -item[1])[:5]
    print("\nfullest folders: " + ", ".join(f"{folder} {count}" for folder, count in fullest))
    assert {folder: count for folder, count in counts.items() if count > MOST_MODULES} == {}


def test_few_files_belong_to_no_room():
    files = [file.name for file in (ROOT / "collector").glob("*.py") if file.name != "__init__.py"]
    print(f"\nat the top of collector: {len(files)}: {', '.join(sorted(files))}")
    assert len(files) <= MOST_AT_THE_TOP


def test_functions_are_short():
    functions = sorted((d for d in ALL if d.is_function), key=lambda d: d.lines)
    lines = [function.lines for function in functions]
    median, p90 = statistics.median(lines), statistics.quantiles(lines, n=10)[-1]
    longest = ", ".join(f"{d.name} ({d.place}) {d.lines}" for d in functions[-3:])
    print(f"\n{len(lines)} functions, lines: median {median:g}, p90 {p90:g}; longest: {longest}")
    assert median <= MEDIAN_LINES
    assert p90 <= P90_LINES


def test_what_is_public_has_a_docstring():
    public = [d for d in ALL if d.public and not is_said_elsewhere(d)]
    without = [f"{d.place} {d.name}" for d in public if ast.get_docstring(d.node) is None]
    print(f"\n{len(public)} public functions, methods and classes, {len(without)} without a docstring")
    assert without == []


def is_said_elsewhere(definition: Definition) -> bool:
    """Whether it overrides what has a docstring, or is a property's setter or one more signature of what has one."""
    names = {getattr(node, "attr", getattr(node, "id", "")) for node in definition.node.decorator_list}
    return bool(names & {"override", "overload", "setter"})


def test_modules_say_what_they_own():
    assert [str(file) for file in modules(*SOURCE) if ast.get_docstring(ast.parse(file.read_text())) is None] == []


def test_every_key_is_described():
    keys = [(model, name, field) for model in every_model() for name, field in model.model_fields.items()]
    without = [f"{model.__module__}.{model.__name__}.{name}" for model, name, field in keys if not field.description]
    print(f"\n{len(keys)} keys, {len(without)} without a description")
    assert without == []
