"""`basicauth`: user and password against an htpasswd file (contrib extension/basicauthextension), bcrypt only."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

from pydantic import Field, SecretStr, field_validator, model_validator

from spanbridge.collector.errors import Busy, Unauthenticated
from spanbridge.collector.extensions import ExtensionContext
from spanbridge.collector.extensions.authentication import Authenticate, Identity
from spanbridge.collector.watched_file import WatchedFile
from spanbridge.processors.settings import ConfigModel

if TYPE_CHECKING:
    from typing import Self

Users: TypeAlias = Mapping[str, bytes]
"""bcrypt hashes by user."""

_BCRYPT = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_MAX_COST = 16
"""About 5 s for one password; more would let nobody in."""
_BCRYPT_BYTES = 72
"""bcrypt reads no more of a password, and htpasswd cuts it there."""

_CHECKS = 1
"""Passwords that are checked at a time: each takes a core for some 0.1 s, and anybody can send wrong ones."""
_WAITING = 32
_REMEMBERED = 1024


class HtpasswdConfig(ConfigModel):
    """`htpasswd`: the users, in a file or here."""

    file: str = Field(
        default="",
        description="An htpasswd file with bcrypt hashes (`htpasswd -B`); it is read again within a second when it "
        "changes.",
    )
    inline: SecretStr = Field(
        default=SecretStr(""), description="Lines of an htpasswd file; for a user that is in both they win over file."
    )

    @field_validator("inline")
    @classmethod
    def _readable(cls, inline: SecretStr) -> SecretStr:
        try:
            users_of(inline.get_secret_value())
        except ValueError as error:
            raise ValueError(f"htpasswd::inline: it {error}") from None
        return inline

    @model_validator(mode="after")
    def _has_users(self) -> Self:
        if not self.file and not users_of(self.inline.get_secret_value()):
            raise ValueError("needs users; give file or inline")
        return self


class BasicAuthConfig(ConfigModel):
    """`basicauth`, for receivers."""

    htpasswd: HtpasswdConfig = Field(description="Who may come in; the user is the tenant.")
    client_auth: dict[str, Any] | None = Field(
        default=None,
        description="Refused here: the mlflow exporter has username and password of its own, the others headers.",
    )

    @field_validator("client_auth")
    @classmethod
    def _not_for_clients(cls, value: object) -> None:
        if value is not None:
            raise ValueError(
                "is not used here: the mlflow exporter has username and password of its own, the others headers; "
                "write them there"
            )


def users_of(text: str) -> Users:
    """Return the users of an htpasswd file, with the hashes of their passwords.

    Raises:
        ValueError: a line is no "user:hash", or its hash is not bcrypt; the sentence names the line, not its content.
    """
    users: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        user, colon, password = entry.partition(":")
        if not colon or not user:
            raise ValueError(f'has a line {number} that is no "user:hash"; write it with `htpasswd -B`')
        match = _BCRYPT.fullmatch(password)
        if match is None:
            raise ValueError(f"has a hash in line {number} that is not bcrypt, all others are weak; use `htpasswd -B`")
        if not 4 <= int(match[1]) <= _MAX_COST:  # noqa: PLR2004  bcrypt's own lower bound
            raise ValueError(f"has a bcrypt cost in line {number} that is not from 4 to {_MAX_COST}")
        users[user] = password.encode()
    return users


class _Passwords:
    """Checks passwords in a thread, few at a time, and remembers those that were right by a keyed digest."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)
        self._right: dict[bytes, None] = {}
        self._turn = asyncio.Semaphore(_CHECKS)
        self._waiting = 0

    async def right(self, password: bytes, hashed: bytes) -> bool:
        """Return whether the password is the one of the hash.

        Raises:
            Busy: too many wait for an answer.
        """
        digest = hmac.digest(self._key, hashed + password, hashlib.sha256)
        if digest in self._right:
            return True
        if self._waiting >= _WAITING:
            raise Busy("too many passwords to check")
        self._waiting += 1
        try:
            async with self._turn:
                right = digest in self._right or await asyncio.to_thread(_matches, password, hashed)
        finally:
            self._waiting -= 1
        if right:
            self._remember(digest)
        return right

    def _remember(self, digest: bytes) -> None:
        while len(self._right) >= _REMEMBERED:
            del self._right[next(iter(self._right))]
        self._right[digest] = None


def _matches(password: bytes, hashed: bytes) -> bool:
    import bcrypt  # noqa: PLC0415  who has no basicauth does not pay for it

    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed)
    except ValueError:
        return False


def build(config: BasicAuthConfig, context: ExtensionContext) -> Authenticate:
    """Return what lets the users of a section in.

    Raises:
        ConfigError: the file of users can't be used.
    """
    return basic_auth(config, f"extensions::{context.id}")


def basic_auth(config: BasicAuthConfig, section: str) -> Authenticate:
    """Return an `Authenticate` by the users of a configuration; the user is the tenant.

    Args:
        config: the users.
        section: the path in the configuration that problems begin with.

    Raises:
        ConfigError: the file of users can't be used.
    """
    htpasswd = config.htpasswd
    inline = users_of(htpasswd.inline.get_secret_value())
    in_file = WatchedFile(f"{section}::htpasswd::file", htpasswd.file, users_of) if htpasswd.file else dict
    passwords = _Passwords()
    # Checked for users there are not, so that the time does not tell who there is.
    import bcrypt  # noqa: PLC0415  the same

    nobody = bcrypt.hashpw(secrets.token_bytes(16), bcrypt.gensalt(_cost({**in_file(), **inline})))

    async def authenticate(headers: dict[str, str]) -> Identity:
        shown = _credentials(headers.get("authorization", ""))
        if shown is None:
            raise Unauthenticated("unauthenticated")
        user, password = shown
        hashed = {**in_file(), **inline}.get(user, nobody)
        if not await passwords.right(password, hashed):
            raise Unauthenticated("unauthenticated")
        return Identity(user)

    return authenticate


def _cost(users: Users) -> int:
    """The usual work factor of the users there are."""
    costs = sorted(int(hashed[4:6]) for hashed in users.values())
    return costs[len(costs) // 2] if costs else 10


def _credentials(header: str) -> tuple[str, bytes] | None:
    """User and password (RFC 7617)."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None
