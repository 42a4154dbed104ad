"""The audit of installed versions."""

import re
import sys

import pytest
from packaging.requirements import Requirement

from tests import audit
from tests.paths import ROOT

CONSTRAINTS = ROOT / "constraints.txt"


@pytest.mark.parametrize(
    ("name", "version", "advisories"),
    [
        ("h11", "0.14.0", ["CVE-2025-43859"]),
        ("h11", "0.16.0", []),
        ("PyMySQL", "1.1.0", ["CVE-2024-36039"]),
        ("python_multipart", "0.0.9", ["CVE-2024-53981"]),
        ("protobuf", "5.29.4", ["CVE-2025-4565"]),
        ("protobuf", "5.29.5", []),
        ("protobuf", "6.31.0rc1", ["CVE-2025-4565"]),
        ("urllib3", "2.2.1", ["CVE-2024-37891", "CVE-2025-50181", "CVE-2025-66418"]),
        ("something-else", "0.1", []),
    ],
)
def test_known_bad_versions_are_found(name, version, advisories):
    assert [finding.advisory for finding in audit.findings([(name, version)])] == advisories


def test_what_is_pinned_is_good():
    pins = [Requirement(line) for line in CONSTRAINTS.read_text().splitlines() if re.match(r"[A-Za-z]", line)]
    pinned = [(pin.name, next(iter(pin.specifier)).version) for pin in pins]
    assert len(pinned) > 50
    assert list(audit.findings(pinned)) == []


def test_a_finding_fails_the_step(monkeypatch, capsys):
    class Installed:
        name, version = "h11", "0.9.0"

    monkeypatch.setattr(audit, "distributions", lambda: [Installed])
    monkeypatch.setattr(sys, "argv", ["audit"])
    assert audit.main() == 1
    assert "h11 0.9.0 has CVE-2025-43859" in capsys.readouterr().out
