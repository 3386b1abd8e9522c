"""Backups of a SQLite database: taken beside a running server, verified, and put back.

Copying the file is no backup. What was committed last stands in the write-ahead log beside it (`-wal`), and a copy of
either without the other, or of both at two moments, lacks what was acknowledged. Here SQLite itself copies the pages
as they were at one moment, log and all, while the server goes on.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.config.secrets import Vault
from app.core.pauses import EVERYTHING, Pause
from app.engine.ledger import Ledger
from app.runtime.ids import Ids
from app.store.migrations import migrations
from app.store.sqlite import open_sqlite
from app.store.sqlite.files import KEY, PRIVATE, hold

STEP_PAGES = 4096
_OF_SQLITE = ("-wal", "-shm")
_RECORD = ".backup"
_FILTERS = ("account", "order_pk", "type", "since", "until", "text", "before")

Tell = Callable[[int, int], None]
"""Told how many pages are copied, and of how many."""


class BackupError(Exception):
    """A backup could not be taken, or could not be put back; the sentence says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup, or a restored database, is."""

    file: Path
    bytes: int
    schema: int
    key_file: Path | None
    """Where the key stands that opens the secrets; None if it is given by RESCIND_SECRET_KEY."""
    kept: Path | None = None
    """Where that is which was in the way of a restored database."""


@dataclass(frozen=True, slots=True)
class LastBackup:
    """What is known of the latest backup of a database, whether or not the file is still there."""

    at: datetime
    file: str


def back_up(database: Path, file: Path, *, secret_key: str, force: bool, tell: Tell) -> Copied:
    """Copy `database` into `file` as it is at one moment, with its key file beside it. Others may write meanwhile.

    Raises `BackupError` if that is not possible, or if `file` is there already and `force` is not given.
    """
    if not file.parent.is_dir():
        raise BackupError(f"There is no directory {file.parent}: make it, or give another file")
    if not database.is_file():
        raise BackupError(f"There is no database at {database} (RESCIND_DATABASE_URL)")
    if file.exists() and file.samefile(database):
        raise BackupError(f"The file {file} is the database itself: give another one")
    for each in (file, _key_of(file)):
        if each.exists() and not force:
            raise BackupError(f"The file {each} is there already: give another one, or --force to replace it")
    key_file, key_of_copy = _key_of(database), _key_of(file)
    key = key_file.read_bytes() if key_file.is_file() else None
    with _beside(file) as partial:
        _copy(database, partial, tell)
        schema = _verified(partial, secret_key, key)
        if key is not None:
            _put(key, key_of_copy)
        elif force:
            key_of_copy.unlink(missing_ok=True)  # of the backup that is replaced
        partial.replace(file)
    _sync(file.parent)
    _put(msgspec.json.encode(LastBackup(datetime.now(UTC), str(file.absolute()))), Path(f"{database}{_RECORD}"))
    return Copied(file, file.stat().st_size, schema, None if key is None else key_of_copy)


def restore(file: Path, database: Path, *, secret_key: str, force: bool, tell: Tell) -> Copied:
    """Put the backup `file` where `database` is to be. What was there is kept under another name.

    Sending is paused in it: what was sent after the backup was taken, the backup does not know.

    Raises `BackupError` if that is not possible, or if there is a database already and `force` is not given;
    `DatabaseInUseError` while a server runs.
    """
    if not file.is_file():
        raise BackupError(f"There is no backup at {file}")
    database.parent.mkdir(parents=True, exist_ok=True)
    database = database.resolve()
    if database.exists() and file.samefile(database):
        raise BackupError(f"The file {file} is the database itself: give that of a backup")
    key_file = _key_of(file) if _key_of(file).is_file() else _key_of(database)
    key = key_file.read_bytes() if key_file.is_file() else None
    with hold(database):
        there = [each for each in _files_of(database) if each.exists() and each.stat().st_size]
        if there and not force:
            raise BackupError(
                f"There is a database already, {there[0]}: give --force to replace it; it is kept beside it"
            )
        with _beside(database) as partial:
            _copy(file, partial, tell)
            _verified(partial, secret_key, key)
            asyncio.run(_pause(partial))
            schema = migrations("sqlite")[-1].version
            kept = _set_aside(database) if there else None
            if key is not None:
                _put(key, _key_of(database))
            partial.replace(database)
        _sync(database.parent)
    return Copied(database, database.stat().st_size, schema, None if key is None else _key_of(database), kept)


def last_backup(database: Path) -> LastBackup | None:
    """What is known of the latest backup of a database, if there was one."""
    try:
        return msgspec.json.decode(Path(f"{database}{_RECORD}").read_bytes(), type=LastBackup)
    except (OSError, msgspec.DecodeError):
        return None


def _copy(source: Path, target: Path, tell: Tell) -> None:
    try:
        with closing(_open(source, "ro")) as old, closing(_open(target, "rw")) as new:
            # One reading transaction: else every commit of the server's would make the copy begin anew.
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            old.backup(new, pages=STEP_PAGES, progress=lambda _status, left, total: tell(total - left, total), sleep=0)
            # The copy is one file, without a log beside it.
            new.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupError(f"The file {source} cannot be copied: {error}") from error


def _verified(file: Path, secret_key: str, key: bytes | None) -> int:
    """The schema's version of a copy that is whole, and whose secrets open."""
    try:
        with closing(_open(file, "ro")) as db:
            found = [row for (row,) in db.execute("PRAGMA quick_check(3)")]
            if found != ["ok"]:
                raise BackupError(
                    f"The copy is damaged: {'; '.join(found)}. If it is so again, restore a backup from before"
                )
            (schema,) = db.execute("PRAGMA user_version").fetchone()
            sealed = [bytes(body) for (body,) in db.execute("SELECT body FROM resources")] if schema else []
    except sqlite3.Error as error:
        raise BackupError(f"The copy cannot be opened: {error}") from error
    newest = migrations("sqlite")[-1].version
    if not schema or schema > newest:
        what = f"its schema is {schema}, this release knows {newest}" if schema else "it has no schema"
        raise BackupError(f"The copy is no database that this release knows: {what}")
    keys = [each for each in secret_key.split(",") if each] or ([] if key is None else [key.decode("ascii").strip()])
    if sealed and not keys:
        raise BackupError(
            "The key that opens its secrets is not there: set RESCIND_SECRET_KEY, or put the .key file beside it"
        )
    for body in sealed:
        Vault(keys).open(body)
    return int(schema)


