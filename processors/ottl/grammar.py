"""The grammar of OTTL conditions and statements. lark is imported when the first one is parsed."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from spanbridge.processors.ottl.errors import OttlError

if TYPE_CHECKING:
    from lark import Lark

Node: TypeAlias = Any
"""A node of the tree (`lark.Tree`), or a token at a leaf; untyped because lark is imported late."""

_MAX_LENGTH: Final = 16_384

# One ladder for booleans and arithmetic: a parenthesis may open either, which one token of lookahead can't tell. The
# compiler refuses what OTTL's own two-tier grammar would not derive.
# In a set of characters the quote has to come first: lark takes a backslash before it for an escape, and drops it.
_GRAMMAR: Final = r"""
condition: expr
statement: NAME "(" [arguments] ")" ["where" expr]

?expr: conjunction | conjunction ("or" conjunction)+      -> any_of
?conjunction: negation | negation ("and" negation)+       -> all_of
?negation: comparison | "not" negation                    -> negate
?comparison: sum | sum COMPARE sum                        -> compare
?sum: product | product (ADD product)+                    -> arithmetic
?product: signed | signed (MULTIPLY signed)+              -> arithmetic
?signed: primary | ADD signed                             -> sign
?primary: "(" expr ")" | call | path | list | map | enum | literal

call: SYMBOL "(" [arguments] ")" index*
enum: SYMBOL
arguments: argument ("," argument)*
?argument: expr | NAME "=" expr                 -> named
path: field ("." field)*
field: NAME index*
index: "[" expr "]"
list: "[" [expr ("," expr)*] "]"
map: "{" [pair ("," pair)*] "}"
pair: STRING ":" expr
?literal: STRING -> string | INT -> int | FLOAT -> float | BYTES -> bytes
        | "true" -> true | "false" -> false | "nil" -> nil

COMPARE: "==" | "!=" | "<=" | ">=" | "<" | ">"
ADD: "+" | "-"
MULTIPLY: "*" | "/"
BYTES.3: /0x[a-fA-F0-9]+/
FLOAT.2: /\d*\.\d+([eE][-+]?\d+)?/
INT.1: /\d+/
STRING: /"(\\.|[^"\\])*"/
SYMBOL: /[A-Z][A-Za-z0-9_]*/
NAME: /[a-z][a-z0-9_]*/
%ignore /\s+/
"""


@cache
def _parser() -> Lark:
    from lark import Lark  # noqa: PLC0415  a pipeline without OTTL must not pay for it

    return Lark(_GRAMMAR, parser="lalr", start=["condition", "statement"], propagate_positions=True)


def parse(text: str, start: Literal["condition", "statement"]) -> Node:
    """Return the tree of a text.

    Raises:
        OttlError: The text does not fit the grammar; the error gives the column of the first token that does not.
    """
    if len(text) > _MAX_LENGTH:
        raise OttlError(f"an OTTL {start} may have {_MAX_LENGTH} characters, this one has {len(text)}")
    parser = _parser()
    from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken  # noqa: PLC0415  as above

    try:
        return parser.parse(text, start=start)
    except UnexpectedCharacters as error:
        raise OttlError(f"unexpected character {text[error.pos_in_stream or 0]!r}", _column(error.column)) from None
    except UnexpectedToken as error:
        if error.token.type == "$END":
            raise OttlError(f"the {start} ends too early", len(text) + 1) from None
        raise OttlError(f"unexpected {str(error.token)!r}", _column(error.column)) from None
    except UnexpectedInput:
        raise OttlError(f"not an OTTL {start}") from None


def _column(column: object) -> int | None:
    return column if isinstance(column, int) and column > 0 else None
