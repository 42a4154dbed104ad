"""Compilation of the tree of an OTTL condition or statement to closures over a record."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanbridge.processors.ottl import time_functions  # noqa: F401  importing it registers its functions
from spanbridge.processors.ottl.arithmetic import calculate, negate
from spanbridge.processors.ottl.errors import OttlError
from spanbridge.processors.ottl.functions import FUNCTIONS, Function
from spanbridge.processors.ottl.grammar import Node, parse
from spanbridge.processors.ottl.paths import Constant, ContextName, Getter, Path, Record, resolve
from spanbridge.processors.ottl.values import COMPARISONS, index, kind

Condition: TypeAlias = Callable[[Record], bool]
"""Evaluates a condition on a record. Raises `OttlError`, and nothing else."""

_MAX_NESTING: Final = 50
_ENUMS: Final[Mapping[str, int]] = {**dict(Span.SpanKind.items()), **dict(Status.StatusCode.items())}
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[0-7]{3}|.)", re.DOTALL)
_ESCAPED: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"'
}  # fmt: skip
_SURROGATES: Final = range(0xD800, 0xE000)
_BOOLEAN: Final = frozenset({"any_of", "all_of", "negate", "compare"})


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of an editor.

    Attributes are how to read it, the path that it is, if it is one, and the name it was given by, if any.
    """

    get: Getter
    path: Path | None = None
    name: str = ""


Editor: TypeAlias = Callable[[Sequence[Argument]], Callable[[Record], None]]
"""Given its arguments, an editor prepares what it does to a record. It may raise `OttlError` at once."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A compiled statement: `edit` is done to a record where `condition` holds."""

    edit: Callable[[Record], None]
    condition: Condition

    def __call__(self, record: Record) -> bool:
        """Run the statement and return whether its condition held."""
        if not self.condition(record):
            return False
        self.edit(record)
        return True


def compile_condition(text: str, context: ContextName) -> Condition:
    """Compile a condition such as `attributes["a"] == "b" and IsMatch(name, "^GET")`.

    Raises:
        OttlError: The text is no condition.
    """
    return _Compiler(context).condition(_child(parse(text, "condition"), 0))


def compile_statement(text: str, context: ContextName, editors: Mapping[str, Editor]) -> Statement:
    """Compile a statement such as `set(name, "x") where kind == SPAN_KIND_SERVER`.

    Raises:
        OttlError: The text is no statement, or there is no such editor.
    """
    tree = parse(text, "statement")
    name, arguments, where = tree.children
    compiler = _Compiler(context)
    editor = editors.get(str(name))
    if editor is None:
        raise OttlError(f"unknown editor {str(name)!r}; known: {', '.join(sorted(editors))}", name.column)
    nodes = arguments.children if arguments is not None else []
    edit = editor([compiler.argument(node) for node in nodes])
    return Statement(edit, compiler.condition(where) if where is not None else lambda _: True)


