"""Sections that exporters share: timeout, retry and sending queue (the Collector's exporterhelper)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, PositiveInt, SecretStr, model_validator

from spanbridge.processors.settings import ConfigModel, Duration

if TYPE_CHECKING:
    from typing import Self

DEFAULT_JOURNAL_BYTES = 1 << 30


class RetryConfig(ConfigModel):
    """`retry_on_failure` (configretry): the pause after a failed send."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "enabled": "what was acknowledged is never given up: a send that failed is repeated in any case.",
        "max_elapsed_time": "what was acknowledged is never given up: only the size of the queue limits an outage.",
    }

    enabled: bool = Field(
        default=True,
        description="Without effect here: what was acknowledged is never given up; a failed send is repeated.",
    )
    initial_interval: Duration = Field(
        default=5.0,
        gt=0,
        description="The pause after the first failure; at least what the destination asks for. The Collector takes 0, "
        "which would retry without a pause and is refused here.",
    )
    randomization_factor: float = Field(
        default=0.5, ge=0, le=1, description="The share by which a pause is made longer or shorter at random."
    )
    multiplier: float = Field(default=1.5, ge=1, description="What the pause is multiplied by after each failure.")
    max_interval: Duration = Field(default=30.0, gt=0, description="The longest pause.")
    max_elapsed_time: Duration = Field(
        default=0.0,
        description="Without effect here: sends are repeated for as long as it takes, and only the size of the queue "
        "limits an outage. The default is 0, for ever, where the Collector has 5m.",
    )

    @model_validator(mode="after")
    def _intervals_fit(self) -> Self:
        for key in ("initial_interval", "max_interval"):
            if self.enabled and 0 < self.max_elapsed_time < getattr(self, key):
                raise ValueError(f"max_elapsed_time must not be less than {key}")
        return self


class PartitionConfig(ConfigModel):
    """`sending_queue.batch.partition`."""

    metadata_keys: tuple[str, ...] = Field(
        default=(), description="Without effect here: the pipeline's batch processor says how traces are gathered."
    )


class QueueBatchConfig(ConfigModel):
    """`sending_queue.batch`, which is checked as the Collector does and not used."""

    flush_timeout: Duration = Field(
        default=0.2, gt=0, description="The longest wait for a batch to fill. Without effect here."
    )
    sizer: Literal["items", "bytes"] = Field(
        default="items", description="The unit of min_size and max_size. Without effect here."
    )
    min_size: NonNegativeInt = Field(default=8192, description="The least size of a batch. Without effect here.")
    max_size: NonNegativeInt = Field(
        default=0, description="The largest size of a batch, 0 for no bound. Without effect here."
    )
    partition: PartitionConfig = Field(
        default=PartitionConfig(), description="What keeps batches apart. Without effect here."
    )

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if 0 < self.max_size < self.min_size:
            raise ValueError("max_size must be greater than or equal to min_size")
        return self


class SendingQueueConfig(ConfigModel):
    """`sending_queue`: here the journal of the pipeline, which all of its exporters share."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "wait_for_result": "a sender is answered as soon as the journal holds its spans, never after the destination.",
        "block_on_overflow": "a full journal never blocks: the sender is told to send again in about 1 s.",
        "batch": "the pipeline's batch processor says how traces are gathered for delivery; this is not used.",
    }

    enabled: bool = Field(
        default=True,
        description="Whether this section counts. There is a journal in any case: false leaves its bound and its "
        "storage to the pipeline's other exporters.",
    )
    num_consumers: PositiveInt = Field(default=10, description="How many sends may be under way at once.")
    queue_size: PositiveInt | None = Field(
        default=None,
        description="The bound of the journal in bytes, when sizer is bytes; else it is 1 GiB, since the Collector's "
        "1000 requests are no bound for a disk. Of several exporters the largest bound counts.",
    )
    sizer: Literal["requests", "items", "bytes"] = Field(
        default="requests", description="The unit of queue_size. The journal is bounded in bytes alone."
    )
    wait_for_result: bool = Field(
        default=False,
        description="Without effect here: a sender is answered as soon as the journal holds its spans.",
    )
    block_on_overflow: bool = Field(
        default=False,
        description="Without effect here: when the journal is full the sender is told to send again in about 1 s.",
    )
    storage: str | None = Field(
        default=None,
        description="The id of a storage extension, such as file_storage, that keeps the journal. Without one it is "
        "in memory, and what was acknowledged is lost when the process dies.",
    )
    batch: QueueBatchConfig | None = Field(
        default=None,
        description="Without effect here: the pipeline's batch processor says how traces are gathered for delivery.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.wait_for_result and self.storage:
            raise ValueError("wait_for_result is not supported with a persistent queue configured with storage")
        if self.batch and self.batch.sizer == self.sizer and self.batch.min_size > self.journal_bytes:
            raise ValueError("batch::min_size must be less than or equal to queue_size")
        return self

    @property
    def journal_bytes(self) -> int:
        """The bound of the journal."""
        return self.queue_size if self.queue_size and self.sizer == "bytes" else DEFAULT_JOURNAL_BYTES


class QueuedExporterConfig(ConfigModel):
    """What every exporter that sends over a network has."""

    timeout: Duration = Field(default=5.0, description="How long one attempt to send may take.")
    retry_on_failure: RetryConfig = Field(
        default=RetryConfig(), description="How long to wait before a failed send is repeated."
    )
    sending_queue: SendingQueueConfig = Field(
        default=SendingQueueConfig(),
        description="The journal before the exporter, and how many sends run at once.",
    )


def check_url(url: str) -> str:
    """Return `url` itself.

    Raises:
        ValueError: it is no http:// or https:// URL with a host; the sentence leaves out what may be a secret.
    """
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ValueError("must be a whole URL: http:// or https:// and a host")
    return url


def plain_headers(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    """Return the headers of a section with their values in plain text, as a request needs them."""
    return {key: value.get_secret_value() for key, value in headers.items()}
