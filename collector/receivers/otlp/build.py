"""From the `otlp` section to its servers. gRPC is imported for those who serve it alone: memory, and time to start."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager

from spanbridge.collector.receivers import ReceiverContext
from spanbridge.collector.receivers.otlp.config import OtlpReceiverConfig, ServerConfig
from spanbridge.collector.receivers.otlp.intake import Receiver


def build(config: OtlpReceiverConfig, context: ReceiverContext) -> Sequence[AbstractAsyncContextManager[object]]:
    """Return the servers of the protocols that are configured.

    Raises:
        ConfigError: an authenticator can't be used.
    """
    servers: list[AbstractAsyncContextManager[object]] = []
    if (grpc := config.protocols.grpc) is not None:
        from spanbridge.collector.receivers.otlp import grpc_server  # noqa: PLC0415

        servers.append(grpc_server.serve(grpc, _receiver(config, grpc, context)))
    if (http := config.protocols.http) is not None:
        from spanbridge.collector.receivers.otlp import http_server  # noqa: PLC0415

        servers.append(http_server.serve(http, _receiver(config, http, context)))
    return servers


def _receiver(config: OtlpReceiverConfig, protocol: ServerConfig, context: ReceiverContext) -> Receiver:
    return Receiver(
        context.id,
        context.telemetry,
        traces=context.traces,
        logs=context.logs,
        authenticate=context.authenticator(protocol.auth.authenticator) if protocol.auth else None,
        max_value=config.attribute_value_length_limit,
        counts=config.counts,
        max_items=config.max_request_items,
    )
