"""The `mlflow` exporter's section, and what it takes from the environment that MLflow's own clients read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from spanbridge.collector.exporters.config import QueuedExporterConfig, check_url
from spanbridge.collector.exporters.mlflow.settings import RESOURCE_TAGS, scheme_of
from spanbridge.collector.net.tls import TlsClientConfig
from spanbridge.processors.settings import Duration

if TYPE_CHECKING:
    from typing import Self

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DATABASE = re.compile(r"(?:sqlite|postgresql|mysql)(?:\+\w+)?://")
_TEMPLATE = re.compile(r"(?:[^{}]|\{[^{}]+\})*")
_TLS_KEYS = {"ca_file", "cert_file", "key_file", "insecure_skip_verify"}
_CREDENTIALS = {
    "username": "MLFLOW_TRACKING_USERNAME",
    "password": "MLFLOW_TRACKING_PASSWORD",
    "token": "MLFLOW_TRACKING_TOKEN",
}

ExperimentId: TypeAlias = Annotated[
    str, BeforeValidator(lambda value: str(value) if type(value) is int else value, json_schema_input_type=str | int)
]
"""MLflow's experiment ids look like numbers, so YAML may well hold one."""


CONSUMERS = {"sqlite": 4, "postgresql": 4, "mysql": 4, "http": 4, "https": 4}
"""Sends under way to an MLflow unless told otherwise. To a database: while rows of some are written, those of others
are made. To a tracking server: as many as the workers that `mlflow server` starts; more share a worker's interpreter
lock, and one that waits for a slow database is one of four."""