class _Compiler:
    """The walk over a tree: each method takes a node and returns a closure."""

    def __init__(self, context: ContextName) -> None:
        self._context = context
        self._nesting = 0

    def condition(self, node: Node) -> Condition:
        """Compile a node that must be true or false: a comparison, a literal, a function, or and, or, not over these.

        Raises:
            OttlError: The node is none of these.
        """
        if node.data not in _BOOLEAN and node.data not in ("true", "false", "call"):
            raise OttlError("a condition is a comparison, a function, true or false", _column(node))
        get = self._visit(node)
        if node.data != "call":
            return get  # type: ignore[return-value]
        name = str(node.children[0])

        def checked(record: Record) -> bool:
            value = get(record)
            if isinstance(value, bool):
                return value
            raise OttlError(f"{name} gives a {kind(value)} where true or false is wanted")

        return checked

    def argument(self, node: Node) -> Argument:
        """Compile an argument of an editor."""
        name, value = self._keyword(node) if node.data == "named" else ("", node)
        if value.data == "path":
            path, get = self._resolve(value)
            return Argument(get, path, name)
        return Argument(self.value(value), name=name)

    def value(self, node: Node) -> Getter:
        """Compile a node that stands where OTTL wants a value: anything but a comparison, and, or, not.

        Raises:
            OttlError: The node is none of these.
        """
        if node.data in _BOOLEAN:
            raise OttlError("a comparison can't be used as a value", _column(node))
        return self._visit(node)

    def _visit(self, node: Node) -> Getter:
        self._nesting += 1
        if self._nesting > _MAX_NESTING:
            raise OttlError(f"nested deeper than {_MAX_NESTING} levels", _column(node))
        compiled: Getter = getattr(self, f"_{node.data}")(node)
        self._nesting -= 1
        return compiled

    def _any_of(self, node: Node) -> Getter:
        parts = [self.condition(child) for child in node.children]
        return lambda record: any(part(record) for part in parts)

    def _all_of(self, node: Node) -> Getter:
        parts = [self.condition(child) for child in node.children]
        return lambda record: all(part(record) for part in parts)

    def _negate(self, node: Node) -> Getter:
        part = self.condition(_child(node, 0))
        return lambda record: not part(record)

    def _compare(self, node: Node) -> Getter:
        left, symbol, right = node.children
        compare = COMPARISONS[str(symbol)]
        first, second = self.value(left), self.value(right)
        return lambda record: compare(first(record), second(record))

    def _arithmetic(self, node: Node) -> Getter:
        first, *rest = node.children
        get = self.value(first)
        for symbol, operand in zip(rest[::2], rest[1::2], strict=True):
            get = _calculated(str(symbol), get, self.value(operand))
        return get

    def _sign(self, node: Node) -> Getter:
        symbol, operand = node.children
        get = self.value(operand)
        return (lambda record: negate(get(record))) if symbol == "-" else get

    def _call(self, node: Node) -> Getter:
        name, arguments, *keys = node.children
        function = FUNCTIONS.get(str(name))
        if function is None:
            raise OttlError(f"unknown function {str(name)!r}", name.column)
        if function.contexts and self._context not in function.contexts:
            raise OttlError(f"{name} is not available in context {self._context}", name.column)
        given = self._ordered(function, name, arguments.children if arguments is not None else [])
        try:
            get = function.prepare(given)
        except OttlError as error:
            raise OttlError(f"{name}: {error}", name.column) from None
        return _indexed(get, self._keys(keys))

    def _ordered(self, function: Function, name: Node, nodes: Sequence[Node]) -> list[Getter | None]:
        """Return the arguments in the order of the parameters; None for optional ones that are left out."""
        given: dict[str, Getter] = {}
        for position, node in enumerate(nodes):
            key, value = self._keyword(node) if node.data == "named" else (None, node)
            if key is None and position < len(function.parameters):
                key = function.parameters[position]
            if key not in function.parameters or key in given:
                raise OttlError(f"{name} takes ({', '.join(function.parameters)})", _column(node))
            given[key] = self.value(value)
        if any(parameter not in given for parameter in function.parameters[: function.required]):
            raise OttlError(f"{name} takes ({', '.join(function.parameters)})", name.column)
        return [given.get(parameter) for parameter in function.parameters]

    def _keyword(self, node: Node) -> tuple[str, Node]:
        key, value = node.children
        return str(key), value

    def _path(self, node: Node) -> Getter:
        return self._resolve(node)[1]

    def _resolve(self, node: Node) -> tuple[Path, Getter]:
        names = tuple(str(field.children[0]) for field in node.children)
        if any(len(field.children) > 1 for field in node.children[:-1]):
            raise OttlError("only the last field of a path can be indexed", _column(node))
        keys = self._keys(node.children[-1].children[1:])
        try:
            return resolve(self._context, names, tuple(keys))
        except OttlError as error:
            raise OttlError(str(error), _column(node)) from None

    def _keys(self, nodes: Sequence[Node]) -> list[Getter]:
        return [self.value(_child(node, 0)) for node in nodes]

    def _list(self, node: Node) -> Getter:
        items = [self.value(child) for child in node.children if child is not None]
        return lambda record: [item(record) for item in items]

    def _map(self, node: Node) -> Getter:
        pairs = [pair.children for pair in node.children if pair is not None]
        entries = [(_unquoted(key), self.value(value)) for key, value in pairs]
        return lambda record: {key: value(record) for key, value in entries}

    def _enum(self, node: Node) -> Getter:
        name = _child(node, 0)
        if str(name) not in _ENUMS:
            raise OttlError(f"unknown name {str(name)!r}", name.column)
        return Constant(_ENUMS[str(name)])

    def _string(self, node: Node) -> Getter:
        return Constant(_unquoted(_child(node, 0)))

    def _int(self, node: Node) -> Getter:
        number = int(_child(node, 0))
        if number >= 1 << 63:
            raise OttlError("an integer has 64 bits", _column(node))
        return Constant(number)

    def _float(self, node: Node) -> Getter:
        return Constant(float(_child(node, 0)))

    def _bytes(self, node: Node) -> Getter:
        digits = str(_child(node, 0))[2:]
        if len(digits) % 2:
            raise OttlError("bytes are written with two hex digits each", _column(node))
        return Constant(bytes.fromhex(digits))

    def _true(self, _node: Node) -> Getter:
        return Constant(value=True)

    def _false(self, _node: Node) -> Getter:
        return Constant(value=False)

    def _nil(self, _node: Node) -> Getter:
        return Constant(None)


def _child(node: Node, position: int) -> Any:
    return node.children[position]


def _column(node: Node) -> int | None:
    column = getattr(node.meta, "column", None)
    return column if isinstance(column, int) else None


def _indexed(get: Getter, keys: Sequence[Getter]) -> Getter:
    for key in keys:
        get = _index(get, key)
    return get


def _index(get: Getter, key: Getter) -> Getter:
    return lambda record: index(get(record), key(record))


def _calculated(symbol: str, left: Getter, right: Getter) -> Getter:
    return lambda record: calculate(symbol, left(record), right(record))


def _unquoted(token: Node) -> str:
    def replace(match: re.Match[str]) -> str:
        escape = match[1]
        if escape in _ESCAPED:
            return _ESCAPED[escape]
        code = int(escape, 8) if escape[0].isdigit() and len(escape) > 1 else _hex(escape)
        if code is None or code > sys.maxunicode or code in _SURROGATES:
            raise OttlError(f"unknown escape {match[0]!r}; a backslash itself is written \\\\", token.column)
        return chr(code)

    return _ESCAPE.sub(replace, token[1:-1])


def _hex(escape: str) -> int | None:
    return int(escape[1:], 16) if escape[0] in "xuU" and len(escape) > 1 else None
