"""Looks for known-bad versions among what is installed: `python -m tests.audit`. Needs no network.

`KNOWN_BAD` names, for packages that a bridge may have beside it, the versions with a published vulnerability that can
matter here, and that vulnerability. It is a floor and no scanner: a new advisory is a new line, and a CI with a network
should run one of the scanners on the SBOM as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import distributions
from typing import NamedTuple

from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

KNOWN_BAD: Mapping[str, Sequence[tuple[str, str]]] = {
    "aiohttp": [("<3.10.11", "CVE-2024-52304"), ("<3.12.14", "CVE-2025-53643")],
    "certifi": [("<2024.7.4", "CVE-2024-39689")],
    "cryptography": [("<42.0.4", "CVE-2024-26130"), ("<44.0.1", "CVE-2024-12797")],
    "fonttools": [(">=4.28.2,<4.43.0", "CVE-2023-45139")],
    "gitpython": [("<3.1.41", "CVE-2024-22190")],
    "grpcio": [
        ("<1.53.2", "CVE-2023-33953"),
        (">=1.54,<1.54.3", "CVE-2023-33953"),
        (">=1.55,<1.55.2", "CVE-2023-33953"),
        (">=1.56,<1.56.2", "CVE-2023-33953"),
    ],
    "gunicorn": [("<22.0.0", "CVE-2024-1135"), ("<23.0.0", "CVE-2024-6827")],
    "h11": [("<0.16.0", "CVE-2025-43859")],
    "idna": [("<3.7", "CVE-2024-3651")],
    "jinja2": [("<3.1.6", "CVE-2025-27516")],
    "mako": [("<1.2.2", "CVE-2022-40023")],
    "mlflow": [("<2.9.2", "CVE-2023-6831")],
    "orjson": [("<3.9.15", "CVE-2024-27454")],
    "pillow": [("<10.3.0", "CVE-2024-28219"), (">=11.2.0,<11.3.0", "CVE-2025-48379")],
    "protobuf": [("<4.25.8", "CVE-2025-4565"), (">=5,<5.29.5", "CVE-2025-4565"), (">=6,<6.31.1", "CVE-2025-4565")],
    "pyarrow": [(">=0.14.0,<14.0.1", "CVE-2023-47248")],
    "pymysql": [("<1.1.1", "CVE-2024-36039")],
    "python-multipart": [("<0.0.18", "CVE-2024-53981")],
    "pyyaml": [("<5.4", "CVE-2020-14343")],
    "requests": [("<2.32.4", "CVE-2024-47081")],
    "sqlparse": [("<0.5.0", "CVE-2024-4340")],
    "starlette": [("<0.40.0", "CVE-2024-47874"), (">=0.39.0,<0.49.1", "CVE-2025-62727")],
    "urllib3": [
        ("<1.26.18", "CVE-2023-45803"),
        (">=2,<2.0.7", "CVE-2023-45803"),
        (">=2,<2.2.2", "CVE-2024-37891"),
        ("<2.5.0", "CVE-2025-50181"),
        ("<2.6.0", "CVE-2025-66418"),
    ],
    "uvicorn": [("<0.11.7", "CVE-2020-7694")],
    "werkzeug": [("<3.0.3", "CVE-2024-34069"), ("<3.0.6", "CVE-2024-49767")],
}


class Finding(NamedTuple):
    """An installed version that is known to be bad."""

    package: str
    version: str
    advisory: str

    def __str__(self) -> str:
        """The sentence that is printed."""
        return f"{self.package} {self.version} has {self.advisory}; install a newer one"


def findings(installed: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    """What is known to be bad among names and versions."""
    for name, version in installed:
        for bad, advisory in KNOWN_BAD.get(canonicalize_name(name), ()):
            if SpecifierSet(bad).contains(Version(version), prereleases=True):
                yield Finding(name, version, advisory)


def main() -> int:
    """Print what is bad; 1 if there is anything."""
    installed = sorted({(found.name, found.version) for found in distributions()})
    bad = list(findings(installed))
    for finding in bad:
        sys.stdout.write(f"{finding}\n")
    sys.stdout.write(f"{len(installed)} packages are installed, {len(bad)} findings\n")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
