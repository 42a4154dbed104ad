"""HTTP to an MLflow server: one pool of connections, one attempt a call, and what an answer means for delivery.

Which statuses are worth another attempt: opentelemetry-proto docs/specification.md (429, 502, 503, 504), and 500,
which MLflow also answers to a lost database connection (mlflow/store/db/utils.py). The mends are those of
mlflow/server/fastapi_security.py, server/auth and server/otel_api.py.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, TypeAlias
from urllib.parse import urlencode, urlsplit

import orjson
import urllib3
from urllib3.exceptions import HTTPError, SSLError

from spanbridge.collector.errors import ExportError, Held, Permanent, Retryable
from spanbridge.collector.exporters.mlflow.settings import MlflowSettings
from spanbridge.collector.net.http_client import pool_manager
from spanbridge.collector.watched_file import WatchedFile

_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONNECTIONS = 16
_REASON_LENGTH = 300

CREDENTIALS = "MLFLOW_TRACKING_USERNAME and _PASSWORD, MLFLOW_TRACKING_TOKEN, or token_file"

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body as a JSON object; empty if it is none."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}

    @property
    def error_code(self) -> str:
        """MLflow's error code, for example RESOURCE_DOES_NOT_EXIST; empty if the answer has none."""
        return str(self.json.get("error_code", ""))

    @property
    def message(self) -> str:
        """The first line of what the server says is wrong: what follows it may be SQL and its parameters."""
        found = self.json
        text = found.get("message") or found.get("detail") or self.body[:_REASON_LENGTH].decode("utf-8", "replace")
        return first_line(str(text))


def first_line(text: str) -> str:
    """Return the first line of a text, cut to a length fit for a log line."""
    return text.strip().partition("\n")[0][:_REASON_LENGTH]


class Rest:
    """Calls to one server, from any thread, with its credentials.

    Each raises `Held` if TLS fails or the token can't be read, `Retryable` if the server can't be reached and
    `Permanent` for what can't be put into a request. An answer is a `Reply` whatever its status: see `checked`.
    """

    def __init__(self, settings: MlflowSettings) -> None:
        self.uri = settings.tracking_uri
        self._gzip = settings.compression == "gzip"
        self._headers = {"User-Agent": "spanbridge", "Accept-Encoding": "identity"}
        if settings.authorization:
            self._headers["Authorization"] = settings.authorization
        self._token = WatchedFile("token_file", settings.token_file, _token) if settings.token_file else None
        self._headers.update(settings.headers)
        self._pool = _pool(settings)

    def get(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Reply:
        """Ask for `path` with a query."""
        return self._call("GET", f"{path}?{urlencode(query)}" if query else path, None, headers)

    def send_json(self, method: str, path: str, message: Json, headers: Mapping[str, str]) -> Reply:
        """Send a JSON object."""
        return self._call(method, path, orjson.dumps(message), {**headers, "Content-Type": "application/json"})

    def send_otlp(self, path: str, payload: bytes, headers: Mapping[str, str]) -> Reply:
        """Post a serialized OTLP request, compressed if so set."""
        wire = {**headers, "Content-Type": "application/x-protobuf"}
        if self._gzip:
            compressor = zlib.compressobj(level=1, wbits=zlib.MAX_WBITS | 16)
            payload = compressor.compress(payload) + compressor.flush()
            wire["Content-Encoding"] = "gzip"
        return self._call("POST", path, payload, wire)

    def _call(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        renewed = {"Authorization": f"Bearer {self._token()}"} if self._token else {}
        headers = {**self._headers, **renewed, **headers}
        try:
            answer = self._pool.request(method, self.uri + path, body=body, headers=headers, redirect=False)
        except SSLError as error:
            raise Held(
                f"{self.uri}: TLS failed ({first_line(str(error))}); set ca_file or MLFLOW_TRACKING_SERVER_CERT_PATH"
            ) from error
        except HTTPError as error:
            raise Retryable(f"{self.uri} can't be reached: {type(error).__name__}") from error
        except ValueError as error:
            raise Permanent(f"{self.uri} can't be asked: {first_line(str(error))}") from error
        return Reply(answer.status, answer.headers, answer.data)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()


def _token(text: str) -> str:
    token = text.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError("holds no token on a line of its own")
    return token


def _pool(settings: MlflowSettings) -> urllib3.PoolManager:
    return pool_manager(
        settings.timeout,
        maxsize=_CONNECTIONS,
        retries=False,
        cert_reqs="CERT_NONE" if settings.insecure_skip_verify else "CERT_REQUIRED",
        ca_certs=settings.ca_file or None,
        cert_file=settings.cert_file or None,
        key_file=settings.key_file or None,
    )


def checked(reply: Reply, uri: str, credentials: str = CREDENTIALS) -> Reply:
    """Return a reply if it is a success.

    Raises:
        ExportError: It is none, and means what `fault` says.
    """
    if _succeeded(reply) and "text/html" not in reply.headers.get("Content-Type", ""):
        return reply
    raise fault(reply, uri, credentials)


def _succeeded(reply: Reply) -> bool:
    return HTTPStatus.OK <= reply.status < HTTPStatus.MULTIPLE_CHOICES


def fault(reply: Reply, uri: str, credentials: str = CREDENTIALS) -> ExportError:
    """Return what an answer that is no success means for delivery.

    Args:
        reply: The answer.
        uri: The server, without a password; sentences begin with it.
        credentials: What to set when credentials are refused.
    """
    if reply.status in _TRANSIENT:
        return Retryable(f"{uri} answers {reply.status}: {reply.message}", retry_after(reply.headers))
    mend = _mend(reply, uri, credentials)
    if mend:
        return Held(f"{uri} answers {reply.status}: {mend}")
    return Permanent(f"{uri} answers {reply.status}: {reply.message}")


def _mend(reply: Reply, uri: str, credentials: str) -> str:
    """What an operator has to mend, or nothing if it is the data that is refused."""
    if _succeeded(reply):
        return "a web page, so this is no MLflow server or a login in front of it; check tracking_uri"
    if HTTPStatus.MULTIPLE_CHOICES <= reply.status < HTTPStatus.BAD_REQUEST:
        return f"it redirects to {reply.headers.get('Location', 'elsewhere')}; use that address as tracking_uri"
    if reply.status == HTTPStatus.FORBIDDEN and "Invalid Host header" in reply.message:
        host = urlsplit(uri).netloc
        return f"Invalid Host header; start the MLflow server with MLFLOW_SERVER_ALLOWED_HOSTS={host}"
    mends = {
        401: f"credentials are missing or wrong; set {credentials}",
        403: f"permission denied ({reply.message}); give this user EDIT on the experiment",
        404: f"not found ({reply.message}); check tracking_uri and its static prefix, the server must be MLflow 3",
        405: "this is no MLflow server; check tracking_uri and its static prefix",
        407: "the proxy wants credentials",
        501: f"{reply.message}; the server needs a database as its backend store, not files",
    }
    return mends.get(reply.status, "")


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read a Retry-After header, which holds seconds or an HTTP date (RFC 9110, 10.2.3); seconds, None without one."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
