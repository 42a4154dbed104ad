"""Types, models and providers are remembered by the names that decide them: nothing else may decide them."""

from __future__ import annotations

import random

import pytest

from spanbridge.processors.attributes import as_dict, keys_of, places_of
from spanbridge.processors.genai import GenAi, GenAiConfig
from spanbridge.processors.genai.convention import decided_by, narrowed
from spanbridge.processors.genai.conventions import CONVENTIONS
from spanbridge.processors.genai.values import as_name
from spanbridge.processors.genai.view import Layout, SpanView
from spanbridge.processors.types import spans
from tests.samples.traces import span, trace
from tests.unit.processors.genai.test_golden import NAMES, normalized

SPANS = [one for name in NAMES for one in spans(normalized(name).batch)]


class Recorded(dict):
    """A mapping that knows which of its values were asked for."""

    def __init__(self, items):
        super().__init__(items)
        self.asked = set()

    def __getitem__(self, key):
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key, default=None):
        self.asked.add(key)
        return super().get(key, default)


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda convention: convention.name)
@pytest.mark.parametrize("fact", ["span_type", "model", "provider"])
def test_a_word_is_decided_by_the_names_it_says(convention, fact):
    for one in SPANS:
        attributes = one.attributes[:]
        places = Recorded(places_of(keys_of(attributes)))
        layout = Layout(frozenset(places))
        reader = narrowed(getattr(convention, fact), layout.keys)
        if reader is None or not convention.recognise(layout) or (keys := decided_by(reader)) is None:
            continue
        assert set(keys) <= places.keys()
        if not all(as_name(attributes[places[key]].value.string_value) for key in keys):
            continue
        places.asked.clear()
        # Without a span: its name, kind and status decide nothing either.
        reader(SpanView(None, attributes, places, layout))
        assert places.asked & places.keys() <= set(keys)


def facts(values):
    batch = trace([span(b"1" * 16, b"2" * 8, values=values)]).batch
    return as_dict(next(spans(STAGE(batch))).attributes)


STAGE = GenAi(GenAiConfig())


def test_more_models_than_can_be_remembered_are_each_told_right():
    for number in range(10_000):
        told = facts({"gen_ai.operation.name": "chat", "gen_ai.request.model": f"model-{number}"})
        assert (told["mlflow.spanType"], told["mlflow.llm.model"]) == ("CHAT_MODEL", f"model-{number}")


@pytest.mark.parametrize(
    ("said", "model"),
    [
        ("gpt", "gpt"),
        (" gpt ", "gpt"),
        ('"gpt"', "gpt"),
        ("", None),
        ("null", None),
        (5, "5"),
        (0, "0"),
        (True, None),
        (["gpt"], None),
        ("x" * 1000, "x" * 1000),
    ],
)
def test_what_is_no_short_text_is_read_each_time(said, model):
    for _ in range(2):
        told = facts({"gen_ai.operation.name": "chat", "gen_ai.request.model": said})
        assert told.get("mlflow.llm.model") == model


def test_the_order_of_attributes_says_nothing():
    values = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "a", "gen_ai.provider.name": "b", "other": 1}
    expected = facts(values)
    for seed in range(20):
        keys = random.Random(seed).sample(sorted(values), len(values))
        assert facts({key: values[key] for key in keys}) == expected


def test_what_is_remembered_of_keys_and_texts_is_bounded():
    stage = GenAi(GenAiConfig())
    for number in range(5000):
        values = {"gen_ai.operation.name": "chat", "gen_ai.request.model": f"model-{number}", f"key-{number}": 1}
        told = as_dict(next(spans(stage(trace([span(b"1" * 16, b"2" * 8, values=values)]).batch))).attributes)
        assert told["mlflow.llm.model"] == f"model-{number}"
    assert len(stage._written) <= 4096
    assert len(stage._reading._families) <= 4097


@pytest.mark.parametrize("keys", [[f"key-{number}" for number in range(129)], ["k" * 9000]])
def test_spans_with_many_or_long_keys_are_not_remembered(keys):
    stage = GenAi(GenAiConfig())
    values = {"gen_ai.operation.name": "chat", **dict.fromkeys(keys, 1)}
    told = as_dict(next(spans(stage(trace([span(b"1" * 16, b"2" * 8, values=values)]).batch))).attributes)
    assert told["mlflow.spanType"] == "CHAT_MODEL"
    assert not stage._reading._families
