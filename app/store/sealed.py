"""Which columns hold encrypted values: all that a rotation of the key must encrypt anew."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column whose values are encrypted."""

    table: str
    column: str
    key: tuple[str, ...]
    """The columns of the table's primary key, which are text."""


SEALED = (
    SealedColumn("resources", "body", ("kind", "id")),
    SealedColumn("answers", "answer", ("key",)),
    SealedColumn("sealed_keys", "key", ("name",)),
    SealedColumn("account_secrets", "sealed", ("account",)),
)
"""A test finds encrypted values in the database, and checks that their column is here."""
