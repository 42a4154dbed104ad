"""Masks secrets and personal data in spans and log records, before they reach the disk. See README.md here."""

from spanbridge.processors.redaction.config import MASK, RedactionConfig
from spanbridge.processors.redaction.detectors import DETECTORS
from spanbridge.processors.redaction.otlp import Redaction

__all__ = ["DETECTORS", "MASK", "Redaction", "RedactionConfig"]
