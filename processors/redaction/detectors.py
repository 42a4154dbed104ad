"""The named detectors: what a secret or a personal datum looks like in text, and what only looks like one.

Every pattern is RE2, so it is linear in the text whoever wrote that. A detector has three parts: a `hint`, cheap and
blind to its neighbours, that must match wherever the detector finds anything (so that one scan for all hints clears a
whole span); a `pattern` that reads the neighbours too; and a `refine` that decides by arithmetic or context.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

Range: TypeAlias = tuple[int, int]
"""Start and end of a piece of text, in characters."""

Refine: TypeAlias = Callable[[str, int, int], Iterable[Range]]
"""From a text and the range the pattern matched to the ranges that are meant."""


def _whole(_text: str, start: int, end: int) -> Iterator[Range]:
    yield start, end


@dataclass(frozen=True, slots=True)
class Detector:
    """A way to find one kind of secret or personal datum in a text.

    Attributes:
        name: Its name in the configuration and the metrics.
        hint: A cheap RE2 pattern that matches wherever the detector finds anything.
        pattern: The RE2 pattern that finds it; group 1, where there is one that matched, is what is masked.
        refine: Decides by arithmetic or context which ranges of a match are meant.
    """

    name: str
    hint: str
    pattern: str
    refine: Refine = _whole


# --- personal data -------------------------------------------------------------------------------------------------

_VERSIONED = re.compile(r"v?\d+\.\d+\.")


def _email(text: str, start: int, end: int) -> Iterator[Range]:
    """Leave out `package@1.2.3-rc.one`: a domain that begins as a version."""
    domain = re.split("@|%40", text[start:end])[-1]
    if not _VERSIONED.match(domain):
        yield start, end


_COLUMN_BEFORE, _COLUMN_AFTER = re.compile(r"\d[ ,;\t]*$"), re.compile(r"[ ,;\t]*\d")
_CHAIN_BEFORE, _CHAIN_AFTER = re.compile(r"[0-9a-f][-.]$"), re.compile(r"[-.][0-9a-f]")


def _phone(text: str, start: int, end: int) -> Iterator[Range]:
    """Leave out a part of a longer chain of digits, and groups with blanks between them in a column of numbers."""
    number, before, after = text[start:end], text[max(0, start - 4) : start], text[end : end + 4]
    if number[0] in "+%":
        yield start, end
    elif "-" in number or "." in number or "(" in number:
        if not (_CHAIN_BEFORE.search(before) or _CHAIN_AFTER.match(after)):
            yield start, end
    elif not (_COLUMN_BEFORE.search(before) or _COLUMN_AFTER.match(after)):
        yield start, end


def luhn(digits: str) -> bool:
    """Return whether the last digit is the check digit of the others (ISO/IEC 7812-1, annex B)."""
    doubled = sum(sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (doubled + sum(map(int, digits[-1::-2]))) % 10 == 0


_ISSUERS = (  # lowest and highest leading digits of an issuer's range, and the lengths its numbers have
    ("4", "4", (13, 16, 19)),
    ("51", "55", (16,)),
    ("2221", "2720", (16,)),
    ("34", "34", (15,)),
    ("37", "37", (15,)),
    ("300", "305", (14,)),
    ("36", "36", (14,)),
    ("38", "39", (14,)),
    ("3528", "3589", (16, 17, 18, 19)),
    ("6011", "6011", (16, 17, 18, 19)),
    ("62", "62", (16, 17, 18, 19)),
    ("644", "659", (16, 17, 18, 19)),
    ("50", "50", (16,)),
    ("56", "58", (16,)),
    ("60", "69", (16,)),
)


def _is_card(digits: str) -> bool:
    fits = any(low <= digits[: len(low)] <= high and len(digits) in lengths for low, high, lengths in _ISSUERS)
    return fits and luhn(digits)


_DIGITS = re.compile(r"\d+")
_LONGEST_CARD = 19
_MOST_GROUPS = 6


def _credit_card(text: str, start: int, end: int) -> Iterator[Range]:
    """Accept one group of digits, or four digits and then groups of three to seven; not the fraction of a number."""
    groups = [(m.start(), m.end()) for m in _DIGITS.finditer(text, start, end)]
    for index, (first, last) in enumerate(groups):
        if re.search(r"\d\.$", text[max(0, first - 2) : first]):
            continue
        digits = ""
        for low, high in groups[index : index + _MOST_GROUPS]:
            digits += text[low:high]
            if len(digits) > _LONGEST_CARD or (low != first and not (last - first == 4 and 3 <= high - low <= 7)):  # noqa: PLR2004  the widths the docstring names
                break
            if _is_card(digits):
                yield first, high


# SWIFT IBAN registry: a country and the length of its numbers.
_IBAN_REGISTRY = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28
    EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26
    IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28
    NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25
    SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
_IBAN_LENGTHS = {entry[:2]: int(entry[2:]) for entry in _IBAN_REGISTRY.split()}
_IBAN_START = re.compile(r"(?<![0-9A-Za-z])[A-Z]{2}\d\d")


def _iban(text: str, start: int, end: int) -> Iterator[Range]:
    """Accept what is as long as its country says, with a remainder of 1 modulo 97 (ISO 13616).

    Words around a number may look like more of it.
    """
    for head in _IBAN_START.finditer(text, start, end):
        stop = _iban_end(text, head.start())
        if stop:
            yield head.start(), stop


def _iban_end(text: str, start: int) -> int:
    length = _IBAN_LENGTHS.get(text[start : start + 2], 0)
    places = [i for i, char in enumerate(text[start : start + 2 * length], start) if char not in " -"][:length]
    code = "".join(text[place] for place in places)
    if len(code) < max(length, 1) or not (code.isascii() and code.isalnum()):
        return 0
    stop = places[-1] + 1
    remainder = int("".join(str(int(char, 36)) for char in code[4:] + code[:4])) % 97
    return stop if remainder == 1 and not text[stop : stop + 1].isalnum() else 0


def _ssn(text: str, start: int, end: int) -> Iterator[Range]:
    """Accept numbers that are given out: no area 000, 666 or 9xx, no group 00, no serial 0000.

    Source: the Social Security Administration's rules.
    """
    area, group, serial = text[start:end].split("-")
    chained = _CHAIN_BEFORE.search(text[max(0, start - 2) : start]) or _CHAIN_AFTER.match(text[end : end + 2])
    if area not in ("000", "666") and area < "900" and group != "00" and serial != "0000" and not chained:
        yield start, end


_VERSION_BEFORE = re.compile(r"(?:\b(?:version|release|build|ver|v)\W{0,4}|[=~<>!]=\s?|\d\.)$", re.IGNORECASE)


def _ipv4(text: str, start: int, end: int) -> Iterator[Range]:
    """Leave out parts of a version or of a longer dotted number, and `120.0.0.0`, as browsers give their version."""
    longer = re.match(r"\.\d", text[end : end + 2])
    if longer or text.endswith(".0.0.0", start, end) or _VERSION_BEFORE.search(text[max(0, start - 16) : start]):
        return
    yield start, end


def _ipv6(text: str, start: int, end: int) -> Iterator[Range]:
    """Accept what RFC 4291 allows, with a digit in it; leave out a colon beside it.

    The digit sets an address apart from `Abc::Def`.
    """
    if re.match(r":(?!:)", text[start:end]):
        start += 1
    elif re.match(r"[\w:.]", text[max(0, start - 1) : start]):
        return
    if re.search(r"(?<!:):$", text[start:end]):
        end -= 1
    elif re.match(r"[\w:]", text[end : end + 1]):
        return
    if _DIGITS.search(text, start, end) and _is_ipv6(text[start:end]):
        yield start, end


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


# --- secrets -------------------------------------------------------------------------------------------------------

_LETTERS_IN_A_WORD = 16


def _looks_random(token: str) -> bool:
    """Return whether a token is not words: a digit, capitals inside, or more letters in a row than words have."""
    words = re.split(r"[^A-Za-z0-9]+", token)
    return any(
        len(word) >= _LETTERS_IN_A_WORD or not (word.isalpha() and (word.islower() or word.isupper() or word.istitle()))
        for word in words
        if word
    )


def _random(text: str, start: int, end: int) -> Iterator[Range]:
    if _looks_random(text[start:end]):
        yield start, end


def _bearer(text: str, start: int, end: int) -> Iterator[Range]:
    """Accept whatever follows in an Authorization header; elsewhere leave out "bearer certificates"."""
    header = re.search(r"authorization\W{0,8}bearer\W{0,4}$", text[max(0, start - 40) : start], re.IGNORECASE)
    if header or _looks_random(text[start:end]):
        yield start, end


def _basic(text: str, start: int, end: int) -> Iterator[Range]:
    """Accept base64 of `user:password` (RFC 7617); leave out "basic knowledge"."""
    token = text[start:end].rstrip("=")
    try:
        decoded = base64.b64decode(token.replace("-", "+").replace("_", "/") + "=" * (-len(token) % 4))
        decoded.decode()
    except (binascii.Error, UnicodeDecodeError):
        return
    if b":" in decoded:
        yield start, end


def _key(name: str, pattern: str, hint: str = "", refine: Refine = _whole) -> Detector:
    """Return a detector of keys that are known by a prefix, which may follow a word and an underscore."""
    return Detector(name, hint or pattern, rf"(?:\b|_)(?:{pattern})", refine)


# An address in a script without blanks between words ends where that script begins, unless it is all in it.
_LOCAL = r"\p{Latin}\p{Cyrillic}\p{Greek}0-9._%+\-"
_ALPHABET = r"A-Za-z0-9\x{80}-\x{10FFFF}"
_LABEL = f"[{_ALPHABET}]"
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"

DETECTORS = {
    detector.name: detector
    for detector in (
        Detector(
            "email",
            rf"(?:@|%40)[{_ALPHABET}\\][{_ALPHABET}\\\-.]*\.",
            rf"(?:[{_LOCAL}]+(?:'[{_LOCAL}]+)*|[!#$&'*/=?^{{|}}~\x{{80}}-\x{{10FFFF}}])(?:@|%40)"
            rf"(?:{_LABEL}(?:[{_ALPHABET}\-]*{_LABEL})?\.)+(?:xn--[A-Za-z0-9\-]+|[A-Za-z]{{2,}}|[^\x00-\x7F]{{2,}})",
            _email,
        ),
        Detector(
            "phone",
            r"(?:\+|%2[Bb])[1-9](?:[ .()/\-]{0,2}\d){7}|[2-9]\d\d(?:[-. ]|\) ?)[2-9]\d\d[-. ]\d{4}",
            r"(?:\B\+|%2[Bb])[1-9](?:[ .()/\-]{0,2}\d){7,14}\b"
            r"|(?:\b1[-. ]?)?\([2-9]\d\d\) ?[2-9]\d\d[-. ]\d{4}\b"
            r"|\b(?:1[-. ])?[2-9]\d\d[-. ][2-9]\d\d[-. ]\d{4}\b",
            _phone,
        ),
        Detector("credit_card", r"[2-6](?:[ .\-]?\d){12}", r"\b\d(?:[ .\-]?\d){12,}\b", _credit_card),
        Detector(
            "iban",
            r"[A-Z]{2}\d\d(?:[ \-]?[A-Z0-9]){11}",
            r"\b[A-Z]{2}\d\d(?:[ \-]?[A-Z0-9]){11,30}",
            _iban,
        ),
        Detector("us_ssn", r"\d{3}-\d\d-\d{4}", r"\b\d{3}-\d\d-\d{4}\b", _ssn),
        Detector("ipv4", r"\d\.\d{1,3}\.\d{1,3}\.\d", rf"\b(?:{_OCTET}\.){{3}}{_OCTET}\b", _ipv4),
        Detector(
            "ipv6",
            r"::|(?:[0-9A-Fa-f]{1,4}:){6}",
            r"[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,8}(?:\.\d{1,3}){0,3}",
            _ipv6,
        ),
        _key("jwt", r"eyJ[A-Za-z0-9_\-]{8,}(?:\.[A-Za-z0-9_\-]*){2,4}"),
        Detector("bearer", r"(?i:bearer)", r"(?i)\bbearer(?:[\s:=]|%20)+([A-Za-z0-9._~+/\-]{8,}=*)", _bearer),
        Detector("basic_auth", r"(?i:basic)[ \t\\]", r"(?i)\bbasic[ \t]+([A-Za-z0-9+/_\-]{4,}={0,2})", _basic),
        Detector(
            "url_credentials",
            r":(?:\\*/){2}[^\s/?#@]*:[^\s/?#@]+@",
            r"[A-Za-z][A-Za-z0-9+.\-]*://([^\s/?#@:\"'<>]*:[^\s/?#@\"'<>]+)@",
        ),
        Detector(
            "aws_key",
            r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}|(?i:secret_?access_?key)",
            r"(?:\b|_)(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b"
            r"|(?i:secret_?access_?key)[^A-Za-z0-9]{1,8}([A-Za-z0-9/+]{40})",
        ),
        _key("azure_key", r"(?:AccountKey|SharedAccessKey)=([A-Za-z0-9+/]{40,}={0,2})", r"AccountKey|SharedAccessKey"),
        _key("anthropic_key", r"sk-ant-[A-Za-z0-9_\-]{20,}"),
        _key("openai_key", r"sk-[A-Za-z0-9_\-]{20,}", refine=_random),
        _key("github_token", r"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{22,}"),
        _key("gitlab_token", r"glpat-[A-Za-z0-9_\-]{20,}"),
        _key("google_api_key", r"AIza[A-Za-z0-9_\-]{35,}"),
        _key("slack_token", r"xox[abeoprs]-[A-Za-z0-9\-]{10,}|xapp-[A-Za-z0-9\-]{10,}"),
        _key("stripe_key", r"[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|whsec_[A-Za-z0-9+/]{20,}"),
        _key("huggingface_token", r"hf_[A-Za-z0-9]{30,}"),
        _key("databricks_token", r"dapi[0-9a-f]{32}(?:-\d)?"),
        _key("langsmith_key", r"lsv2_(?:pt|sk)_[A-Za-z0-9]{20,}(?:_[A-Za-z0-9]+)?"),
        _key("groq_key", r"gsk_[A-Za-z0-9]{20,}"),
        _key("nvidia_key", r"nvapi-[A-Za-z0-9_\-]{20,}"),
        _key("npm_token", r"npm_[A-Za-z0-9]{36}"),
        _key("sendgrid_key", r"SG\.[A-Za-z0-9_\-]{16,}\.[A-Za-z0-9_\-]{16,}"),
        Detector(
            "private_key",
            r"-----BEGIN [A-Z ]*PRIVATE KEY",
            r"-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
            r"(?:[A-Za-z0-9+/=\s:,.\-()]*?-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----"
            r"|\s*(?:[A-Za-z\-]+: \S+\s+)*[A-Za-z0-9+/=\s]*)",
        ),
    )
}
"""Every detector by its name; of two that find the same text the earlier is the one that is counted."""
