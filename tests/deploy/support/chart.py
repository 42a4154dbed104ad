"""The chart as `helm template` renders it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from tests.deploy.support.tools import ROOT, attempt

CHART = ROOT / "helm/spanbridge"
APPLICATION = ROOT / "tests/deploy/charts/application"
"""A chart that has this one as a dependency and includes the sidecar in its own pods."""
CASES = sorted(CHART.glob("ci/*-values.yaml"))
OLDEST, INJECTION, NEWEST = "1.30", "1.36", "1.37"
"""Kubernetes versions: the first that the chart takes, the first with injection, the last that is known."""

Object = dict[str, Any]


class Refused(Exception):
    """What `helm template` said."""


def render(*values: Object | Path, kubernetes: str = NEWEST, chart: Path = CHART) -> list[Object]:
    """The objects of a release named "bridge" in the namespace "observability"; later values win.

    Raises:
        Refused: the values are not taken.
    """
    place = ["--namespace", "observability", "--kube-version", kubernetes]
    done = attempt("helm", "template", "bridge", chart, *place, *flags(*values))
    if done.returncode:
        raise Refused(done.stderr)
    return [found for found in yaml.safe_load_all(done.stdout) if found]


def flags(*values: Object | Path) -> list[str]:
    """Values as helm takes them on its command line."""
    result: list[str] = []
    for value in values:
        result += ["--values", str(value)] if isinstance(value, Path) else ["--set-json", json.dumps(value)]
    return result


def needs(case: Path) -> str:
    """The first Kubernetes version that takes a file of ci/."""
    return INJECTION if case.name == "sidecar-injection-values.yaml" else OLDEST


def application(folder: Path) -> Path:
    """`APPLICATION` with this chart inside it, as `helm dependency build` leaves it; in a folder of the test's."""
    place = folder / "application"
    shutil.copytree(APPLICATION, place)
    shutil.copytree(CHART, place / "charts/spanbridge")
    return place


def only(objects: list[Object], kind: str) -> Object:
    """The one object of a kind."""
    (found,) = [item for item in objects if item["kind"] == kind]
    return found


def workload(objects: list[Object]) -> Object:
    """The Deployment or StatefulSet."""
    (found,) = [item for item in objects if item["kind"] in ("Deployment", "StatefulSet")]
    return found


def pod_spec(objects: list[Object]) -> Object:
    """The spec of the workload's pods."""
    return workload(objects)["spec"]["template"]["spec"]


def bridge_config(objects: list[Object]) -> str | None:
    """The configuration that a gateway's ConfigMap holds, as text; None where there is no such ConfigMap."""
    texts = [item["data"].get("config.yaml") for item in objects if item["kind"] == "ConfigMap"]
    return next((text for text in texts if text), None)


def expanded(text: str, variables: dict[str, str]) -> str:
    """What a container sees of a value of `env` or `args` (k8s.io/kubernetes third_party/forked/golang/expansion).

    "$(NAME)" is a variable's value where there is one, "$$" is "$", and any other "$" stands for itself.
    """
    result, rest = "", text
    while rest:
        before, dollar, rest = rest.partition("$")
        result += before + dollar
        if rest.startswith("$"):
            rest = rest[1:]
        elif rest.startswith("(") and ")" in rest:
            name, _, after = rest[1:].partition(")")
            if name in variables:
                result, rest = result[:-1] + variables[name], after
    return result


def environment(container: Object, referred: Mapping[str, str] = MappingProxyType({})) -> dict[str, str]:
    """The variables of a container as its process sees them; `referred` are those that come from elsewhere, by name."""
    seen: dict[str, str] = {}
    for entry in container.get("env", ()):
        name = entry["name"]
        if "value" in entry:
            seen[name] = expanded(entry["value"], seen)
        elif name in referred:
            seen[name] = referred[name]
    return seen
