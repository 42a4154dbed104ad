"""Gives every trace the same tags, typed and checked. See README.md here."""

from spanbridge.processors.tag_schema.computed import COMPUTED
from spanbridge.processors.tag_schema.config import STANDARD, SchemaConfig, TagConfig, TagSchemaConfig
from spanbridge.processors.tag_schema.schema import TagSchema

__all__ = ["COMPUTED", "STANDARD", "SchemaConfig", "TagConfig", "TagSchema", "TagSchemaConfig"]
