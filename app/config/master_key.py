"""Rotation of the key that encrypts secrets at rest: all stored values are encrypted anew, a few at a time.

At every moment each value opens with a key that is on disk, so that a process that ends halfway loses nothing, and the
next one continues: a key file holds the new and the former key until the last value is done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.config.secrets import Vault, make_key, split_keys, write_keys
from app.store import SEALED, Reader, SealedColumn, Store

PAGE = 200
"""Values in one transaction."""


class RotationError(Exception):
    """The key cannot be rotated; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class SealedRow:
    """Where an encrypted value is."""

    column: SealedColumn
    key: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rotation is."""

    done: int
    total: int
    resealed: int
    """Values that were encrypted anew; the others were already."""


def keys_for(given: str, key_file: Path) -> list[str]:
    """The keys of a rotation, the new one first: those in `given` (RESCIND_SECRET_KEY), else in `key_file`.

    Raises `RotationError` if `given` has no former key.
    """
    keys = split_keys(given)
    if len(keys) == 1:
        raise RotationError("RESCIND_SECRET_KEY has one key: put a new one before it (RESCIND_SECRET_KEY=NEW,FORMER)")
    return keys or split_keys(key_file.read_text(encoding="ascii"))


async def rotate(store: Store, keys: Sequence[str], key_file: Path | None) -> AsyncIterator[Progress]:
    """Encrypt all values with the first key. With a key file of only one key a new key is made.

    Raises `WrongSecretKeyError` if a value opens with no key.
    """
    if key_file is not None and len(keys) == 1:
        # An earlier run that ended halfway has left both in the file.
        keys = [make_key(), *keys]
        write_keys(key_file, keys)
    vault, total, done, resealed = Vault(keys), 0, 0, 0
    for column in SEALED:
        total += await store.count_sealed(column)
    yield Progress(done, total, resealed)
    async for page in sealed_values(store):
        former = [(row, value) for row, value in page if not vault.is_current(value)]
        if former:
            column = former[0][0].column
            await store.replace_sealed(column, [(row.key, value, vault.reseal(value)) for row, value in former])
        done, resealed = done + len(page), resealed + len(former)
        yield Progress(done, total, resealed)
    if await count_former(store, vault):
        raise RotationError("Values were saved with a former key meanwhile: run it again")
    if key_file is not None:
        write_keys(key_file, keys[:1])


async def count_former(store: Reader, vault: Vault) -> int:
    """How many stored values are encrypted with another key than the first."""
    return sum([not vault.is_current(value) async for page in sealed_values(store) for _, value in page])


async def sealed_values(store: Reader) -> AsyncIterator[list[tuple[SealedRow, bytes]]]:
    """All encrypted values with their rows, in pages of one column each."""
    for column in SEALED:
        after: tuple[str, ...] | None = None
        while page := await store.sealed_values(column, after, PAGE):
            yield [(SealedRow(column, key), value) for key, value in page]
            after = page[-1][0]
