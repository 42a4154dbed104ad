"""Step 2 from YAML to running code: a section becomes a model, or sentences that say what is wrong where."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from spanbridge.collector.config.substitution import Path, show
from spanbridge.collector.errors import ConfigError
from spanbridge.processors.settings import ConfigModel

Model = TypeVar("Model", bound=ConfigModel)

_SENTENCES = {
    "missing": "is required",
    "union_tag_not_found": "its type is required",
    "string_type": "must be text; put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping of keys to values",
    "model_type": "must be a mapping of keys to values",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
}
_WANTS_TEXT = ("string_type", "literal_error")
_WANTS_SECTION = ("model_type", "model_attributes_type", "dict_type")


def suggestion(wrong: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that says a name is not known: the one close to it, or all there are."""
    names = sorted(known)
    close = difflib.get_close_matches(wrong, names, n=1)
    if close:
        return f"did you mean '{close[0]}'?"
    return f"known are {', '.join(names)}" if names else "there is none"


def build(model: type[Model], data: Any, path: Path, texts: Mapping[Path, str]) -> Model:
    """Return the model of one section. Null means the defaults, for the section and for every key in it.

    Args:
        model: the class of the model.
        data: the section as YAML has it.
        path: where the section is, for the sentences; none of them shows a value, which may be a secret.
        texts: the texts of `Substitution`, by path.

    Raises:
        ConfigError: every problem of the section.
    """
    data = {} if data is None else copy.deepcopy(data)
    while True:
        try:
            return model.model_validate(data)
        except ValidationError as error:
            details = error.errors(include_url=False)
            if not any(_mend(model, data, detail, path, texts) for detail in details):
                raise ConfigError(_sentences(model, data, details, path)) from None


def _mend(model: type[ConfigModel], data: Any, detail: ErrorDetails, path: Path, texts: Mapping[Path, str]) -> bool:
    """Whether the problem was one of writing: a null, which means the default, or text that YAML read as a number."""
    place, _ = _locate(model, data, detail["loc"])
    parent = _at(data, place[:-1])
    if not place or not _holds(parent, place[-1]) or detail["type"] == "extra_forbidden":
        return False
    value, text = parent[place[-1]], texts.get((*path, *place))
    if detail["type"] in _WANTS_TEXT and text is not None and not isinstance(value, str):
        parent[place[-1]] = text
    elif value is None and detail["type"] in _WANTS_SECTION:
        parent[place[-1]] = {}
    elif value is None and isinstance(parent, dict):
        del parent[place[-1]]
    else:
        return False
    return True


def _locate(model: type[BaseModel], data: Any, location: Sequence[str | int]) -> tuple[Path, Sequence[type[BaseModel]]]:
    """The path of an error, and the models that may stand there.

    Pydantic's location also names branches of unions; those are neither a key of a model nor in the data.
    """
    place: Path = ()
    models: Sequence[type[BaseModel]] = [model]
    for step in location:
        fields = [fields[step] for fields in map(_fields, models) if step in fields]
        if not fields and not _holds(data, step):
            continue
        place = (*place, step)
        data = data[step] if _holds(data, step) else None
        if fields:
            models = [inner for field in fields for inner in _models_in(field.annotation)]
    return place, models


def _holds(data: Any, step: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(step, int) and step < len(data)
    return isinstance(data, dict) and step in data


def _at(data: Any, place: Path) -> Any:
    for step in place:
        data = data[step] if _holds(data, step) else None
    return data


def _sentences(model: type[ConfigModel], data: Any, details: Sequence[ErrorDetails], path: Path) -> list[str]:
    places = [_locate(model, data, detail["loc"])[0] for detail in details]
    found = [f"{show((*path, *place))}: {_sentence(model, data, d)}" for place, d in zip(places, details, strict=True)]
    return list(dict.fromkeys(found))


def _sentence(model: type[ConfigModel], data: Any, detail: ErrorDetails) -> str:
    kind, context = detail["type"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        *section, key = detail["loc"]
        _, models = _locate(model, data, section)
        return f"unknown key; {suggestion(str(key), [str(known) for other in models for known in _fields(other)])}"
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        return f"unknown type; {suggestion(context['tag'], tags)}"
    if kind == "value_error":
        return str(context["error"])
    if kind == "literal_error":
        return f"must be {context['expected']}"
    message = detail["msg"].removeprefix("Input should be")
    return _SENTENCES.get(kind) or f"must be{message}"


def _fields(model: type[BaseModel]) -> dict[str | int, FieldInfo]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def sections(value: Any, path: Path) -> Iterator[tuple[Path, ConfigModel]]:
    """Yield `value`, which is at `path`, and every section in it that was written down, each with its path."""
    if isinstance(value, ConfigModel):
        yield path, value
        for key, _, item in _written(value):
            yield from sections(item, (*path, key))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from sections(item, (*path, key))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from sections(item, (*path, index))


def _written(section: ConfigModel) -> Iterator[tuple[str, FieldInfo, Any]]:
    for name, field in type(section).model_fields.items():
        if name in section.model_fields_set:
            yield field.alias or name, field, getattr(section, name)


def departures(model: ConfigModel, path: Path) -> Iterator[str]:
    """Yield a warning for each key that does not mean here what it means in the Collector.

    Models say so in `NOTES`, by key. A key that was left at its default, or set to it, changes nothing and is passed
    over.
    """
    for place, section in sections(model, path):
        notes: Mapping[str, str] = getattr(section, "NOTES", {})
        for key, field, value in _written(section):
            if key in notes and value != field.get_default(call_default_factory=True):
                yield f"{show((*place, key))}: {notes[key]}"
