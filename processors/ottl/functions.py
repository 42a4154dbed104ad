"""The functions of OTTL that give a value (converters). Source: contrib's pkg/ottl/ottlfuncs/README.md.

A function is written as a Python one over values; its parameters, snake case as in OTTL, are read from its signature.
Those on times are in time_functions.py.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import orjson
import re2

from spanbridge.processors.ottl.errors import OttlError
from spanbridge.processors.ottl.paths import Constant, Getter, Record
from spanbridge.processors.ottl.values import Duration, Time, Value, equal, is_integer, kind, text
from spanbridge.processors.types import NO_PARENT

Prepare: TypeAlias = Callable[[Sequence[Getter | None]], Getter]

_INT64: Final = range(-(1 << 63), 1 << 63)
_DECIMAL: Final = re.compile(r"[+-]?[0-9]+")
_FLOAT: Final = re.compile(
    r"[+-]?([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity|nan)", re.IGNORECASE
)
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_MAX_CACHED_PATTERNS: Final = 128


@dataclass(frozen=True, slots=True)
class Function:
    """A function of OTTL.

    Attributes are its parameters' names, how many are required, the contexts it is for (empty: all), and what prepares
    it.
    """

    parameters: tuple[str, ...]
    required: int
    prepare: Prepare
    contexts: frozenset[str] = frozenset()


FUNCTIONS: Final[dict[str, Function]] = {}


def function(name: str) -> Callable[[Callable[..., Value]], Callable[..., Value]]:
    """Return a decorator that registers a plain function over values."""

    def register(body: Callable[..., Value]) -> Callable[..., Value]:
        parameters = inspect.signature(body).parameters
        required = sum(parameter.default is parameter.empty for parameter in parameters.values())
        FUNCTIONS[name] = Function(tuple(parameters), required, lambda given: _applied(body, given))
        return body

    return register


def _applied(body: Callable[..., Value], given: Sequence[Getter | None]) -> Getter:
    while given and given[-1] is None:
        given = given[:-1]
    if None in given:
        raise OttlError("an optional argument can't be skipped")
    getters = [getter for getter in given if getter is not None]
    if len(getters) == 1:
        only = getters[0]
        return lambda record: body(only(record))
    return lambda record: body(*[getter(record) for getter in getters])


def want_string(value: Value) -> str:
    """Return a value that must be a string.

    Raises:
        OttlError: It is none.
    """
    if isinstance(value, str):
        return value
    raise OttlError(f"a string is wanted, not a {kind(value)}")


def want_integer(value: Value) -> int:
    """Return a value that must be an integer.

    Raises:
        OttlError: It is none.
    """
    if is_integer(value):
        return value
    raise OttlError(f"an int is wanted, not a {kind(value)}")


def want_list(value: Value) -> list[Any]:
    """Return a value that must be a list.

    Raises:
        OttlError: It is none.
    """
    if isinstance(value, list):
        return value
    raise OttlError(f"a list is wanted, not a {kind(value)}")


def want_map(value: Value) -> dict[str, Any]:
    """Return a value that must be a map.

    Raises:
        OttlError: It is none.
    """
    if isinstance(value, dict):
        return value
    raise OttlError(f"a map is wanted, not a {kind(value)}")


# ---- what kind of value it is


@function("IsString")
def _is_string(value: Value) -> bool:
    return isinstance(value, str)


@function("IsInt")
def _is_int(value: Value) -> bool:
    return is_integer(value)


@function("IsDouble")
def _is_double(value: Value) -> bool:
    return isinstance(value, float)


@function("IsBool")
def _is_bool(value: Value) -> bool:
    return isinstance(value, bool)


@function("IsMap")
def _is_map(value: Value) -> bool:
    return isinstance(value, dict)


@function("IsList")
def _is_list(value: Value) -> bool:
    return isinstance(value, list)


@function("IsEmpty")
def _is_empty(value: Value) -> bool:
    return not value or (isinstance(value, bytes) and not any(value)) or value in (Time(0), Duration(0))


# ---- conversions: nil where the value can't be converted


@function("Int")
def _int(value: Value) -> int | None:
    if isinstance(value, str):
        number = int(value) if len(value) <= len("-9223372036854775808") and _DECIMAL.fullmatch(value) else None
    elif isinstance(value, float):
        number = int(value) if abs(value) < 1 << 63 else None
    else:
        number = int(value) if isinstance(value, int) else None
    return number if number is not None and number in _INT64 else None


@function("Double")
def _double(value: Value) -> float | None:
    if isinstance(value, str):
        return float(value) if _FLOAT.fullmatch(value) else None
    return float(value) if isinstance(value, (int, float)) else None


@function("Bool")
def _bool(value: Value) -> bool | None:
    if isinstance(value, str):
        return True if value in _TRUE else False if value in _FALSE else None
    return bool(value) if isinstance(value, (int, float)) else None


@function("String")
def _as_string(value: Value) -> str | None:
    if value is None:
        return None
    return value.hex() if isinstance(value, bytes) else text(value)


@function("ParseJSON")
def _parse_json(target: Value) -> Value:
    try:
        return orjson.loads(want_string(target))  # type: ignore[no-any-return]
    except orjson.JSONDecodeError:
        raise OttlError("ParseJSON: not JSON") from None


# ---- strings


@function("Len")
def _len(target: Value) -> int:
    if isinstance(target, str):
        return len(target.encode())
    if isinstance(target, (list, dict)):
        return len(target)
    raise OttlError(f"Len takes a string, list or map, not a {kind(target)}")


@function("Concat")
def _concat(values: Value, delimiter: Value) -> str:
    return want_string(delimiter).join(_piece(value) for value in want_list(values))


def _piece(value: Value) -> str:
    if isinstance(value, (list, dict)):
        return ""
    if isinstance(value, bytes):
        return value.hex()
    return "<nil>" if value is None else text(value)


@function("ToLowerCase")
def _to_lower_case(target: Value) -> str:
    return want_string(target).lower()


@function("ToUpperCase")
def _to_upper_case(target: Value) -> str:
    return want_string(target).upper()


def _snake(target: str) -> str:
    spaced = re.sub(r"[A-Z](?=[A-Z][a-z])|[a-z0-9](?=[A-Z])", r"\g<0>_", target)
    return re.sub(r"[\s\-.]+", "_", spaced).lower()


def _camel(target: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[\s\-._]+", target))


FUNCTIONS["ToSnakeCase"] = Function(
    ("target",), 1, lambda given: _applied(lambda target: _snake(want_string(target)), given)
)
FUNCTIONS["ToCamelCase"] = Function(
    ("target",), 1, lambda given: _applied(lambda target: _camel(want_string(target)), given)
)

_CASES: Final[dict[str, Callable[[str], str]]] = {
    "lower": str.lower,
    "upper": str.upper,
    "snake": _snake,
    "camel": _camel,
}


@function("Substring")
def _substring(target: Value, start: Value, length: Value) -> str:
    encoded, first, count = want_string(target).encode(), want_integer(start), want_integer(length)
    if first < 0 or count < 0 or first + count > len(encoded):
        raise OttlError(f"Substring: {first} and {count} are outside of a string of {len(encoded)} bytes")
    return encoded[first : first + count].decode(errors="replace")


@function("Split")
def _split(target: Value, delimiter: Value) -> list[Any]:
    whole, by = want_string(target), want_string(delimiter)
    return list(whole.split(by) if by else whole)


@function("Trim")
def _trim(target: Value, replacement: Value = " ") -> str:
    return want_string(target).strip(want_string(replacement))


@function("TrimPrefix")
def _trim_prefix(value: Value, prefix: Value) -> str:
    return want_string(value).removeprefix(want_string(prefix))


@function("TrimSuffix")
def _trim_suffix(value: Value, suffix: Value) -> str:
    return want_string(value).removesuffix(want_string(suffix))


@function("HasPrefix")
def _has_prefix(value: Value, prefix: Value) -> bool:
    return want_string(value).startswith(want_string(prefix))


@function("HasSuffix")
def _has_suffix(value: Value, suffix: Value) -> bool:
    return want_string(value).endswith(want_string(suffix))


# ---- lists and maps


@function("Index")
def _index_of(target: Value, value: Value) -> int:
    if isinstance(target, str):
        return len(target.partition(want_string(value))[0].encode()) if want_string(value) in target else -1
    return next((i for i, item in enumerate(want_list(target)) if equal(item, value)), -1)


@function("ContainsValue")
def _contains_value(target: Value, item: Value) -> bool:
    return any(equal(entry, item) for entry in want_list(target))


@function("Coalesce")
def _coalesce(values: Value) -> Value:
    return next((value for value in want_list(values) if value is not None), None)


@function("Keys")
def _keys(target: Value) -> list[Any]:
    return list(want_map(target))


@function("Values")
def _values(target: Value) -> list[Any]:
    return list(want_map(target).values())


# ---- ids


def _identifier(value: Value, size: int) -> bytes:
    if isinstance(value, str) and len(value) == 2 * size:
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise OttlError("not hexadecimal") from None
    if isinstance(value, bytes) and len(value) == size:
        return value
    raise OttlError(f"an id of {size} bytes is wanted")


@function("TraceID")
def _trace_id(value: Value) -> bytes:
    return _identifier(value, 16)


@function("SpanID")
def _span_id(value: Value) -> bytes:
    return _identifier(value, 8)


# ---- those that prepare more than a call


def _compiled(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise OttlError(f"{pattern!r} is not a regular expression of RE2: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    reason = error.args[0] if error.args else ""
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)


class _IsMatch:
    """The search for a pattern in a value; a literal pattern is compiled, and refused, when the condition is."""

    def __init__(self, target: Getter, pattern: Getter) -> None:
        self._target = target
        self._pattern = pattern
        self._compiled: dict[str, Any] = {}
        if isinstance(pattern, Constant):
            self._expression(want_string(pattern.value))

    def __call__(self, record: Record) -> bool:
        """Return whether the pattern is found in the value."""
        value = self._target(record)
        if value is None:
            return False
        return self._expression(want_string(self._pattern(record))).search(text(value)) is not None

    def _expression(self, pattern: str) -> Any:
        known = self._compiled.get(pattern)
        if known is None:
            if len(self._compiled) >= _MAX_CACHED_PATTERNS:
                self._compiled.clear()
            known = self._compiled[pattern] = _compiled(pattern)
        return known


def _convert_case(target: Getter, to_case: Getter) -> Getter:
    convert = _CASES.get(to_case.value) if isinstance(to_case, Constant) and isinstance(to_case.value, str) else None
    if convert is None:
        raise OttlError(f"the case is one of {', '.join(_CASES)}")
    return lambda record: convert(want_string(target(record)))


def _is_root_span(record: Record) -> bool:
    return record[2].parent_span_id in NO_PARENT


FUNCTIONS["IsMatch"] = Function(("target", "pattern"), 2, lambda given: _IsMatch(*given))  # type: ignore[arg-type]
FUNCTIONS["ConvertCase"] = Function(("target", "to_case"), 2, lambda given: _convert_case(*given))  # type: ignore[arg-type]
FUNCTIONS["IsRootSpan"] = Function((), 0, lambda _: _is_root_span, frozenset({"span", "spanevent"}))
