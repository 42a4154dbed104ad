"""The `mlflow` exporter's section, and what it takes from the environment that MLflow's own clients read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, SecretStr, field_validator, model_validator

from spanbridge.collector.exporters.config import QueuedExporterConfig, check_url
from spanbridge.collector.exporters.mlflow.settings import scheme_of
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
"""Sends under way to an MLflow unless told otherwise. To a database: of each two, which have a process, the rows of one
are made while those of the other are written. To a tracking server: as many as the workers that `mlflow server` starts;
more share a worker's interpreter lock, and one that waits for a slow database is one of four."""


class MlflowExporterConfig(QueuedExporterConfig):
    """The `mlflow` exporter.

    `experiment` is a name or a template over resource attributes, like "{service.name}"; where it is empty or one of
    the attributes is missing, `default_experiment` counts. `experiment_id` takes its place. `resource_tags` are glob
    patterns of resource attributes that become trace tags; null means the few that the exporter chooses. `token_file`
    holds a token that is read again when it changes, as those of Kubernetes do. `timeout` is 30 s for a whole call, as
    MLflow's writes are slow (5 s in the Collector). `sending_queue.num_consumers` is 4 towards a tracking server unless
    it is given, as many as an MLflow server has workers; 4 towards a database, where each two have a process if there
    are processors for them, and no other number towards SQLite.
    """

    tracking_uri: str = Field(default="", validate_default=True, repr=False)
    username: SecretStr = SecretStr("")
    password: SecretStr = SecretStr("")
    token: SecretStr = SecretStr("")
    token_file: str = ""
    experiment: str = ""
    experiment_id: ExperimentId = ""
    create_experiments: bool = True
    default_experiment: str = Field(default="Default", min_length=1)
    run_id: str = ""
    resource_tags: tuple[str, ...] | None = None
    compression: Literal["gzip", "none"] = "gzip"
    tls: TlsClientConfig = TlsClientConfig()
    headers: dict[str, SecretStr] = Field(default_factory=dict)
    timeout: Duration = 30.0

    @property
    def consumers(self) -> int:
        """How many sends may be under way. SQLite takes one transaction at a time: more would wait for each other."""
        scheme, queue = scheme_of(self.tracking_uri), self.sending_queue
        if "num_consumers" in queue.model_fields_set and scheme != "sqlite":
            return queue.num_consumers
        return CONSUMERS.get(scheme, queue.num_consumers)

    @classmethod
    def with_environment(cls, given: Mapping[str, Any], env: Mapping[str, str]) -> dict[str, Any]:
        """`given` completed from MLflow's environment variables.

        What belongs together is taken as a whole or not at all: credentials, experiment and TLS come from the
        environment only when nothing of the kind is given. Of both experiment variables the id counts, since MLflow
        itself wants the two to agree.
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
