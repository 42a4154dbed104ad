"""The one error of OTTL."""

from __future__ import annotations


class OttlError(ValueError):
    """A condition that does not compile (with the column where it goes wrong), or one that cannot be evaluated."""

    def __init__(self, problem: str, column: int | None = None) -> None:
        super().__init__(problem if column is None else f"{problem} (column {column})")
        self.column = column
