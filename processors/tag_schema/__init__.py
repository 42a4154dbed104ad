"""Gives every trace the same tags, typed and checked (trace stage, after `genai`).

    tag_schema:
      schema: standard                      # for traces that none of `schemas` takes
      schemas:                              # the first whose `when` matches the resource is applied
        - name: checkout
          when: {service.name: "checkout*"} # a glob, or a list of globs, for each resource attribute
          extends: standard
          on_violation: tag                 # keep | tag | drop_tag | drop_trace; each tag may say its own
          tags:
            team:
              required: true
              allowed: [payments, search]
              from:
                - resource: team.name
                - env: TEAM
            order_value:
              type: float                   # str | int | float | bool | csv
              aliases: [order.total]
              default: 0
            order_id:
              pattern: "[A-Z]{2}[0-9]{8}"   # RE2, the whole value

**Where a value comes from.** First what the application gives by the tag's name or an alias: a tag that an earlier
processor set, `mlflow.traceTag.NAME` or `NAME` on the root span. Then `from`, in order: `root` (an attribute of the
root span), `span` (of any span), `resource`, `metadata` (set by an earlier processor), `env`, `constant`, `computed`
(one of `COMPUTED` of `computed`). Then `default`. An empty text is no value. Without a root span the
earliest span whose parent is elsewhere stands in for it.

**How it is written.** As MLflow keeps tags, in strings: `3`, `0.5`, `true`, `a,b`.

**What a violation does.** Its rule is `type`, `allowed`, `pattern` or `required`; `on_violation` is told of each.
`keep` keeps the value as it is; `tag` does too and lists it as `tag:rule` in the tag `schema.violations`; `drop_tag`
passes it over and asks the next source; `drop_trace` drops the trace. With `violations_tag: NAME` a schema lists every
violation there, whatever it does.

**A late part** of a trace that was handed on before knows only a part of the whole: of it only what earlier processors
or its own root span say is written, nothing is computed, defaulted, required or dropped.

`standard` is the schema of every trace unless the configuration names another; see `STANDARD`.
"""

from spanbridge.processors.tag_schema.computed import COMPUTED
from spanbridge.processors.tag_schema.config import STANDARD, SchemaConfig, TagConfig, TagSchemaConfig
from spanbridge.processors.tag_schema.schema import TagSchema

__all__ = ["COMPUTED", "STANDARD", "SchemaConfig", "TagConfig", "TagSchema", "TagSchemaConfig"]
