"""OTTL, the OpenTelemetry Transformation Language: conditions on spans, span events, scopes and resources.

A condition or statement is compiled to closures once; evaluating it parses nothing. Grammar and comparison rules are
those of contrib's pkg/ottl/LANGUAGE.md, paths those of pkg/ottl/contexts, functions those of pkg/ottl/ottlfuncs.

Not here: lambdas, `cache`, and functions that need a clock or randomness (`Now`, `UUID`). Statements compile with
whatever editors the caller brings (`set`, `delete_key`, ...).
"""

from spanbridge.processors.ottl.compiler import (
    Argument,
    Condition,
    Editor,
    Statement,
    compile_condition,
    compile_statement,
)
from spanbridge.processors.ottl.conditions import Conditions, ErrorMode
from spanbridge.processors.ottl.errors import OttlError
from spanbridge.processors.ottl.paths import ContextName, Path, Record
from spanbridge.processors.ottl.values import Duration, Time, Value

__all__ = [
    "Argument",
    "Condition",
    "Conditions",
    "ContextName",
    "Duration",
    "Editor",
    "ErrorMode",
    "OttlError",
    "Path",
    "Record",
    "Statement",
    "Time",
    "Value",
    "compile_condition",
    "compile_statement",
]
