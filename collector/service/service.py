"""What the steps of a start hand to one another."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

from spanbridge.collector.config.components import component_of
from spanbridge.collector.config.loading import Config
from spanbridge.collector.extensions import Builder, ExtensionContext, Health
from spanbridge.collector.journal import Journal
from spanbridge.collector.receivers import Accept
from spanbridge.collector.telemetry.metrics import Telemetry


@dataclass(slots=True)
class Service:
    """The program as far as it is: `stack` stops it, `journals` are by pipeline, `accepts` by receiver and signal."""

    config: Config
    telemetry: Telemetry
    stack: AsyncExitStack
    health: Health = field(default_factory=Health)
    journals: dict[str, Journal] = field(default_factory=dict)
    accepts: dict[tuple[str, str], list[Accept]] = field(default_factory=dict)

    def extension(self, extension_id: str) -> Any:
        """Return the extension of an id, newly built; what it is depends on its role.

        Raises:
            ConfigError: a file that its section names can't be used.
        """
        build: Builder = component_of("extension", extension_id).build
        context = ExtensionContext(extension_id, self.health, self.telemetry.registry)
        return build(self.config.extensions[extension_id], context)
