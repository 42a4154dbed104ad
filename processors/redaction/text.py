"""Redaction of one text and all the JSON in it."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import count
from operator import itemgetter
from typing import Any, NamedTuple

from spanbridge.processors.patterns import compiled
from spanbridge.processors.redaction.config import MASK, RedactionConfig, floats, masker, pattern_set
from spanbridge.processors.redaction.detectors import DETECTORS, Detector, Range, Refine
from spanbridge.processors.redaction.keys import KeyRules, Verdict

MAX_PASSES = 4
"""Masking may bring about new matches; a text that has not come to rest after so many passes is masked whole."""

_ESCAPED_ASCII = re.compile(r"\\u00[2-7]")
"""An escape that may hide a character some detector looks for; a user's pattern may look for any."""
_ESCAPED = r"\\"

_ESCAPE = re.compile(r"(?<!\\)\\+(?:u([0-9a-fA-F]{4})|([nrtbf\"/]))")
_MEANING = {"n": "\n", "r": "\r", "t": "\t", "b": "\b", "f": "\f", '"': '"', "/": "/"}


class Tally:
    """The counts of one call: how often each rule masked, and how often `allowed_values` prevented it."""

    __slots__ = ("allowed", "by_rule", "masks")

    def __init__(self) -> None:
        self.by_rule: dict[str, int] = {}
        self.masks = 0
        self.allowed = 0

    def add(self, rule: str) -> None:
        """Count one mask of a rule."""
        self.by_rule[rule] = self.by_rule.get(rule, 0) + 1
        self.masks += 1


class Rule(NamedTuple):
    """One way to find what is to be masked in a text: all that a pattern matches, or its group 1 if `groups`."""

    name: str
    pattern: Any
    refine: Refine
    groups: bool

    def find(self, text: str) -> Iterator[Range]:
        """Yield every range that is to be masked."""
        for match in self.pattern.finditer(text):
            start, end = match.span(1) if self.groups and match[1] is not None else match.span()
            yield from self.refine(text, start, end)


class Found(NamedTuple):
    """A range of a text and the rule that wants it masked."""

    start: int
    end: int
    rule: str


