"""Verifies a backup or a stopped database without changing it: the file, the key, the log, and the orders.

The checks build on one another: where a file is damaged, its log is not asked what it says.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import aiosqlite

from app.config.log_key import stored_public_key
from app.config.master_key import sealed_values
from app.config.secrets import Vault, WrongSecretKeyError, split_keys
from app.engine import log_verify, rebuild
from app.store import StoreError, Window
from app.store.migrations import migrations
from app.store.sqlite import SqliteReader
from app.store.sqlite.connection import connect_reader
from app.store.sqlite.files import KEY

OK, FAULT, NOT_CHECKED = "ok", "fault", "not checked"
FAULTS_MAX = 1000
"""How many faults are listed; all are counted."""
_READERS = 2
"""Erasures are read on one, and what records each of them is looked up on the other."""
_DAMAGES = 3

Tell = Callable[[str, int, int], None]
"""Called with (the check that runs, how much is done, of how much; 0 if that is not known)."""


class UnsoundError(Exception):
    """A database file cannot be used; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check."""

    check: str
    """`file`, `schema`, `key`, `log` or `orders`."""
    state: str
    """`ok`, `fault` or `not checked`."""
    detail: str


@dataclass(slots=True)
class Verification:
    """What a database holds, and whether it is sound."""

    file: str
    bytes: int
    schema: int = 0
    newest_event_at: datetime | None = None
    """When the newest event was received: the database knows nothing of what came later."""
    counts: dict[str, int] = field(default_factory=dict)
    """Orders, events, receipts, cancellations."""
    checks: list[Check] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What is wrong, in sentences; `found` counts those, too, that are not listed."""
    found: int = 0

    @property
    def is_sound(self) -> bool:
        """Whether no check found a fault."""
        return not self.found

    def add(self, check: str, detail: str, faults: Sequence[str] = (), *, state: str = "", found: int = 0) -> None:
        """Add the result of a check; it is `ok` if it has no faults."""
        self.checks.append(Check(check, state or (FAULT if faults else OK), detail))
        self.faults += faults[: FAULTS_MAX - len(self.faults)]
        self.found += found or len(faults)


def examine_file(file: Path, secret_key: str, key: bytes | None, *, pragma: str = "quick_check") -> int:
    """The schema's version of a database file that is whole, and whose configuration opens with the key.

    Raises `UnsoundError`, or `WrongSecretKeyError`.
    """
    require_whole(file, pragma)
    schema = require_schema(file)
    with closing(_open(file)) as db:
        sealed = [bytes(body) for (body,) in db.execute("SELECT body FROM resources")]
    keys = _keys(secret_key, key)
    if sealed and not keys:
        raise UnsoundError(
            "The key that opens its secrets is not there: set RESCIND_SECRET_KEY, or put the .key file beside it"
        )
    for body in sealed:
        Vault(keys).open(body)
    return schema


def require_whole(file: Path, pragma: str) -> None:
    """Have SQLite check the file's pages. Raises `UnsoundError`."""
    try:
        with closing(_open(file)) as db:
            damages = [row for (row,) in db.execute(f"PRAGMA {pragma}({_DAMAGES})")]
    except sqlite3.Error as error:
        raise UnsoundError(f"{file} cannot be opened: {error}") from error
    if damages != ["ok"]:
        raise UnsoundError(f"{file} is damaged: {'; '.join(damages)}")


def require_schema(file: Path) -> int:
    """The schema's version. Raises `UnsoundError` if this release does not know it."""
    with closing(_open(file)) as db:
        (schema,) = db.execute("PRAGMA user_version").fetchone()
    newest = migrations("sqlite")[-1].version
    if not schema or schema > newest:
        what = f"its schema is {schema}, this release knows {newest}" if schema else "it has no schema"
        raise UnsoundError(f"{file} is no database that this release knows: {what}")
    return int(schema)


def verify(file: Path, key_file: Path, *, secret_key: str, quick: bool, tell: Tell) -> Verification:
    """Verify a database file; with `quick` its orders are not folded again, nor its indexes compared.

    Args:
        file: a backup or a database, to which others may write meanwhile.
        key_file: where its key is, if `secret_key` is empty.
        secret_key: RESCIND_SECRET_KEY, or empty.
        quick: see above.
        tell: is told of the progress.
    """
    verification = Verification(str(file), file.stat().st_size)
    keys = _keys(secret_key, key_file.read_bytes() if key_file.is_file() else None)
    tell("file", 0, 0)
    try:
        require_whole(file, "quick_check" if quick else "integrity_check")
        verification.add("file", "its pages are whole" if quick else "its pages and indexes are whole")
        verification.schema = require_schema(file)
    except UnsoundError as error:
        verification.add("schema" if verification.checks else "file", str(error), [str(error)])
        return verification
    newest = migrations("sqlite")[-1].version
    if verification.schema < newest:
        verification.add("schema", f"{verification.schema} of {newest}: a server of this release migrates it")
        later = "not checked in a database of an older schema: restore it elsewhere, and verify that"
        for check in ("key", "log", "orders"):
            verification.add(check, later, state=NOT_CHECKED)
        return verification
    verification.add("schema", f"{verification.schema}, that of this release")
    asyncio.run(_verify_content(file.absolute(), verification, keys, tell, quick=quick))
    return verification


