"""MLflow's translators are asked whenever they would say something, and their answers land where MLflow puts them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.tracing.constant import SpanAttributeKey
from mlflow.tracing.otel import translation

from spanbridge.collector.exporters.mlflow.database.bulk import mlflow_translation as foreign
from spanbridge.collector.exporters.mlflow.database.bulk.mlflow_translation import translate
from spanbridge.collector.exporters.mlflow.database.bulk.values import Unfit


def literals() -> list[str]:
    """Every word MLflow's translators mention: among them each attribute, event and value they know."""
    words = {"lk.function_tools", "gen_ai.prompt.0.content", "gen_ai.completion.1.tool_calls.0.arguments"}
    words |= {"gen_ai.completion.0.content", "gemini-cli", "ai.prompt.messages", "ai.response.text"}
    for path in Path(translation.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and not set(node.value) & set(" \n\\"):
                words.add(node.value)
    return sorted(words - {SpanAttributeKey.LLM_COST, ""})


WORDS = literals()


class StoredSpan:
    """What `translate_span_when_storing` looks at of a span."""

    def __init__(self, attributes: dict[str, str], events: list[dict[str, Any]]) -> None:
        self._content = {"attributes": attributes, "events": events}

    def to_dict(self) -> dict[str, Any]:
        return self._content


def assert_as_mlflow(attributes: dict[str, str], events: list[dict[str, Any]] | None = None) -> None:
    try:
        expected = translation.translate_span_when_storing(StoredSpan(attributes, events or []))["attributes"]
    except Exception:  # noqa: BLE001  MLflow refuses the span
        return
    expected.pop(SpanAttributeKey.LLM_COST, None)
    ours = dict(attributes)
    try:
        translate(ours, events or [])
    except Unfit:
        assert not all(isinstance(value, str) for value in expected.values())
        return
    assert list(ours.items()) == list(expected.items())


@pytest.mark.parametrize("key", WORDS)
def test_every_word_as_an_attribute_with_every_word_as_its_value(key: str):
    for value in (*WORDS, 7, ["a"]):
        assert_as_mlflow({key: json.dumps(value)})


words = st.sampled_from(WORDS)
dumped = (words | st.integers(0, 9) | st.just("") | st.fixed_dictionaries({"model": words})).map(json.dumps)
own = st.sampled_from(
    [SpanAttributeKey.SPAN_TYPE, SpanAttributeKey.INPUTS, SpanAttributeKey.OUTPUTS, SpanAttributeKey.MODEL]
)


@given(
    attributes=st.dictionaries(words | own, dumped, max_size=6),
    events=st.lists(
        st.fixed_dictionaries({"name": words, "attributes": st.dictionaries(words, words, max_size=3)}), max_size=2
    ),
)
def test_words_together(attributes: dict[str, str], events: list[dict[str, Any]]):
    assert_as_mlflow(attributes, events)


@pytest.mark.parametrize("kind", ["null", '"UNKNOWN"', ' "UNKNOWN"', '"null"', '"TOOL"'])
def test_a_type_that_says_nothing_is_replaced(kind: str):
    assert_as_mlflow({SpanAttributeKey.SPAN_TYPE: kind, "gen_ai.operation.name": '"chat"'})


def test_a_model_may_hide_behind_an_escape():
    assert_as_mlflow({SpanAttributeKey.INPUTS: r'{"mo\u0064el": "gpt"}'})


def test_an_answer_that_is_not_text_is_unfit():
    with pytest.raises(Unfit):
        translate({}, [{"name": "gen_ai.content.prompt", "attributes": {"gen_ai.prompt": ["a"]}}])


def test_a_span_that_is_complete_asks_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(foreign, "_fill", lambda *_: pytest.fail("asked"))
    complete = dict.fromkeys(foreign._ATTRIBUTES, '"x"')
    translate({"gen_ai.operation.name": '"chat"', "input.value": '"a"', "lk.user_input": '"b"', **complete}, [])


def test_the_keys_it_remembers_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(foreign, "_MOST_KEYS", 10)
    for number in range(100):
        translate({f"key.{number}": "1"}, [])
    assert len(foreign._bits) <= 10
