"""TLS as the Collector configures it (config/configtls): the models, and what servers and clients make of them.

Files are read when a server or client is built, before a socket opens, and again by servers when `reload_interval`
has passed and a file has changed. What can't be read is a `ConfigError`; a reload that fails keeps what there was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import ssl
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, TypeAlias

from pydantic import Field, SecretStr, field_validator, model_validator

from spanbridge.collector.errors import ConfigError
from spanbridge.processors.settings import ConfigModel, Duration

if TYPE_CHECKING:
    from typing import Self

    import grpc

logger = logging.getLogger(__name__)

TlsVersion: TypeAlias = Literal["1.2", "1.3"]
"""1.0 and 1.1, which the Collector still knows, are broken and refused."""

_VERSIONS: Mapping[str, ssl.TLSVersion] = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

_CIPHERS: Mapping[str, str] = {
    f"TLS_ECDHE_{kind}_WITH_{go}": f"ECDHE-{kind}-{openssl}"
    for kind in ("ECDSA", "RSA")
    for go, openssl in (
        ("AES_128_CBC_SHA", "AES128-SHA"),
        ("AES_256_CBC_SHA", "AES256-SHA"),
        ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
        ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
        ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
    )
}
"""The suites Go counts as secure for TLS 1.2 (crypto/tls CipherSuites), by OpenSSL's names; those of 1.3 are fixed."""


