"""What both Databricks destinations share: mlflow's client, and what its errors mean for delivery.

Databricks' own SDK finds host and credentials (DATABRICKS_HOST, DATABRICKS_TOKEN, DATABRICKS_CONFIG_PROFILE, ...).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import orjson

from spanbridge.collector.errors import ExportError, Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.server.rest import Reply, fault, first_line

CREDENTIALS = "DATABRICKS_HOST and DATABRICKS_TOKEN, or DATABRICKS_CONFIG_PROFILE"


def tracing_client(uri: str) -> Any:
    """Return a `mlflow.tracing.client.TracingClient`.

    Raises:
        ImportError: mlflow is not installed.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.tracing.client import TracingClient  # noqa: PLC0415  only who needs it pays

    return TracingClient(uri)


@contextlib.contextmanager
def faults(uri: str) -> Iterator[None]:
    """Turn errors of mlflow, of Databricks' SDK and of an upload into what they mean for delivery.

    Raises:
        ExportError: What went wrong in the block.
    """
    try:
        yield
    except ExportError:
        raise
    except ImportError as error:
        raise Held(f"{uri}: {_missing(error)}") from error
    except Exception as error:
        raise _fault(error, uri) from error


def _missing(error: ImportError) -> str:
    """What could not be imported, and the mend."""
    module = (error.name or "").partition(".")[0]
    if module == "databricks":
        return "Databricks' SDK is not installed; install databricks-sdk"
    if module == "mlflow" and error.name != "mlflow":
        return f"the installed MLflow does not fit, it has no {error.name}; install mlflow 3.15 or newer"
    return f"{module or error} is not installed, which writing to Databricks takes; install {module or 'it'}"


def _fault(error: Exception, uri: str) -> ExportError:
    said = f"{type(error).__name__}: {first_line(str(error))}"
    response = getattr(error, "response", None)
    if (status := getattr(response, "status_code", None)) is None and hasattr(error, "get_http_status_code"):
        status = error.get_http_status_code()
    if status is not None:
        return fault(Reply(status, {}, orjson.dumps({"message": said})), uri, CREDENTIALS)
    if isinstance(error, ValueError) and "credentials" in said:
        return Held(f"{uri}: {said}; set {CREDENTIALS}")
    if isinstance(error, (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)):
        return Permanent(f"{uri}: {said}")
    return Retryable(f"{uri}: {said}")
