"""Pure OTLP: decoding, encoding, limits, and errors as gRPC and HTTP status."""

from __future__ import annotations

from typing import TypeAlias

from processors.types import Batch, Logs

Request: TypeAlias = Batch | Logs