class TextRules:
    """The rules for texts, prepared: detectors, `blocked_values`, and blocked keys in the JSON of a text."""

    hints: Sequence[str]
    """RE2 patterns of which one occurs in the bytes of every message that holds something to mask; none: unknown."""

    def __init__(self, config: RedactionConfig, keys: KeyRules) -> None:
        detectors = [DETECTORS[name] for name in config.active_detectors]
        hints = [*(detector.hint for detector in detectors), *config.blocked_values]
        self._detectors = [_rule(detector) for detector in detectors]
        self._blocked = [Rule("blocked_values", compiled(p), _itself, groups=False) for p in config.blocked_values]
        self._rules = self._detectors + self._blocked
        self._suspicion = pattern_set(hints)
        self._no_hits = [len(hints)]
        self._allowed = [compiled(pattern) for pattern in config.allowed_values]
        self._keys, self._replacement = keys, masker(config)
        self._is_clear = lru_cache(maxsize=4096)(lambda key: not self._suspects(key))  # keys repeat
        # A digest is text like any other, which a rule may match again.
        self._passes = 0 if config.hash_function else MAX_PASSES

        asked = (*config.blocked_values, *config.blocked_key_patterns)
        hidden = "|".join(f"(?:{pattern})" for pattern in (*config.blocked_key_patterns, _ESCAPED))
        self._hidden = compiled(hidden if all(map(floats, config.blocked_key_patterns)) else "") if asked else None
        escaped = _ESCAPED if asked else _ESCAPED_ASCII.pattern
        self.hints = (*hints, *config.blocked_key_patterns, escaped) if all(map(floats, asked)) else ()

    def redact(self, text: str, tally: Tally) -> str:
        """Return the text with what must not stay masked; the same text if nothing was found."""
        suspects = self._suspects(text)
        if not suspects and not self._may_hide(text):
            return text
        allowed, redacted = tally.allowed, self._pass(text, suspects, tally)
        for _ in range(self._passes):
            if redacted == text:
                return redacted
            tally.allowed = allowed  # of what is still there after the last pass
            text, redacted = redacted, self._pass(redacted, self._suspects(redacted), tally)
        return redacted if redacted == text or not self._passes else MASK

    def redact_key(self, key: str, tally: Tally) -> str:
        """Return a key with what detectors find masked; `blocked_values` are about values alone."""
        return key if self._is_clear(key) else self._without(key, self._find(key, self._detectors), tally)

    def mask(self, text: str, rule: str, tally: Tally) -> str:
        """Return the mask for a whole text; the text itself if it is masked already or all of it is allowed."""
        return self._without(text, [Found(0, len(text), rule)], tally) if text else MASK

    def _pass(self, text: str, suspects: Sequence[Rule], tally: Tally) -> str:
        if not suspects and not self._may_hide(text):
            return text
        redacted = self._json(text, tally)
        # Again as it stands, since a pattern of the user's may be about the JSON itself.
        if redacted != text:
            suspects = self._suspects(redacted)
        return self._without(redacted, self._find(redacted, suspects), tally) if suspects else redacted

    def _suspects(self, text: str) -> Sequence[Rule]:
        """Return the rules that may find something in a text, read as it stands or with its escapes resolved."""
        hits = self._suspicion.Match(text if text.isascii() else _encodable(text))
        escaped = "\\u00" in text and _ESCAPED_ASCII.search(text)
        if hits == self._no_hits and not escaped:
            return ()
        if hits and escaped:
            more = self._suspicion.Match(_unescaped(text)[0])
            hits = [*hits, *more] if more else None
        # The search did not come to its end: any rule may find something.
        return [rule for place, rule in enumerate(self._rules) if place in hits] if hits else self._rules

    def _may_hide(self, text: str) -> bool:
        """Return whether JSON may hold what the user's patterns are about where only parsing shows it.

        That is what is escaped, or what is under a blocked key.
        """
        return self._hidden is not None and text.lstrip()[:1] in ("{", "[") and self._hidden.search(text) is not None

    def _json(self, text: str, tally: Tally) -> str:
        if text.lstrip()[:1] not in ("{", "["):
            return text
        try:
            document = json.loads(text)
        except ValueError:
            return text
        redacted = self._element(document, tally)
        if redacted == document:
            return text
        separators = (", ", ": ") if '": ' in text else (",", ":")
        return json.dumps(redacted, ensure_ascii="\\u" in text, separators=separators)

    def _element(self, element: Any, tally: Tally) -> Any:
        if isinstance(element, str):
            return self._pass(element, self._suspects(element), tally)
        if isinstance(element, list):
            return [self._element(item, tally) for item in element]
        if isinstance(element, dict):
            return self._object(element, tally)
        if element is None or isinstance(element, bool):
            return element
        number = str(element)
        redacted = self._pass(number, self._suspects(number), tally)
        return element if redacted == number else redacted

    def _object(self, members: dict[str, Any], tally: Tally) -> dict[str, Any]:
        result: dict[str, Any] = {}
        numbers = count(2)
        for key, value in members.items():
            name = masked = self.redact_key(key, tally)
            while name in result:  # keys that are masked alike must not become one
                name = f"{masked}-{next(numbers)}"
            if self._keys.nested(key) is Verdict.MASK:
                text = value if isinstance(value, str) else json.dumps(value)
                result[name] = self.mask(text, "blocked_key_patterns", tally)
            else:
                result[name] = self._element(value, tally)
        return result

    def _find(self, text: str, rules: Sequence[Rule]) -> list[Found]:
        """Return what rules find in a text, read as it stands and with its escapes resolved."""
        view, places = _unescaped(text)
        found = [Found(places[a], places[b], rule.name) for rule in rules for a, b in rule.find(view)]
        if view != text:
            text = _encodable(text)
            found += [Found(a, b, rule.name) for rule in rules if rule in self._blocked for a, b in rule.find(text)]
        return found

    def _without(self, text: str, found: list[Found], tally: Tally) -> str:
        """Return the text with what was found masked, but for what is allowed and what is a mask already."""
        secret = [each for each in found if text[each.start : each.end].strip("*")]
        for pattern in self._allowed if secret else ():
            kept = [match.span() for match in pattern.finditer(_encodable(text))]
            before, secret = len(secret), [each for each in secret if not _covered(each, kept)]
            tally.allowed += before - len(secret)
        pieces, end = [], 0
        for each in _merged(secret):
            pieces += [text[end : each.start], self._replacement(text[each.start : each.end])]
            end = each.end
            tally.add(each.rule)
        return "".join(pieces) + text[end:]


def _rule(detector: Detector) -> Rule:
    pattern = compiled(detector.pattern)
    return Rule(detector.name, pattern, detector.refine, groups=pattern.groups > 0)


def _itself(_text: str, start: int, end: int) -> Iterator[Range]:
    yield start, end


def _encodable(text: str) -> str:
    """Return the text with a question mark for each half of a surrogate pair that an escape in JSON left alone."""
    return text.encode("utf-8", "replace").decode()


def _unescaped(text: str) -> tuple[str, Sequence[int]]:
    """Return the text with JSON's escapes resolved, at whatever level, and where each of its characters begins.

    Most JSON that does not parse was cut off by a limit on attribute length; what it hides is read through this.
    """
    view: list[str] = []
    places: list[int] = []
    end = 0
    for match in _ESCAPE.finditer(text) if "\\" in text else ():
        view += [text[end : match.start()], chr(int(match[1], 16)) if match[1] else _MEANING[match[2]]]
        places += range(end, match.start() + 1)
        end = match.end()
    if not view:
        return _encodable(text), range(len(text) + 1)
    places += range(end, len(text) + 1)
    return _encodable("".join([*view, text[end:]])), places


def _covered(found: Found, ranges: list[Range]) -> bool:
    """Return whether one of the ranges, which are in order and apart, holds all of what was found."""
    place = bisect_right(ranges, found.start, key=itemgetter(0)) - 1
    return place >= 0 and found.end <= ranges[place][1]


def _merged(found: Iterable[Found]) -> list[Found]:
    """Return what was found with overlapping and touching ranges as one, named after the rule that begins first."""
    result: list[Found] = []
    for each in sorted(found, key=lambda each: (each.start, -each.end)):
        if result and each.start <= result[-1].end:
            result[-1] = result[-1]._replace(end=max(result[-1].end, each.end))
        else:
            result.append(each)
    return result
