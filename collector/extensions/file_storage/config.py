"""The section of `file_storage` (contrib extension/storage/filestorage)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field, NonNegativeInt, field_validator

from spanbridge.processors.settings import ConfigModel, Duration

_COMPACTION = "Without effect here: the journal uses freed space again and needs no compaction."


class CompactionConfig(ConfigModel):
    """`file_storage.compaction`: read so that the Collector's configuration is accepted."""

    directory: str = Field(default="", description=_COMPACTION)
    on_start: bool = Field(default=False, description=_COMPACTION)
    on_rebound: bool = Field(default=False, description=_COMPACTION)
    rebound_needed_threshold_mib: NonNegativeInt = Field(default=100, description=_COMPACTION)
    rebound_trigger_threshold_mib: NonNegativeInt = Field(default=10, description=_COMPACTION)
    max_transaction_size: NonNegativeInt = Field(default=65536, description=_COMPACTION)
    check_interval: Duration = Field(default=5.0, description=_COMPACTION)
    cleanup_on_start: bool = Field(default=False, description=_COMPACTION)


class FileStorageConfig(ConfigModel):
    """`file_storage`: the directory of the journals."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "compaction": "the journal uses freed space again and needs no compaction.",
        "recreate": "a journal that is corrupt is always moved aside, counted and begun anew.",
        "timeout": "a journal that another process has open is refused at once.",
    }

    directory: str = Field(
        default="/var/lib/otelcol/file_storage",
        min_length=1,
        description="Where the journals are, one file a pipeline. It must exist unless create_directory is set.",
    )
    timeout: Duration = Field(
        default=1.0,
        description="Without effect here: a journal that another process has open is refused at once.",
    )
    create_directory: bool = Field(default=False, description="Whether a missing directory is made at start.")
    directory_permissions: str = Field(
        default="0750", description="The permissions of a directory that is made, in octal; the umask is taken off."
    )
    fsync: bool = Field(
        default=False,
        description="Whether each commit waits for the disk, so that it survives a power loss too and not the end of "
        "the process alone.",
    )
    recreate: bool = Field(
        default=False,
        description="Without effect here: a journal that is corrupt is always moved aside, counted and begun anew.",
    )
    compaction: CompactionConfig = Field(default=CompactionConfig(), description=_COMPACTION)

    @field_validator("directory_permissions")
    @classmethod
    def _is_octal(cls, value: str) -> str:
        try:
            valid = 0 <= int(value, 8) < 1 << 9
        except ValueError:
            valid = False
        if not valid:
            raise ValueError('must be file permissions in octal, for example "0750"')
        return value

    @property
    def mode(self) -> int:
        """`directory_permissions` as `os.mkdir` takes them."""
        return int(self.directory_permissions, 8)
