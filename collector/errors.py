"""Every exception of the program, and what each means to who gets it.

SpanbridgeError
├── ConfigError             the configuration is wrong; holds every problem, each "path: what is wrong; the mend"
├── Refusal                 a request is not taken in; the receiver answers with its gRPC and HTTP status
│   ├── Busy                UNAVAILABLE + RetryInfo / 503 + Retry-After; the client holds on and sends again
│   ├── Invalid             INVALID_ARGUMENT / 400
│   ├── TooLarge            RESOURCE_EXHAUSTED without RetryInfo / 413; sending it again can't help
│   ├── Unauthenticated     UNAUTHENTICATED / 401
│   └── Forbidden           PERMISSION_DENIED / 403
└── ExportError             a destination did not take a batch
    ├── Retryable           it may later: keep it and send it again
    │   └── Held            it will once an operator has mended credentials, address or experiment: hold everything
    │       └── Misplaced   it is only the experiment of these that has to be mended: hold them, and no others
    ├── Permanent           it says the data is bad: split, and set aside the one bad trace or span
    └── Denied              the tenant of a trace may not write where it would go: drop and count
"""

from __future__ import annotations

from collections.abc import Sequence


class SpanbridgeError(Exception):
    """The root of the tree."""


class ConfigError(SpanbridgeError):
    """The configuration is wrong.

    Args:
        problems: All that is wrong, one sentence each: the path, what is wrong there, and the mend.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Refusal(SpanbridgeError):
    """A request that is not taken in; its text goes to the client."""


class Busy(Refusal):
    """There is no room right now.

    Args:
        reason: What the client is told.
        retry_after: Seconds after which it may send again. Keep it at about 1 s: the OpenTelemetry Python SDK drops the
            batch at once when it is more than what is left of the export's deadline (its exporter.py).
    """

    def __init__(self, reason: str, retry_after: float = 1.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Invalid(Refusal):
    """The request can't be understood."""


class TooLarge(Refusal):
    """The request is larger than the limit, as sent or after decompression."""


class Unauthenticated(Refusal):
    """The caller has not shown who it is."""


class Forbidden(Refusal):
    """The caller may not write there."""


class ExportError(SpanbridgeError):
    """A destination did not take a batch; the text is fit for a log line and holds no payload and no secret."""


class Retryable(ExportError):
    """The destination may take the same batch later.

    Args:
        reason: What went wrong, fit for a log line.
        retry_after: Seconds that it asked for; None if it did not.
    """

    def __init__(self, reason: str, retry_after: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class Held(Retryable):
    """The destination refuses everybody until an operator mends something (401, 403, 404): never a reason to drop."""


class Misplaced(Held):
    """The experiment that the attributes of a trace lead to is deleted or unknown; others are there."""


class Permanent(ExportError):
    """The destination says that this batch is bad, which need not be so: `flow.delivery` says when it is believed."""


class Denied(ExportError):
    """The tenant of a trace may not write to the experiment that its attributes or the configuration lead to."""
