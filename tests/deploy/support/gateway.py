"""A gateway as a process: what the chart renders, on free ports of the loopback and in a folder of the test's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.deploy.support.chart import bridge_config, render
from tests.servers.program import Ports, Program

LOOPBACK = {"SPANBRIDGE_HOST": "127.0.0.1"}
HOST = "${env:SPANBRIDGE_HOST}"


def gateway_config(ports: Ports, folder: Path, uri: str, *values: Path | dict[str, Any]) -> dict[str, Any]:
    """The configuration that the chart renders from `values`, with nothing changed but where things are."""
    http = {"protocols": {"grpc": {"endpoint": f"{HOST}:{ports.grpc}"}, "http": {"endpoint": f"{HOST}:{ports.http}"}}}
    reader = {"host": HOST, "port": ports.metrics, "without_type_suffix": True}
    elsewhere = {
        "config": {
            "receivers": {"otlp": http},
            "exporters": {"mlflow": {"tracking_uri": uri}},
            "extensions": {
                "file_storage": {"directory": str(folder / "journal")},
                "health_check": {"endpoint": f"{HOST}:{ports.health}"},
            },
            "service": {"telemetry": {"metrics": {"readers": [{"pull": {"exporter": {"prometheus": reader}}}]}}},
        },
        "journal": {"mountPath": str(folder)},
    }
    text = bridge_config(render(*values, elsewhere))
    assert text, "no gateway"
    config: dict[str, Any] = yaml.safe_load(text)
    return config


def gateway(config: dict[str, Any], folder: Path, ports: Ports, env: Mapping[str, str] = LOOPBACK) -> Program:
    """The program under a configuration of `gateway_config`; a context manager."""
    return Program(config, folder, ports, **env)
