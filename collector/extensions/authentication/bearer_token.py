"""`bearertokenauth`: who shows a known token comes in (contrib extension/bearertokenauthextension).

Our addition is the long form of `tokens`, which gives a token a tenant's name and binds it to experiments.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Annotated

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from spanbridge.collector.errors import Unauthenticated
from spanbridge.collector.extensions import ExtensionContext
from spanbridge.collector.extensions.authentication import Authenticate, Identity
from spanbridge.collector.watched_file import WatchedFile
from spanbridge.processors.settings import ConfigModel

if TYPE_CHECKING:
    from typing import Self


class TokenConfig(ConfigModel):
    """One token, or a file of them, and whose it is."""

    token: SecretStr = Field(default=SecretStr(""), description="The token; or give filename.")
    filename: str = Field(
        default="", description="A file of tokens, one a line; it is read again within a second when it changes."
    )
    tenant: str = Field(
        default="", max_length=100, description="The name of who shows the token, by which refusals are told."
    )
    allow_experiments: tuple[Annotated[str, Field(min_length=1)], ...] | None = Field(
        default=None,
        min_length=1,
        description="The experiments that the tenant may write to: globs of names, and `id:12` for an id. Without it "
        "the tenant may write to all.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.token.get_secret_value()) == bool(self.filename):
            raise ValueError("needs either token or filename")
        if self.allow_experiments is not None and not self.tenant:
            raise ValueError("allow_experiments needs tenant, the name by which a refusal is told")
        return self

    @property
    def identity(self) -> Identity:
        """Who shows the token."""
        return Identity(self.tenant, self.allow_experiments or ())


def _long_form(value: object) -> object:
    return {"token": value} if isinstance(value, (str, SecretStr)) else value


class BearerTokenAuthConfig(ConfigModel):
    """`bearertokenauth`, for receivers."""

    scheme: str = Field(default="Bearer", description="What stands before the token in the header; empty for nothing.")
    header: str = Field(default="Authorization", min_length=1, description="The header that holds the token.")
    token: SecretStr = Field(default=SecretStr(""), description="The one token, of no tenant.")
    tokens: tuple[
        Annotated[TokenConfig, BeforeValidator(_long_form, json_schema_input_type=str | TokenConfig)], ...
    ] = Field(
        default=(),
        description="Several tokens, each a text, or, which the Collector does not know, a section that gives it a "
        "tenant and binds it to experiments.",
    )
    filename: str = Field(
        default="",
        description="A file of tokens, one a line, that is read again within a second when it changes. It wins over "
        "token, as in the Collector.",
    )

    @model_validator(mode="after")
    def _has_a_token(self) -> Self:
        if not self.all_tokens:
            raise ValueError("needs a token; give token, tokens or filename")
        if self.token.get_secret_value() and self.tokens:
            raise ValueError("token and tokens are both given; keep one")
        plain = [entry.token.get_secret_value() for entry in self.tokens if not entry.filename]
        if len(set(plain)) < len(plain):
            raise ValueError("tokens: one token stands there twice; each belongs to one tenant")
        return self

    @property
    def all_tokens(self) -> tuple[TokenConfig, ...]:
        """Every token in its long form."""
        if self.filename:
            return (TokenConfig(filename=self.filename), *self.tokens)
        if self.token.get_secret_value():
            return (TokenConfig(token=self.token),)
        return self.tokens


def build(config: BearerTokenAuthConfig, context: ExtensionContext) -> Authenticate:
    """Return what lets the tokens of a section in.

    Raises:
        ConfigError: a file of tokens can't be used.
    """
    return bearer_token(config, f"extensions::{context.id}")


def bearer_token(config: BearerTokenAuthConfig, section: str) -> Authenticate:
    """Return an `Authenticate` by the tokens of a configuration.

    Args:
        config: the tokens.
        section: the path in the configuration that problems begin with.

    Raises:
        ConfigError: a file of tokens can't be used.
    """
    header, scheme = config.header.lower(), config.scheme.lower()
    known = [_digests(token, section) for token in config.all_tokens]

    async def authenticate(headers: dict[str, str]) -> Identity:
        shown = _digest(_after_scheme(headers.get(header, ""), scheme))
        found = [
            token.identity
            for token, digests in zip(config.all_tokens, known, strict=True)
            for digest in digests()
            if hmac.compare_digest(digest, shown)
        ]
        if not found:
            raise Unauthenticated("unauthenticated")
        return found[0]

    return authenticate


def _digests(token: TokenConfig, section: str) -> Callable[[], Iterable[bytes]]:
    if token.filename:
        return WatchedFile(f"{section}::filename", token.filename, _lines)
    only = (_digest(token.token.get_secret_value()),)
    return lambda: only


def _lines(text: str) -> tuple[bytes, ...]:
    tokens = [line.strip() for line in text.splitlines() if line.strip()]
    if not tokens:
        raise ValueError("holds no token; write one a line")
    return tuple(map(_digest, tokens))


def _digest(token: str) -> bytes:
    """What is compared: of one length, so that not even the length of a token shows in the time it takes."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _after_scheme(value: str, scheme: str) -> str:
    """What follows the scheme, whose case is no matter (RFC 9110 11.1); a NUL, which no header holds, after another."""
    if not scheme:
        return value
    written, _, rest = value.partition(" ")
    return rest.strip() if written.lower() == scheme and rest.strip() else "\0"