class MlflowExporterConfig(QueuedExporterConfig):
    """The `mlflow` exporter: whole traces to a tracking server, a tracking database or Databricks."""

    tracking_uri: str = Field(
        default="",
        validate_default=True,
        repr=False,
        description="Where MLflow is: http(s)://host:port of a tracking server, sqlite:///file.db, postgresql://... or "
        "mysql://... of a tracking database, databricks or databricks://profile. If not given, MLFLOW_TRACKING_URI.",
    )
    username: SecretStr = Field(
        default=SecretStr(""),
        description="User name of a tracking server with basic authentication; needs `password`. If none of the "
        "credentials is given, MLFLOW_TRACKING_USERNAME.",
    )
    password: SecretStr = Field(
        default=SecretStr(""),
        description="Password of `username`. If none of the credentials is given, MLFLOW_TRACKING_PASSWORD.",
    )
    token: SecretStr = Field(
        default=SecretStr(""),
        description="Bearer token of a tracking server. If none of the credentials is given, MLFLOW_TRACKING_TOKEN.",
    )
    token_file: str = Field(
        default="",
        description="File that holds a bearer token and is read again when it changes, as those of Kubernetes do; "
        "instead of `token`, `username` and `password`.",
    )
    experiment: str = Field(
        default="",
        description='Name of the experiment, or a template over resource attributes like "{service.name}". If neither '
        "this nor `experiment_id` is given, MLFLOW_EXPERIMENT_ID or MLFLOW_EXPERIMENT_NAME.",
    )
    experiment_id: ExperimentId = Field(
        default="", description="Id of the experiment, instead of `experiment`. It has to be there."
    )
    create_experiments: bool = Field(
        default=True,
        description="Whether to create an experiment that does not exist. If not, its traces are held until it does.",
    )
    default_experiment: str = Field(
        default="Default",
        min_length=1,
        description="Name of the experiment for traces that lack an attribute of the template `experiment`, and for "
        "all where no experiment is given.",
    )
    run_id: str = Field(default="", description="Run that traces are linked to, unless their sender names another.")
    resource_tags: tuple[str, ...] | None = Field(
        default=None,
        description="Glob patterns of the resource attributes that become trace tags; null for "
        f"{', '.join(RESOURCE_TAGS)}.",
    )
    compression: Literal["gzip", "none"] = Field(
        default="gzip", description="Compression of requests to a tracking server."
    )
    tls: TlsClientConfig = Field(
        default=TlsClientConfig(),
        description="TLS towards a tracking server: ca_file, cert_file, key_file, insecure_skip_verify. If not given, "
        "from MLFLOW_TRACKING_SERVER_CERT_PATH, MLFLOW_TRACKING_CLIENT_CERT_PATH and MLFLOW_TRACKING_INSECURE_TLS.",
    )
    headers: dict[str, SecretStr] = Field(
        default_factory=dict, description="Headers for all requests to a tracking server."
    )
    timeout: Duration = Field(
        default=30.0,
        description="Longest time for a whole call to MLflow, whose writes are slow (5s in the Collector).",
    )

    @property
    def consumers(self) -> int:
        """How many sends may be under way: `sending_queue.num_consumers`, or 4 unless that is given.

        SQLite has 4 in any case, as it takes one transaction at a time and more would wait for each other.
        """
        scheme, queue = scheme_of(self.tracking_uri), self.sending_queue
        if "num_consumers" in queue.model_fields_set and scheme != "sqlite":
            return queue.num_consumers
        return CONSUMERS.get(scheme, queue.num_consumers)

    @classmethod
    def with_environment(cls, given: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
        """Complete a section from MLflow's environment variables.

        What belongs together is taken as a whole or not at all: credentials, experiment and TLS come from the
        environment only when nothing of the kind is given. Of both experiment variables the id counts, since MLflow
        itself wants the two to agree.

        Args:
            given: The section as written, by key.
            env: The environment of the process.

        Returns:
            The section with what was found.
        """
        groups = (
            (("tracking_uri",), {"tracking_uri": env.get("MLFLOW_TRACKING_URI")}),
            (("experiment", "experiment_id"), _experiment(env)),
            ((*_CREDENTIALS, "token_file"), {key: env.get(name) for key, name in _CREDENTIALS.items()}),
            (("tls",), {"tls": _tls(env)}),
        )
        result = dict(given)
        for keys, found in groups:
            if all(given.get(key) is None for key in keys):
                result |= {key: value for key, value in found.items() if value}
        return result

    @field_validator("tracking_uri")
    @classmethod
    def _can_take_traces(cls, uri: str) -> str:
        if uri == "databricks" or uri.startswith("databricks://"):
            return uri
        if _DATABASE.match(uri):
            return _check_database(uri)
        match = _SCHEME.match(uri)
        if match and match[1] in ("http", "https"):
            return check_url(uri)
        raise ValueError(_mend(uri, match[1] if match else ""))

    @field_validator("experiment")
    @classmethod
    def _is_a_template(cls, template: str) -> str:
        if not _TEMPLATE.fullmatch(template):
            raise ValueError(
                f'{template!r} is no template; write a name, with resource attributes in braces like "{{service.name}}"'
            )
        return template

    @field_validator("tls")
    @classmethod
    def _is_in_files(cls, tls: TlsClientConfig) -> TlsClientConfig:
        other = sorted(tls.model_fields_set - _TLS_KEYS - tls.NOTES.keys())
        if other:
            raise ValueError(f"{other[0]} is not supported towards MLflow; there are {', '.join(sorted(_TLS_KEYS))}")
        return tls

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.experiment_id and self.experiment:
            raise ValueError("experiment and experiment_id exclude each other; keep one")
        if bool(self.username.get_secret_value()) != bool(self.password.get_secret_value()):
            raise ValueError("username and password need each other; set both or neither")
        if self.token_file and (self.token.get_secret_value() or self.username.get_secret_value()):
            raise ValueError("token_file excludes token, username and password; keep one")
        return self


def _experiment(env: Mapping[str, str]) -> dict[str, str | None]:
    identity = env.get("MLFLOW_EXPERIMENT_ID")
    return {"experiment_id": identity} if identity else {"experiment": env.get("MLFLOW_EXPERIMENT_NAME")}


def _tls(env: Mapping[str, str]) -> dict[str, Any]:
    certificate = env.get("MLFLOW_TRACKING_CLIENT_CERT_PATH", "")
    tls = {
        "insecure_skip_verify": env.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"),
        "ca_file": env.get("MLFLOW_TRACKING_SERVER_CERT_PATH", ""),
        "cert_file": certificate,
        "key_file": certificate,
    }
    return {key: value for key, value in tls.items() if value}


def _check_database(uri: str) -> str:
    scheme, _, rest = uri.partition("://")
    if scheme.startswith("sqlite") and len(rest.partition("?")[0].lstrip("/")) == 0:
        raise ValueError('names no database file; write for example "sqlite:///mlflow.db"')
    if not rest:
        raise ValueError(f'names no database; write for example "{scheme}://user:password@host/mlflow"')
    return uri


def _mend(uri: str, scheme: str) -> str:
    """What to use in place of a URI that can't work, without showing it: it may hold a password."""
    if not uri:
        return "is required; set it here or in MLFLOW_TRACKING_URI, for example to http://localhost:5000"
    if scheme == "postgres":
        return "SQLAlchemy does not know postgres://; write postgresql://"
    if re.match(r"[\w.-]+:\d+(/|$)", uri):
        return "http:// or https:// is missing in front of host and port"
    if scheme == "file" or len(scheme) < len("C:"):
        return (
            "MLflow's file store can't take traces this way; use sqlite:///mlflow.db, or start `mlflow server` and "
            "give its address, for example http://localhost:5000"
        )
    return (
        f'the scheme "{scheme}" is not supported; use http(s):// (a tracking server), sqlite:///, postgresql:// or '
        "mysql:// (a tracking database) or databricks"
    )
