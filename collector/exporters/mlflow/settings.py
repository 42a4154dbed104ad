"""The settings of the exporter: its options, completed from the environment that MLflow users already set.

Names of the variables: mlflow/environment_variables.py; Basic wins over Bearer as in mlflow/utils/rest_utils.py.
"""

from __future__ import annotations

import base64
import configparser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from spanbridge.collector.errors import ConfigError

RESOURCE_TAGS = (
    "service.name",
    "service.version",
    "deployment.*",
    "environment",
    "k8s.namespace.name",
    "k8s.deployment.name",
    "k8s.pod.name",
    "cloud.region",
)
"""Resource attributes that become trace tags unless told otherwise; few, because each costs MLflow two statements."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MlflowSettings:
    """The exporter's options.

    `tracking_uri`: `http(s)://host[/static-prefix]`, a database URI, `databricks` or `databricks://profile`.
    `experiment`: a name, or a template over resource attributes such as `"team-{team}/{service.name}"`;
    `default_experiment` is where a trace goes that lacks one of them. `experiment_id` wins over `experiment`.
    `resource_tags`: globs of resource attributes that become trace tags; None means `RESOURCE_TAGS`.
    `username` and `password` win over `token`; `token_file` holds a token that may change. `timeout`: seconds for one
    call. `ca_file`, `cert_file`, `key_file`, `insecure_skip_verify`: TLS as the Collector names it. `unity_catalog`:
    the `catalog.schema` that traces go to in Databricks, instead of an experiment. `artifact_root`: where experiments
    created in a database keep artifacts.
    """

    tracking_uri: str
    experiment: str = ""
    experiment_id: str = ""
    create_experiments: bool = True
    default_experiment: str = "Default"
    run_id: str = ""
    workspace: str = ""
    resource_tags: Sequence[str] | None = None
    timeout: float = 30.0
    compression: Literal["gzip", "none"] = "gzip"
    headers: Mapping[str, str] = field(default_factory=dict)
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    token_file: str = ""
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    insecure_skip_verify: bool = False
    unity_catalog: str = ""
    artifact_root: str = "mlflow-artifacts:/"

    @property
    def scheme(self) -> str:
        """See `scheme_of`."""
        return scheme_of(self.tracking_uri)

    @property
    def authorization(self) -> str:
        """The value of an Authorization header; empty without credentials."""
        if self.username and self.password:
            return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        return f"Bearer {self.token}" if self.token else ""


def settings_from(environ: Mapping[str, str], **options: Any) -> MlflowSettings:
    """Take settings from options and, where an option is missing, None or empty, from the environment.

    Of credentials and of what names an experiment, one that is given rules out those of the environment.

    Args:
        environ: The environment, with the variables of MLflow's clients.
        options: Fields of `MlflowSettings`.

    Raises:
        ConfigError: There is no tracking URI anywhere, it needs MLflow where that is not installed, or MLflow's file
            of credentials can't be read.
        TypeError: An option is none that `MlflowSettings` knows.
    """
    given = {name: value for name, value in options.items() if value not in (None, "")}
    found = _from_environment(environ)
    for group in (("experiment", "experiment_id", "unity_catalog"), ("username", "password", "token", "token_file")):
        if any(name in given for name in group):
            found = {name: value for name, value in found.items() if name not in group}
    settings = MlflowSettings(**{"tracking_uri": "", **found, **given})
    if not settings.tracking_uri:
        raise ConfigError(["tracking_uri: not given; set it here or in MLFLOW_TRACKING_URI"])
    if settings.scheme in (*DATABASES, "databricks") and find_spec("mlflow") is None:
        raise ConfigError(
            [f"tracking_uri: {settings.scheme} needs MLflow, which is not installed: pip install spanbridge"]
        )
    return _without_userinfo(settings) if settings.scheme in ("http", "https") else settings


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    destination = environ.get("MLFLOW_TRACING_DESTINATION", "")
    stored = _stored_credentials(environ)
    found = {
        "tracking_uri": environ.get("MLFLOW_TRACKING_URI"),
        "experiment": environ.get("MLFLOW_EXPERIMENT_NAME"),
        "experiment_id": environ.get("MLFLOW_EXPERIMENT_ID") or ("" if "." in destination else destination),
        "unity_catalog": destination if "." in destination else "",
        "workspace": environ.get("MLFLOW_WORKSPACE"),
        "username": environ.get("MLFLOW_TRACKING_USERNAME") or stored.get("mlflow_tracking_username"),
        "password": environ.get("MLFLOW_TRACKING_PASSWORD") or stored.get("mlflow_tracking_password"),
        "token": environ.get("MLFLOW_TRACKING_TOKEN"),
        "ca_file": environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH"),
        "cert_file": environ.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
        "insecure_skip_verify": environ.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"),
        "artifact_root": environ.get("MLFLOW_DEFAULT_ARTIFACT_ROOT"),
    }
    return {name: value for name, value in found.items() if value}


def _stored_credentials(environ: Mapping[str, str]) -> Mapping[str, str]:
    """The [mlflow] section of ~/.mlflow/credentials (mlflow/utils/credentials.py), or nothing."""
    parser = configparser.ConfigParser(interpolation=None)
    home = environ.get("HOME") or str(Path("~").expanduser())
    file = Path(home, ".mlflow", "credentials")
    try:
        parser.read(file)
    except configparser.Error as error:
        raise ConfigError([f"{file}: not readable as an INI file; correct or remove it"]) from error
    return parser["mlflow"] if parser.has_section("mlflow") else {}


def _without_userinfo(settings: MlflowSettings) -> MlflowSettings:
    """Credentials move out of the address, so that it is fit for log lines; others win over them."""
    parts = urlsplit(settings.tracking_uri)
    plain = replace(
        settings,
        tracking_uri=urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", "")),
    )
    if settings.authorization or not (parts.username and parts.password):
        return plain
    return replace(plain, username=unquote(parts.username), password=unquote(parts.password))


DATABASES = ("sqlite", "postgresql", "mysql")
"""The schemes of tracking databases, without their drivers."""


def scheme_of(uri: str) -> str:
    """Return the scheme of a URI without a driver, as `postgresql` for `postgresql+psycopg://`.

    Of a URI that is but a word, as "databricks", it is all.
    """
    return urlsplit(uri).scheme.partition("+")[0] or uri


def display(uri: str) -> str:
    """Return a URI without its user and password."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", "")) if parts.netloc else uri