async def _pause(file: Path) -> None:
    """Have the restored database send nothing until somebody says so."""
    store = await open_sqlite(file)
    try:
        newest = await store.events(**dict.fromkeys(_FILTERS), limit=1)
        until = f"{newest[0][1].received_at:%Y-%m-%d %H:%M:%S} UTC" if newest else "before the first event"
        reason = f"restored from a backup that ends {until}: what was sent since then is not known here"
        ledger = Ledger(store, _no_account, Ids())
        running = asyncio.create_task(ledger.run())
        await ledger.pause(Pause(EVERYTHING, reason, datetime.now(UTC), "rescind restore"))
        ledger.close()
        await running
    finally:
        await store.close()


def _no_account(account: str) -> Any:
    raise KeyError(account)


def _set_aside(database: Path) -> Path:
    """Give what is there another name: the database first, as a server refuses to start on a log without one."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = [f"{database}.before-restore-{stamp}{f'-{n}' if n else ''}" for n in range(100)]
    kept = next(Path(name) for name in names if not Path(name).exists() and not _key_of(Path(name)).exists())
    for old, new in zip(_files_of(database), _files_of(kept), strict=True):
        if old.exists():
            old.rename(new)
    if _key_of(database).is_file():
        _put(_key_of(database).read_bytes(), _key_of(kept))
    return kept


def _open(file: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


def _key_of(file: Path) -> Path:
    return Path(f"{file}{KEY}")


def _files_of(database: Path) -> Sequence[Path]:
    return [database, *(Path(f"{database}{suffix}") for suffix in _OF_SQLITE)]


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """An empty private file in the directory of `file`, which is gone in the end if it was not given another name."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for suffix in ("", "-journal", *_OF_SQLITE, ".lock"):
            Path(f"{name}{suffix}").unlink(missing_ok=True)


def _put(content: bytes, file: Path) -> None:
    """Write a private file as a whole, onto the disk."""
    with _beside(file) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)


def _sync(directory: Path) -> None:
    """Names are on the disk when their directory is."""
    with suppress(OSError):  # not every file system can
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
