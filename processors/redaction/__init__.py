r"""Masks secrets and personal data in spans and log records, before they reach the disk (head stage).

The rules, their names and their order are those of the Collector's redaction processor (contrib,
processor/redactionprocessor), and named detectors besides. For each attribute of a resource, scope, span, event, link
or log record, and each entry of a log body that is a map:

1. A key in `ignored_keys`, or in which an `ignored_key_patterns` occurs: left as it is.
2. A key not in `allowed_keys`, unless `allow_all_keys`: the attribute is removed. Not given, `allow_all_keys` is
   false if `allowed_keys` is given and true if not: an empty list removes everything only if asked to in so many words.
3. A key in which a `blocked_key_patterns` occurs: the whole value becomes `****`, whatever its type.
4. Else what a detector or one of `blocked_values` finds in the value is masked, and nothing around it.

A match that lies within a match of `allowed_values` stays, as does a value under a blocked key that one covers from
end to end. (Contrib's code lets the whole value through for one match anywhere in it; its README says the above.)

Rules 1 and 3 hold for entries of nested maps too, and rule 3 for the keys of JSON in strings. Rule 4 reads strings,
bytes, the text of JSON in strings at any depth (which stays valid JSON), keys (detectors only), and, with
`redact_all_types`, numbers and booleans. It also reads the other texts there are: span names, status messages, event
names, trace states, scope names, schema URLs. Trace and span ids are never touched, and fields that OTLP does not know
are dropped. A value that can't be read to its end becomes `****`.

`detectors: all`, a list of names, or nothing, which means all of them if no other rule is given:

    redaction:
      detectors: [email, credit_card, openai_key]
      blocked_key_patterns: ["(?i)password"]
      allowed_values: ['@example\.com$']
      hash_function: hmac-sha256
      hmac_key: ${env:REDACTION_KEY}
      summary: info

Patterns are RE2, so no text can make them slow. Redacting twice gives what redacting once gave, except with a
`hash_function`, where a digest under a blocked key is hashed again.
"""

from spanbridge.processors.redaction.config import MASK, RedactionConfig
from spanbridge.processors.redaction.detectors import DETECTORS
from spanbridge.processors.redaction.otlp import Redaction

__all__ = ["DETECTORS", "MASK", "Redaction", "RedactionConfig"]
