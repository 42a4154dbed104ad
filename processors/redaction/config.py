"""The configuration of `redaction`: the keys of the Collector's processor, and named detectors."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, TypeAlias

import re2
from pydantic import BeforeValidator, Field, SecretStr, model_validator

from spanbridge.processors.patterns import Pattern, compiled, quiet_options
from spanbridge.processors.redaction.detectors import DETECTORS
from spanbridge.processors.settings import ConfigModel

MASK = "****"
MAX_PROGRAMS = 50_000
"""Instructions all of them may compile to, well below what RE2 has memory for."""


def _detector_names(value: Any) -> Any:
    if value is None or value == "all":
        return None if value is None else tuple(DETECTORS)
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise ValueError(  # noqa: TRY004  pydantic collects ValueErrors only
            f'{value!r} is neither "all" nor a list of detectors; there are {", ".join(DETECTORS)}'
        )
    for name in value:
        if not isinstance(name, str) or name not in DETECTORS:
            raise ValueError(f"there is no detector {name!r}; there are {', '.join(DETECTORS)}")
    return tuple(name for name in DETECTORS if name in value)


HashFunction: TypeAlias = Literal["", "sha1", "sha3", "md5", "hmac-sha256", "hmac-sha512"]


class RedactionConfig(ConfigModel):
    """What is masked, removed and let through. The order of the rules is in README.md here."""

    allow_all_keys: bool | None = Field(
        default=None,
        description="Keep attributes whose keys are not in allowed_keys. "
        "Default: false if allowed_keys is given, true if not; the Collector's default is false.",
    )
    allowed_keys: tuple[str, ...] = Field(
        default=(), description="Keys of the attributes to keep, if allow_all_keys is false; all others are removed."
    )
    ignored_keys: tuple[str, ...] = Field(default=(), description="Keys whose attributes are left as they are.")
    ignored_key_patterns: tuple[Pattern, ...] = Field(
        default=(), description="RE2 expressions; an attribute in whose key one is found is left as it is."
    )
    blocked_key_patterns: tuple[Pattern, ...] = Field(
        default=(), description="RE2 expressions; the whole value of an attribute in whose key one is found is masked."
    )
    blocked_values: tuple[Pattern, ...] = Field(
        default=(), description="RE2 expressions; what they find in a value is masked, and nothing around it."
    )
    allowed_values: tuple[Pattern, ...] = Field(
        default=(),
        description="RE2 expressions; what would be masked stays if it lies within a match of one of them. "
        "The Collector lets the whole value through for one match anywhere in it.",
    )
    redact_all_types: bool = Field(
        default=False, description="Look for blocked values in numbers and booleans too, and not in texts alone."
    )
    hash_function: HashFunction = Field(
        default="",
        description="Write a hex digest in place of `****`. Only the keyed ones, which need hmac_key, keep a guessable "
        "value such as an address from being found by trying. Default: `****`.",
    )
    hmac_key: SecretStr = Field(
        default=SecretStr(""), description="The secret key of hmac-sha256 and hmac-sha512, best as `${env:KEY}`."
    )
    summary: Literal["", "debug", "info", "silent"] = Field(
        default="silent",
        description="Add attributes that tell what was done: `info` counts, `debug` names the keys as well, "
        "`silent` and the empty text add none.",
    )
    url_sanitizer: dict[str, Any] = Field(
        default_factory=dict, description="Of the Collector; refused if enabled, as it is not built here."
    )
    db_sanitizer: dict[str, Any] = Field(
        default_factory=dict, description="Of the Collector; refused if enabled, as it is not built here."
    )
    detectors: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(_detector_names, json_schema_input_type=Literal["all"] | list[str] | None),
    ] = Field(
        default=None,
        description='Named detectors of secrets and personal data, a list or "all"; ours. '
        "Default: all if no other rule is given, none otherwise.",
    )

    @property
    def keeps_all_keys(self) -> bool:
        """Whether there is no allow list for keys."""
        return not self.allowed_keys if self.allow_all_keys is None else self.allow_all_keys

    @property
    def active_detectors(self) -> tuple[str, ...]:
        """The names of the detectors to run."""
        if self.detectors is not None:
            return self.detectors
        ruled = self.allowed_keys or self.blocked_key_patterns or self.blocked_values
        return () if ruled else tuple(DETECTORS)

    @model_validator(mode="after")
    def _hmac_has_a_key(self) -> RedactionConfig:
        if self.hash_function.startswith("hmac") and not self.hmac_key.get_secret_value():
            raise ValueError(
                f"hash_function {self.hash_function} needs a key; set hmac_key, for example to ${{env:KEY}}"
            )
        return self

    @model_validator(mode="after")
    def _sanitizers_are_refused(self) -> RedactionConfig:
        sections = [self.url_sanitizer, *self.db_sanitizer.values()]
        if any(section.get("enabled") for section in sections if isinstance(section, dict)):
            raise ValueError(
                "url_sanitizer and db_sanitizer are not built in spanbridge; "
                "mask what must not stay with detectors, blocked_values or blocked_key_patterns"
            )
        return self

    @model_validator(mode="after")
    def _patterns_fit_in_memory(self) -> RedactionConfig:
        patterns = (
            *self.ignored_key_patterns,
            *self.blocked_key_patterns,
            *self.blocked_values,
            *self.allowed_values,
        )
        if sum(compiled(pattern).programsize for pattern in patterns) > MAX_PROGRAMS:
            raise ValueError("the patterns are too many or too large together; write them with smaller repetitions")
        return self


_ANCHOR = re.compile(r"\\[bBAzQ]|\$|(?<!\[)\^|\(\?\w*m|\[:")


def floats(pattern: str) -> bool:
    """Return whether a pattern is about its match alone, and not about what stands beside it; in doubt it is not.

    Nor is it if it means something else when others are joined to it: RE2 looks for the end of "[:" in what follows.
    """
    return not _ANCHOR.search(pattern)


def pattern_set(patterns: Sequence[str]) -> re2.Set:
    """Return one automaton for all patterns, that tells which of them occur in a text.

    It holds one pattern more than given, the last, which matches any text and so shows that a search came to its end:
    an automaton that ran out of memory finds nothing and says nothing.
    """
    joined = re2.Set.SearchSet(quiet_options())
    for pattern in (*patterns, ""):
        joined.Add(pattern)
    joined.Compile()
    return joined


def masker(config: RedactionConfig) -> Callable[[str], str]:
    """Return a function from a text to what is written in its place: the mask, or the text's digest in hex."""
    if not config.hash_function:
        return lambda _: MASK
    key = config.hmac_key.get_secret_value().encode()
    keyed = {"hmac-sha256": hashlib.sha256, "hmac-sha512": hashlib.sha512}
    plain = {"sha1": hashlib.sha1, "sha3": hashlib.sha3_256, "md5": hashlib.md5}
    if config.hash_function in keyed:
        digest = keyed[config.hash_function]
        return lambda text: hmac.new(key, _encoded(text), digest).hexdigest()
    return lambda text: plain[config.hash_function](_encoded(text), usedforsecurity=False).hexdigest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
