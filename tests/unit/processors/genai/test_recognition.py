"""What is worked out once for all spans with the same keys must be right for each of them, and bounded."""

from __future__ import annotations

import random

import pytest

from spanbridge.processors.attributes import as_dict, by_key
from spanbridge.processors.genai import GenAi, GenAiConfig
from spanbridge.processors.genai.convention import readers
from spanbridge.processors.genai.conventions import CONVENTIONS
from spanbridge.processors.genai.view import Layout, SpanView
from spanbridge.processors.types import spans
from tests.samples.traces import span, trace
from tests.unit.processors.genai.test_golden import NAMES, normalized

SPANS = [one for name in NAMES for one in spans(normalized(name).batch)]
FACTS = ("span_type", "inputs", "outputs", "model", "provider", "usage", "cost", "tools", "message_format")


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


def with_keys(fact):
    return [read for read in readers(fact) if getattr(read, "keys", None) is not None]


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda convention: convention.name)
@pytest.mark.parametrize("fact", FACTS)
def test_a_reader_that_states_its_keys_knows_nothing_without_them(convention, fact):
    for read in with_keys(getattr(convention, fact)):
        for one in SPANS:
            attributes = {key: found for key, found in by_key(one.attributes).items() if key not in read.keys}
            # Without a span: its name, kind and status decide nothing either.
            assert read(SpanView(None, attributes, Layout(frozenset(attributes)))) is None


@pytest.mark.parametrize("convention", CONVENTIONS, ids=lambda convention: convention.name)
@pytest.mark.parametrize("fact", ["span_type", "model", "provider"])
def test_a_name_is_read_under_its_keys_alone(convention, fact):
    for read in with_keys(getattr(convention, fact)):
        for one in SPANS:
            attributes = Recorded(by_key(one.attributes))
            read(SpanView(None, attributes, Layout(frozenset(attributes))))
            assert attributes.asked <= set(read.keys)


def facts(values):
    batch = trace([span(b"1" * 16, b"2" * 8, values=values)]).batch
    return as_dict(next(spans(STAGE(batch))).attributes)


STAGE = GenAi(GenAiConfig())


def test_spans_with_the_same_keys_and_other_models_are_each_told_right():
    for number in range(100):
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
def test_a_model_is_a_name(said, model):
    for _ in range(2):
        told = facts({"gen_ai.operation.name": "chat", "gen_ai.request.model": said})
        assert told.get("mlflow.llm.model") == model


def test_the_order_of_attributes_says_nothing():
    values = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "a", "gen_ai.provider.name": "b", "other": 1}
    expected = facts(values)
    for seed in range(20):
        keys = random.Random(seed).sample(sorted(values), len(values))
        assert facts({key: values[key] for key in keys}) == expected


def test_what_is_remembered_of_keys_is_bounded():
    stage = GenAi(GenAiConfig())
    for number in range(5000):
        values = {"gen_ai.operation.name": "chat", "gen_ai.request.model": f"model-{number}", f"key-{number}": 1}
        told = as_dict(next(spans(stage(trace([span(b"1" * 16, b"2" * 8, values=values)]).batch))).attributes)
        assert told["mlflow.llm.model"] == f"model-{number}"
    assert 0 < len(stage._recogniser._candidates) <= 2048


@pytest.mark.parametrize("keys", [[f"key-{number}" for number in range(129)], ["k" * 9000]])
def test_spans_with_many_or_long_keys_are_not_remembered(keys):
    stage = GenAi(GenAiConfig())
    values = {"gen_ai.operation.name": "chat", **dict.fromkeys(keys, 1)}
    told = as_dict(next(spans(stage(trace([span(b"1" * 16, b"2" * 8, values=values)]).batch))).attributes)
    assert told["mlflow.spanType"] == "CHAT_MODEL"
    assert not stage._recogniser._candidates