class TlsConfig(ConfigModel):
    """What servers and clients share. Files are in PEM."""

    NOTES: ClassVar[Mapping[str, str]] = {
        "curve_preferences": "OpenSSL's own order of curves is used.",
        "include_insecure_cipher_suites": "insecure cipher suites are never offered.",
        "tpm": "keys held in a TPM can't be used; give key_file.",
    }

    ca_file: str = Field(
        default="", description="A file of certificates by which the other side is trusted; without it the system's."
    )
    ca_pem: str = Field(default="", description="The text of ca_file itself.")
    cert_file: str = Field(default="", description="A file with the certificate to show and those up to its CA.")
    cert_pem: str = Field(default="", description="The text of cert_file itself.")
    key_file: str = Field(default="", description="A file with the certificate's key, unencrypted.")
    key_pem: SecretStr = Field(default=SecretStr(""), description="The text of key_file itself.")
    include_system_ca_certs_pool: bool = Field(
        default=False, description="Whether the system's certificates are trusted besides those of ca_file."
    )
    min_version: TlsVersion = Field(
        default="1.2", description="The lowest version of TLS. The Collector's 1.0 and 1.1 are broken and refused."
    )
    max_version: TlsVersion | Literal[""] = Field(
        default="", description="The highest version of TLS; empty for the highest there is."
    )
    cipher_suites: tuple[str, ...] = Field(
        default=(),
        description="The suites for TLS 1.2, by Go's names; without any, OpenSSL's own choice. Those of 1.3 are fixed.",
    )
    include_insecure_cipher_suites: bool = Field(
        default=False, description="Without effect here: insecure cipher suites are never offered."
    )
    curve_preferences: tuple[str, ...] = Field(
        default=(), description="Without effect here: OpenSSL's own order of curves is used."
    )
    reload_interval: Duration = Field(
        default=0.0,
        description="After how long a server reads its files again, if they have changed; 0 reads them once. A client "
        "reads them once in any case.",
    )
    tpm: dict[str, Any] | None = Field(
        default=None, description="Without effect here: keys held in a TPM can't be used; give key_file."
    )

    @field_validator("cipher_suites")
    @classmethod
    def _known_suites(cls, suites: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [name for name in suites if name not in _CIPHERS]
        if unknown:
            raise ValueError(f"unknown or insecure cipher suite {unknown[0]!r}; choose from {', '.join(_CIPHERS)}")
        return suites

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for name in ("ca", "cert", "key"):
            if getattr(self, f"{name}_file") and getattr(self, f"{name}_pem"):
                raise ValueError(f"{name}_file and {name}_pem are both given; keep one")
        if self.has_certificate != bool(self.key_file or self.key_pem):
            raise ValueError("a certificate needs its key and a key its certificate; give cert_file and key_file")
        if self.max_version and self.max_version < self.min_version:
            raise ValueError(f"max_version {self.max_version} is below min_version {self.min_version}")
        return self

    @property
    def has_certificate(self) -> bool:
        """Whether there is a certificate to show."""
        return bool(self.cert_file or self.cert_pem)


class TlsServerConfig(TlsConfig):
    """A server's TLS."""

    NOTES: ClassVar[Mapping[str, str]] = {
        **TlsConfig.NOTES,
        "ca_file": "a server checks client certificates by client_ca_file alone.",
        "ca_pem": "a server checks client certificates by client_ca_file alone.",
        "include_system_ca_certs_pool": "a server checks client certificates by client_ca_file alone.",
    }

    client_ca_file: str = Field(
        default="",
        description="A file of certificates by which clients are trusted; it demands a certificate of every client "
        "(mTLS).",
    )
    client_ca_file_reload: bool = Field(
        default=False,
        description="Whether the server's files are read again when they change, every second unless reload_interval "
        "says otherwise.",
    )

    @model_validator(mode="after")
    def _shows_a_certificate(self) -> Self:
        if not self.has_certificate:
            raise ValueError("a server needs a certificate and its key; give cert_file and key_file")
        return self


class TlsClientConfig(TlsConfig):
    """A client's TLS."""

    NOTES: ClassVar[Mapping[str, str]] = {
        **TlsConfig.NOTES,
        "reload_interval": "a client reads its files once, at start.",
    }

    insecure: bool = Field(default=False, description="Whether to go without TLS at all.")
    insecure_skip_verify: bool = Field(
        default=False, description="Whether to accept whatever certificate the other side shows."
    )
    server_name_override: str = Field(
        default="",
        description="The name that the certificate must have, in place of the endpoint's host. For gRPC alone.",
    )


class _Pems(NamedTuple):
    """What a server's files hold, in PEM. No client CA means: no certificate is asked of clients."""

    cert: bytes
    key: bytes
    client_ca: bytes | None


def server_ssl_context(config: TlsServerConfig) -> ssl.SSLContext:
    """The context of an HTTPS server. With `reload_interval` it follows its files, each handshake seeing the latest.

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    pems = _read_server(config)
    context = _server_context(config, pems)
    if _watches(config):
        latest = context
        changed = _changes(config, pems)

        def follow(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
            nonlocal latest
            if (pems := changed()) is not None:
                latest = _server_context(config, pems)
            connection.context = latest

        context.sni_callback = follow
    return context


def grpc_server_credentials(config: TlsServerConfig) -> grpc.ServerCredentials:
    """The credentials of a gRPC server. With `reload_interval` they follow their files, each connection the latest.

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    import grpc  # noqa: PLC0415  HTTP alone should not pay for it

    pems = _read_server(config)
    _server_context(config, pems)  # gRPC itself would fail without saying why
    if not _watches(config):
        return grpc.ssl_server_credentials([(pems.key, pems.cert)], pems.client_ca, pems.client_ca is not None)
    changed = _changes(config, pems)

    def configuration(pems: _Pems) -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([(pems.key, pems.cert)], pems.client_ca)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        pems = changed()
        return None if pems is None else configuration(pems)

    required = pems.client_ca is not None
    return grpc.dynamic_ssl_server_credentials(configuration(pems), fetch, required)  # type: ignore[arg-type]  # None: no change


def client_ssl_context(config: TlsClientConfig) -> ssl.SSLContext:
    """The context of an HTTPS client; `server_name_override` is the caller's to hand to its connection.

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    context = _context(config, ssl.PROTOCOL_TLS_CLIENT)
    ca = _read(config, "ca")
    if ca:
        _trust(context, ca, "tls::ca_file")
    if not ca or config.include_system_ca_certs_pool:
        context.load_default_certs()
    if config.has_certificate:
        _show(context, _read(config, "cert"), _read(config, "key"))
    if config.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def grpc_channel_credentials(config: TlsClientConfig) -> grpc.ChannelCredentials:
    """The credentials of a gRPC client.

    Raises:
        ConfigError: a file is missing or is not what it should be, or what is asked for gRPC can't do.
    """
    import grpc  # noqa: PLC0415  HTTP alone should not pay for it

    if config.insecure_skip_verify:
        raise ConfigError(["tls.insecure_skip_verify: gRPC for Python can't do this; give ca_file, or set insecure"])
    client_ssl_context(config)  # gRPC itself would fail without saying why
    roots, key, cert = (_read(config, name) or None for name in ("ca", "key", "cert"))
    return grpc.ssl_channel_credentials(roots, key, cert)


def _context(config: TlsConfig, protocol: int) -> ssl.SSLContext:
    # No ssl.create_default_context(): from Python 3.13 on it refuses private authorities without a key identifier,
    # which the Collector, and every older Python, accepts. See _Https in http_client.py.
    context = ssl.SSLContext(protocol)
    context.minimum_version = _VERSIONS[config.min_version]
    if config.max_version:
        context.maximum_version = _VERSIONS[config.max_version]
    if config.cipher_suites:
        context.set_ciphers(":".join(_CIPHERS[name] for name in config.cipher_suites))
    return context


def _server_context(config: TlsServerConfig, pems: _Pems) -> ssl.SSLContext:
    context = _context(config, ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    _show(context, pems.cert, pems.key)
    if pems.client_ca is not None:
        _trust(context, pems.client_ca, "tls::client_ca_file")
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _show(context: ssl.SSLContext, cert: bytes, key: bytes) -> None:
    try:
        with _as_file(cert + b"\n" + key) as path:
            context.load_cert_chain(path, password=lambda: b"")
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError(
            [f"tls::cert_file: no certificate with its unencrypted key in PEM ({_reason(error)})"]
        ) from error


def _trust(context: ssl.SSLContext, ca: bytes, key: str) -> None:
    try:
        context.load_verify_locations(cadata=ca.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise ConfigError([f"{key}: no certificates in PEM ({_reason(error)})"]) from error


def _reason(error: Exception) -> str:
    return (getattr(error, "reason", None) or "unreadable").replace("_", " ").lower()


@contextlib.contextmanager
def _as_file(pem: bytes) -> Iterator[str]:
    """A path to read `pem` from: `ssl` takes a private key in no other form. In memory alone where the system can."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("pem"), "wb", buffering=0) as memory:  # noqa: PTH123  a descriptor, no path
            memory.write(pem)
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(buffering=0) as file:
            file.write(pem)
            yield file.name


def _read(config: TlsConfig, name: str) -> bytes:
    """The PEM of `ca`, `cert` or `key`, from the file or the config itself; empty when neither is given."""
    pem: str | SecretStr = getattr(config, f"{name}_pem")
    text = pem.get_secret_value() if isinstance(pem, SecretStr) else pem
    return text.encode() if text else _read_file(f"tls::{name}_file", getattr(config, f"{name}_file"))


def _read_file(key: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes() if path else b""
    except OSError as error:
        raise ConfigError([f"{key}: can't read {path!r}: {error.strerror}"]) from error


def _read_server(config: TlsServerConfig) -> _Pems:
    client_ca = _read_file("tls::client_ca_file", config.client_ca_file) if config.client_ca_file else None
    return _Pems(_read(config, "cert"), _read(config, "key"), client_ca)


def _watches(config: TlsServerConfig) -> bool:
    return bool(config.reload_interval or config.client_ca_file_reload)


def _changes(config: TlsServerConfig, pems: _Pems) -> Callable[[], _Pems | None]:
    """Ask as often as you like: the new content once the interval has passed and it differs and is sound, else None."""
    interval = config.reload_interval or 1.0
    due = time.monotonic() + interval

    def changed() -> _Pems | None:
        nonlocal due, pems
        if time.monotonic() < due:
            return None
        due = time.monotonic() + interval
        try:
            found = _read_server(config)
            if found == pems:
                return None
            _server_context(config, found)
        except ConfigError as error:
            logger.warning("TLS files changed but can't be used, the old ones stay: %s", error)
            return None
        pems = found
        return found

    return changed
