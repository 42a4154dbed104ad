"""The documents name what there is: files and anchors, commands, components; and the generated one is current."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from docs import make_reference
from spanbridge.collector.cli.main import COMMANDS
from spanbridge.collector.config.components import COMPONENTS
from spanbridge.collector.config.loading import load
from tests.paths import ROOT

FOLDERS = ("docs", "deploy", "collector", "processors", "helm")
DOCUMENTS = [*ROOT.glob("*.md"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*.md"))]
PLACES = "collector|processors|docs|tests|deploy|helm|src"
LONGEST_README = 110

every_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))


def prose(document: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)


def anchors(document: Path) -> set[str]:
    return {make_reference.slug(heading) for heading in re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)}


@every_document
def test_links_lead_somewhere(document):
    missing = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(document)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            missing.append(link)
    assert missing == []


@every_document
def test_files_that_are_named_are_there(document):
    """Names in backticks that begin with a folder of ours and hold no placeholder."""
    named = re.findall(rf"`((?:{PLACES})/[\w./-]+)`", prose(document))
    assert [name for name in named if not (ROOT / name).exists()] == []


@every_document
def test_commands_that_are_named_are_there(document):
    named = re.findall(r"`spanbridge ([a-z]+)", prose(document))
    assert set(named) <= set(COMMANDS)


def test_the_reference_is_current():
    assert make_reference.FILE.read_text() == make_reference.reference(), "run `make docs`"


def test_the_reference_has_every_component():
    text = make_reference.FILE.read_text()
    for component in COMPONENTS:
        assert f"\n### `{component.type}`" in text


def test_the_readme_is_two_screens():
    assert len((ROOT / "README.md").read_text().splitlines()) <= LONGEST_README


def test_the_readmes_configuration_is_right():
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    config = load([f"yaml:{text}"], env={})
    assert config.warnings == ()
    assert set(config.pipelines) == set(yaml.safe_load(text)["service"]["pipelines"])


def test_the_readmes_targets_are_those_of_make():
    targets = set(
        re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text())
    )
    assert {"run", "test"} <= targets
    for target in targets:
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
