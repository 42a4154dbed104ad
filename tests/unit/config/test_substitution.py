"""`${...}` in the configuration, by the rules of the Collector's confmap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanbridge.collector.config.substitution import Substitution

ENV = {
    "NAME": "some value",
    "PORT": "4317",
    "OCTAL": "0123",
    "FLAG": "true",
    "EMPTY": "",
    "QUOTED": '"0123"',
    "LIST": "['$$A','$${B}','$${env:C}', '${env:PORT}']",
    "MAP": "{port: '${env:PORT}', text: 'port ${env:PORT}'}",
    "DOLLAR": "here is 1 $$",
    "DOLLARS": "here are 2 $$$",
    "NESTED": "${env:NAME} came from elsewhere",
    "INDIRECT": "${env:PORT}",
    "WHICH": "NAME",
    "TEMPLATE": "{service.name}",
    "NO_YAML": "[::1]:4317",
    "COMMENT": "true # says ${env:no.such.name}",
    "LOOP": "${env:LOOP}",
    "INNER_LOOP": "x ${env:INNER_LOOP}",
    "DEEP_LOOP": "{again: '${env:DEEP_LOOP}', more: '${env:DEEP_LOOP}'}",
    "LINES": "foo\nbar",
}


def expand(value):
    substitution = Substitution(ENV)
    return substitution.expand({"key": value})["key"], substitution


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$$NAME", "$NAME"),
        ("$$$$NAME", "$$NAME"),
        ("$$${NAME}", "$some value"),
        ("some${NAME}text", "somesome valuetext"),
        ("some$${NAME}text", "some${NAME}text"),
        ("$${ONE}$${TWO}", "${ONE}${TWO}"),
        ("$${ONE} ${env:PORT}", "${ONE} 4317"),
        ("text$$", "text$"),
        ("$$", "$"),
        ("$${1}$${env:2}", "${1}${env:2}"),
        ("some$${env:NAME}text", "some${env:NAME}text"),
        ("$${env:${NAME}}", "${env:some value}"),
        ("$${env:$${NAME}}", "${env:${NAME}}"),
        ("env:X}$${NAME}{", "env:X}${NAME}{"),
        ("$$${env:NAME}", "$some value"),
        ("$NAME", "$NAME"),
        ("a } b", "a } b"),
        ("${LIST}", ["$A", "${B}", "${env:C}", 4317]),
        ("${MAP}", {"port": 4317, "text": "port 4317"}),
        ("${DOLLAR}", "here is 1 $"),
        ("${DOLLARS}", "here are 2 $$"),
        ("${NESTED}", "some value came from elsewhere"),
        ("${${WHICH}}", "some value"),
        ("${env:${env:WHICH}}", "some value"),
    ],
)
def test_escapes_and_nesting(text, value):
    assert expand(text)[0] == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env:PORT}", 4317),
        ("${PORT}", 4317),
        ("${env:INDIRECT}", 4317),
        ("port ${env:PORT}", "port 4317"),
        ("${env:PORT}${env:PORT}", "43174317"),
        ("${env:OCTAL}", 83),
        ("x${env:OCTAL}", "x0123"),
        ("${env:FLAG}", True),
        ("${env:QUOTED}", '"0123"'),
        ("${env:EMPTY}", None),
        ("x${env:EMPTY}", "x"),
        ("${env:UNSET}", None),
        ("${env:UNSET:-5}", 5),
        ("${UNSET:-5}", 5),
        ("${env:UNSET:-}", ""),
        ("${env:UNSET:-a:-b}", "a:-b"),
        ("${env:EMPTY:-5}", None),
        ("${env:NO_YAML}", "[::1]:4317"),
        ("${env:COMMENT}", True),
        ("${env:LINES}", "foo\nbar"),
        ("${yaml:[1, 2]}", [1, 2]),
        (5, 5),
        (None, None),
        (["${env:PORT}", {"a": "${env:FLAG}"}], [4317, {"a": True}]),
    ],
)
def test_values(text, value):
    found, substitution = expand(text)
    assert found == value
    assert type(found) is type(value)
    assert substitution.problems == []


@pytest.mark.parametrize(
    ("text", "as_text"),
    [
        ("${env:OCTAL}", "0123"),
        ("${env:INDIRECT}", "4317"),
        ("${env:TEMPLATE}", "{service.name}"),
        ("${env:MAP}", "{port: '4317', text: 'port 4317'}"),
        ("${env:EMPTY}", ""),
        ("${env:UNSET}", ""),
        ("${env:COMMENT}", None),
        ("${env:NAME}", None),
        ("plain", None),
    ],
)
def test_what_a_key_that_wants_text_gets(text, as_text):
    assert expand(text)[1].texts.get(("key",)) == as_text


def test_files(tmp_path):
    (tmp_path / "token").write_text("s3cret\n")
    (tmp_path / "part.yaml").write_text("timeout: 5s\nport: ${env:PORT}\n")
    assert expand(f"${{file:{tmp_path / 'token'}}}")[0] == "s3cret"
    assert expand(f"Bearer ${{file:{tmp_path / 'token'}}}")[0] == "Bearer s3cret"
    assert expand(f"${{file:{tmp_path / 'part.yaml'}}}")[0] == {"timeout": "5s", "port": 4317}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("${env:no.such.name}", "key: ${env:no.such.name} names no environment variable; write ${env:NAME}"),
        ("a ${1}", "key: ${1} names no environment variable; write ${env:NAME}"),
        ("${}", "key: ${} names no environment variable"),
        ("${http:x}", "key: ${http:x} names no environment variable"),
        ("${file:/no/such/file}", "key: ${file:/no/such/file} can't be read: No such file or directory"),
        ("${env:LOOP}", "key: ${env:LOOP} refers to itself"),
        ("${env:INNER_LOOP}", "key: a reference refers to itself"),
        ("a ${env:LOOP}", "key: a reference refers to itself"),
        ("${env:DEEP_LOOP}", "key::again: ${env:DEEP_LOOP} refers to itself"),
    ],
)
def test_what_cannot_be_resolved(text, problem):
    assert expand(text)[1].problems[0].startswith(problem)


def test_a_variable_that_is_not_set_is_told_once():
    _, substitution = expand("${env:UNSET} ${env:UNSET} ${env:OTHER:-x}")
    assert substitution.warnings == ["key: the environment variable UNSET is not set; it reads as empty"]


@given(st.text())
def test_escaped_text_comes_back_as_it_was(text):
    assert expand(text.replace("$", "$$"))[0] == text