async def _verify_content(
    file: Path, verification: Verification, keys: Sequence[str], tell: Tell, *, quick: bool
) -> None:
    async with AsyncExitStack() as stack:
        connections = [await connect_reader(file) for _ in range(_READERS)]
        for connection in connections:
            stack.push_async_callback(connection.close)
        try:
            reader = SqliteReader(connections)
            await _count(reader, connections[0], verification)
            vault = await _verify_key(reader, verification, keys)
            await _verify_log(reader, verification, vault, tell)
            if quick:
                verification.add("orders", "left out by --quick", state=NOT_CHECKED)
            else:
                await _verify_orders(reader, verification, tell)
        except (StoreError, sqlite3.Error, ValueError, KeyError) as error:
            # What is stored is not what any release has written.
            verification.add("content", "it cannot be read", [f"{type(error).__name__}: {error}"])


async def _count(reader: SqliteReader, db: aiosqlite.Connection, verification: Verification) -> None:
    for table in ("orders", "events", "receipts", "cancellations"):
        ((number, *_),) = await db.execute_fetchall(f"SELECT count(*) FROM {table}")  # noqa: S608 - our own names
        verification.counts[table] = number
    newest = await reader.events(Window(1))
    verification.newest_event_at = newest[0][1].received_at if newest else None


async def _verify_key(reader: SqliteReader, verification: Verification, keys: Sequence[str]) -> Vault | None:
    sealed = [value async for page in sealed_values(reader) for _, value in page]
    if not keys:
        if not sealed:
            verification.add("key", "nothing is encrypted yet")
            return None
        key_file = f"{verification.file}{KEY}"
        detail = f"{len(sealed)} secrets cannot be read without it: set RESCIND_SECRET_KEY, or put {key_file} back"
        verification.add("key", detail, [f"The key is not there: {detail}"])
        return None
    vault = Vault(keys)
    try:
        for value in sealed:
            vault.open(value)
    except WrongSecretKeyError as error:
        verification.add("key", "it does not open the secrets", [str(error)])
        return None
    verification.add("key", f"it opens all {len(sealed)} secrets")
    return vault


async def _verify_log(reader: SqliteReader, verification: Verification, vault: Vault | None, tell: Tell) -> None:
    public_key = None if vault is None else await stored_public_key(reader, vault)
    if public_key is None:
        why = "the key that it is signed with cannot be read" if vault is None else "it is not sealed yet"
        verification.add("log", why, state=NOT_CHECKED)
        return
    _, last = await reader.block_numbers()
    blocks = events = number = 0
    listed: list[str] = []
    async for step in verify_chain(reader, public_key, last):
        blocks, events = blocks + step.blocks, events + step.events
        number += len(step.faults)
        listed += [fault.detail for fault in step.faults][: FAULTS_MAX - len(listed)]
        tell("log", blocks, last)
    detail = f"{number} faults in its hash chain" if number else f"{events} events are as they were sealed"
    verification.add("log", detail, listed, found=number)


async def verify_chain(reader: SqliteReader, public_key: bytes, last: int) -> AsyncIterator[log_verify.Progress]:
    """Verify the whole hash chain of a log, the erasures in it, and its end."""
    async for step in log_verify.verify(reader, public_key, 1, last):
        yield step
    erasures = [fault async for fault in log_verify.verify_erasures(reader)]
    yield log_verify.Progress(0, 0, 0, [*erasures, *await log_verify.verify_end(reader)])


async def _verify_orders(reader: SqliteReader, verification: Verification, tell: Tell) -> None:
    orders = number = 0
    listed: list[str] = []
    async for page in rebuild.check(reader):
        orders += page.orders
        number += len(page.mismatches)
        for mismatch in page.mismatches[: FAULTS_MAX - len(listed)]:
            named = f"{mismatch.account} {mismatch.order or f'number {mismatch.order_pk}'}".strip()
            listed.append(f"order {named}: {mismatch.what} {mismatch.problem}")
        tell("orders", orders, verification.counts["orders"])
    detail = f"{number} mismatches" if number else f"{orders} orders are what the log gives"
    verification.add("orders", detail, listed, found=number)


def _keys(secret_key: str, key: bytes | None) -> Sequence[str]:
    # A file that holds something else is the wrong key, and is refused as such.
    return split_keys(secret_key) or ([] if key is None else split_keys(key.decode("ascii", "replace")))


def _open(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
