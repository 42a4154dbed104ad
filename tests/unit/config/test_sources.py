"""Reading and merging YAML."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.config.sources import merged, parse
from spanbridge.collector.errors import ConfigError


def problems(*sources, overrides=(), env=None):
    with pytest.raises(ConfigError) as caught:
        merged(sources, overrides, env or {})
    return list(caught.value.problems)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("NO", "NO"),
        ("123", 123),
        ("-1_000", -1000),
        ("0123", 83),
        ("0o17", 15),
        ("0xdeadBEEF", 3735928559),
        ("0b11", 3),
        ("08", 8.0),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        (".inf", float("inf")),
        ("12:30:45", "12:30:45"),
        ("2006-01-02T15:04:05Z", "2006-01-02T15:04:05Z"),
        ("2006-01-02", "2006-01-02"),
        ("localhost:4317", "localhost:4317"),
        (":4317", ":4317"),
        ("0.0.0.0:4317", "0.0.0.0:4317"),
        ("~", None),
        ("null", None),
        ("", None),
        ("# nothing", None),
        ("'0123'", "0123"),
        ("!!str 0123", "0123"),
        ("=", "="),
        ("+", "+"),
        ("1.2.3", "1.2.3"),
    ],
)
def test_scalars_are_yaml_1_2(text, value):
    found = parse(text)
    assert found == value
    assert type(found) is type(value)


def test_anchors_and_merge_keys():
    text = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: *a}"
    assert parse(text) == {"a": {"x": 1, "y": 2}, "b": {"x": 1, "y": 3}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a: 1\nb: 2\na: 3", ['line 3: the key "a" is already there in line 1']),
        (
            "a:\n  x: 1\n  x: 2\nb: {y: 1, y: 2}",
            ['line 3: the key "x" is already there in line 2', 'line 4: the key "y" is already there in line 4'],
        ),
        ("a: {1: x, true: y}", ["line 1: a key must be text; put it in quotes"] * 2),
        ("? [a, b]\n: x", ["line 1: a key must be text; put it in quotes"]),
        ("a: [1", ["line 1, column 6: not valid YAML: expected ',' or ']', but got '<stream end>'"]),
        ("a:\n\tb: 1", ["line 2, column 1: not valid YAML: found character '\\t' that cannot start any token"]),
        ("a: 1\n---\nb: 2", ["line 2, column 1: not valid YAML: but found another document"]),
        ("a: !custom x", ["line 1, column 4: not valid YAML: could not determine a constructor for the tag '!custom'"]),
        ("a: *nowhere", ["line 1, column 4: not valid YAML: found undefined alias 'nowhere'"]),
        ("a: \x00", ["not valid YAML: special characters are not allowed"]),
        ("a: !!int x", ["not valid YAML: a value can't be read"]),
    ],
)
def test_what_is_no_configuration(text, found):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert list(caught.value.problems) == found


def test_sources_that_cannot_be_read(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"a: \xe9")
    latin, gone = str(tmp_path / "latin.yaml"), str(tmp_path / "gone.yaml")
    assert problems(latin, gone, str(tmp_path), "env:UNSET", "https://host/c.yaml") == [
        f"{latin}: is not UTF-8 text",
        f"{gone}: can't be read: No such file or directory",
        f"{tmp_path}: can't be read: Is a directory",
        "env:UNSET: this environment variable is not set",
        'https://host/c.yaml: the scheme "https" is not supported; use a path, "file:", "yaml:" or "env:"',
    ]


def test_sources_that_are_no_mapping(tmp_path):
    file = tmp_path / "list.yaml"
    file.write_text("[a]")
    assert problems(str(file), "yaml:a: [secret", "yaml:a: 1\na: 2", overrides=("a.b=[", "a", "=1")) == [
        f'{file}, top level: must be a mapping, beginning for example with "receivers:"',
        "yaml, line 1, column 11: not valid YAML: expected ',' or ']', but got '<stream end>'",
        'yaml, line 2: the key "a" is already there in line 1',
        "--set a.b, line 1, column 8: not valid YAML: expected the node content, but found '<stream end>'",
        '--set a: a value is missing; write for example "--set exporters.mlflow.timeout=10s"',
        '--set : a value is missing; write for example "--set exporters.mlflow.timeout=10s"',
    ]


@pytest.mark.parametrize(
    ("sources", "overrides", "tree"),
    [
        (["yaml:a: {b: 1, c: 2}", "yaml:a: {b: 3}"], [], {"a": {"b": 3, "c": 2}}),
        (["yaml:a: [1, 2]", "yaml:a: [3]"], [], {"a": [3]}),
        (["yaml:a: {b: 1}", "yaml:a: "], [], {"a": None}),
        (["yaml:a: 1", "yaml:a: {b: 1}"], [], {"a": {"b": 1}}),
        (["yaml:a::b::c: 1", "yaml:a::b::d: 2"], [], {"a": {"b": {"c": 1, "d": 2}}}),
        (["yaml:{a::b: 1, a: {c: 2}}"], [], {"a": {"b": 1, "c": 2}}),
        (["yaml:"], [], {}),
        ([], ["a.b=1", "a.b=2", "a.c=[x, y]"], {"a": {"b": 2, "c": ["x", "y"]}}),
        ([], ["a::b.c=x=y"], {"a": {"b.c": "x=y"}}),
        ([], [" a.b = true "], {"a": {"b": True}}),
        ([], ["a.b="], {"a": {"b": None}}),
        (["env:CONFIG"], ["a=2"], {"a": 2, "b": 1}),
    ],
)
def test_merging(sources, overrides, tree):
    assert merged(sources, overrides, {"CONFIG": "{a: 1, b: 1}"}) == tree


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("a: 1", encoding="utf-8-sig")
    assert merged([f"file:{file}"], [], {}) == {"a": 1}


keys = st.sampled_from("abc")
leaves = st.integers() | st.none() | st.lists(st.integers(), max_size=2)
trees = st.dictionaries(keys, st.recursive(leaves, lambda inner: st.dictionaries(keys, inner), max_leaves=4))


@given(trees, trees)
def test_later_wins_and_nothing_else_is_lost(earlier, later):
    tree = merged([f"yaml:{yaml.safe_dump(earlier)}", f"yaml:{yaml.safe_dump(later)}"], [], {})
    assert_merged(earlier, later, tree)


def assert_merged(earlier, later, tree):
    assert tree.keys() == earlier.keys() | later.keys()
    for key, value in tree.items():
        if isinstance(earlier.get(key), dict) and isinstance(later.get(key), dict):
            assert_merged(earlier[key], later[key], value)
        else:
            assert value == (later if key in later else earlier)[key]
