"""The configuration takes contrib's shapes and refuses what would do nothing, with a sentence that says the mend."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from spanbridge.processors.genai import GenAiConfig
from spanbridge.processors.genai.config import NAMES


def test_every_convention_is_on_without_sources():
    assert set(GenAiConfig().settings(NAMES)) == NAMES


def test_contribs_mapping_and_its_proposals_list_mean_the_same():
    mapping = GenAiConfig.model_validate({"sources": {"openinference": {"overwrite": True}, "openllmetry": None}})
    listed = GenAiConfig.model_validate({"sources": [{"name": "openinference", "overwrite": True}, "openllmetry"]})
    assert mapping == listed
    assert set(mapping.settings(NAMES)) == {"openinference", "traceloop"}


def test_custom_alone_leaves_every_convention_on():
    config = GenAiConfig.model_validate({"sources": {"custom": {"custom_mappings": {"a": "b"}}}})
    assert set(config.settings(NAMES)) == NAMES
    assert [(source, target) for source, target, _ in config.custom()] == [("a", "b")]


def test_the_processors_own_switches_hold_where_a_source_says_nothing():
    config = GenAiConfig.model_validate(
        {"remove_originals": True, "sources": {"otel": {}, "langfuse": {"remove_originals": False}}}
    )
    settings = config.settings(NAMES)
    assert (settings["otel"].remove_originals, settings["langfuse"].remove_originals) == (True, False)


WRONG = [
    ({"sources": {"opneinference": {}}}, "is no convention this processor knows"),
    ({"sources": {"custom": {}}}, "does nothing without custom_mappings"),
    ({"sources": {"otel": {"custom_mappings": {"a": "a"}}}}, "is mapped to itself"),
    ({"sources": {"otel": {"custom_mappings": {"": "a"}}}}, "needs a source and a target"),
    ({"sources": [{"name": "otel"}, {"name": "gen_ai"}]}, "named twice: otel"),
    ({"sources": {"otel": {"overwirte": True}}}, "Extra inputs are not permitted"),
    ({"source": {}}, "Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("config", "reason"), WRONG)
def test_what_is_refused(config, reason):
    with pytest.raises(ValidationError, match=reason):
        GenAiConfig.model_validate(config)
