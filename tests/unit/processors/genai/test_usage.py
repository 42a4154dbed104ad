"""Token counts and costs of every make, in MLflow's keys."""

from __future__ import annotations

import pytest

from spanbridge.processors.genai.usage import CostKeys, UsageKeys, usage_object
from spanbridge.processors.genai.values import as_count, as_name, as_text, decoded, is_empty, to_json

CASES = [
    ({"prompt_tokens": 42, "completion_tokens": 7, "total_tokens": 49}, (42, 7, 49), {}),
    (
        {"prompt_tokens": 42, "completion_tokens": 7, "prompt_tokens_details": {"cached_tokens": 10}},
        (42, 7, 49),
        {"cache_read_input_tokens": 10},
    ),
    (
        {"input_tokens": 42, "output_tokens": 7, "total_tokens": 49, "output_token_details": {"reasoning": 3}},
        (42, 7, 49),
        {"reasoning_tokens": 3},
    ),
    (
        {"input_tokens": 12, "output_tokens": 7, "cache_read_input_tokens": 20, "cache_creation_input_tokens": 10},
        (42, 7, 49),
        {"cache_read_input_tokens": 20, "cache_creation_input_tokens": 10},
    ),
    ({"inputTokens": 42, "outputTokens": 7, "totalTokens": 49}, (42, 7, 49), {}),
    (
        {"promptTokenCount": 42, "candidatesTokenCount": 7, "thoughtsTokenCount": 3, "cachedContentTokenCount": 10},
        (42, 7, 49),
        {"cache_read_input_tokens": 10, "reasoning_tokens": 3},
    ),
    ('{"prompt_tokens": "42", "completion_tokens": 7.0}', (42, 7, 49), {}),
]


@pytest.mark.parametrize(("stated", "counts", "extra"), CASES)
def test_a_providers_own_object(stated, counts, extra):
    expected = dict(zip(("input_tokens", "output_tokens", "total_tokens"), counts, strict=True))
    assert usage_object(stated) == {**expected, **extra}


@pytest.mark.parametrize("stated", [None, "", {}, [], {"other": 1}, "text", {"prompt_tokens": "many"}])
def test_no_usage(stated):
    assert usage_object(stated) is None


def test_what_embeddings_state_has_a_total():
    assert UsageKeys(input=("i",)).within({"i": 5}) == {"input_tokens": 5, "total_tokens": 5}


def test_a_total_that_is_too_small_is_counted_again():
    assert UsageKeys(input=("i",), output=("o",), total=("t",)).within({"i": 5, "o": 2, "t": 0})["total_tokens"] == 7


def test_a_total_alone_is_kept():
    assert UsageKeys(total=("t",)).within({"t": 9}) == {"total_tokens": 9}


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (3, 3),
        (3.0, 3),
        ("3", 3),
        ("3.0", 3),
        (True, None),
        (-1, None),
        ("x", None),
        (float("nan"), None),
        (1e300, None),
    ],
)
def test_counts_as_producers_write_them(value, count):
    assert as_count(value) == count


def test_a_cost_without_a_total_is_summed():
    keys = CostKeys(input=("i",), output=("o",), total=("t",))
    assert keys.read({"i": 0.25, "o": 0.5}.get) == {"input_cost": 0.25, "output_cost": 0.5, "total_cost": 0.75}
    assert keys.read({"t": 0.5}.get) == {"input_cost": 0.0, "output_cost": 0.0, "total_cost": 0.5}
    assert keys.read({}.get) is None


@pytest.mark.parametrize("value", ["", "null", "{}", "[]", '""', "<REDACTED>", None, [], {}, b""])
def test_what_says_nothing(value):
    assert is_empty(value)


@pytest.mark.parametrize("value", [0, False, "0", "None", " ", [None], {"a": None}])
def test_what_says_something(value):
    assert not is_empty(value)


@pytest.mark.parametrize(
    ("value", "name"),
    [("gpt", "gpt"), ('"gpt"', "gpt"), (" gpt ", "gpt"), (7, "7"), ("None", None), ([], None), (True, None)],
)
def test_names(value, name):
    assert as_name(value) == name


def test_json_that_orjson_refuses():
    deep = []
    for _ in range(400):
        deep = [deep]
    assert to_json(deep).startswith("[[[")
    assert to_json({"a": b"hi", "n": float("nan")}) == '{"a":"aGk=","n":null}'
    assert to_json([1 << 70]) == f"[{1 << 70}]"
    for _ in range(100_000):
        deep = [deep]
    assert to_json(deep) == '"(nested too deeply to show)"'


def test_text_that_only_looks_like_json_stays():
    assert decoded("[INFO] starting") == "[INFO] starting"
    assert as_text({"a": 1}) == '{"a":1}'
