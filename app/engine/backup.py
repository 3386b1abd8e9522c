"""Backups of a SQLite database: taken beside a running server, verified, and restored.

A copy of the file is no backup: the last commits are in the write-ahead log beside it (`-wal`), and a copy of one
without the other, or of both at two moments, lacks data that was acknowledged. Here SQLite itself copies the pages as
they are at one moment, log included, while the server goes on.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from app.config.faults import InvalidResourceError
from app.config.secrets import Vault, make_key, split_keys
from app.config.store import ConfigStore
from app.core.cancellation import State
from app.core.commands import Restored
from app.core.pauses import EVERYTHING, Pause
from app.engine.ledger import Ledger
from app.engine.verify import UnsoundError, examine_file
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store import Store, Window
from app.store.filters import CancellationFilter
from app.store.migrations import migrations
from app.store.sqlite import open_sqlite
from app.store.sqlite.connection import make_way
from app.store.sqlite.files import KEY, PRIVATE, hold
from app.store.sqlite.index import remove_index

STEP_PAGES = 1024
"""Pages between two syncs: 8 MB."""
SPARE = 16 * 1024 * 1024
"""Bytes that must be free beyond the size of a copy."""
PAGE = 500
"""Scheduled cancels of a restored backup that are read and recorded at once."""
_OF_SQLITE = ("-wal", "-shm")
_RECORD = ".backup"

Tell = Callable[[int, int], None]
"""Called with (pages copied, pages in all)."""


class BackupError(Exception):
    """A backup could not be taken or restored; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Copied:
    """A backup, or a restored database."""

    file: Path
    bytes: int
    schema: int
    at: datetime
    """When it was begun: what was committed before is in it."""
    key_file: Path | None
    """The file of the key that decrypts the secrets; None if RESCIND_SECRET_KEY gives it, or it was left out."""
    former: Path | None = None
    """Where the database is that was replaced."""
    scheduled: int = 0
    """Cancels that were scheduled in a backup that was restored: each may have been sent after it was taken."""


@dataclass(frozen=True, slots=True)
class LastBackup:
    """The latest verified backup of a database, whether or not its file still exists."""

    at: datetime
    file: str


def back_up(
    database: Path, file: Path, *, secret_key: str, tell: Tell, force: bool = False, with_key: bool = True
) -> Copied:
    """Copy `database` as it is at one moment into `file`, with its key file beside it. Others may write meanwhile.

    Until the copy is whole, on disk and verified it has another name: `file` is never half a backup.

    Raises `BackupError` if that is not possible, or if `file` exists and `force` is not given.
    """
    if not file.parent.is_dir():
        raise BackupError(f"There is no directory {file.parent}: make it, or give another one")
    if not database.is_file():
        raise BackupError(f"There is no database at {database} (RESCIND_DATABASE_URL)")
    if file.exists() and file.samefile(database):
        raise BackupError(f"The file {file} is the database itself: give another one")
    for target in (file, key_of(file)):
        if target.exists() and not force:
            raise BackupError(f"The file {target} exists already: give another one, or --force to replace it")
    key_file, key_of_copy = key_of(database), key_of(file)
    key = key_file.read_bytes() if key_file.is_file() else None
    at = datetime.now(UTC)
    with _beside(file) as partial:
        _copy(database, partial, tell)
        schema = _verified(partial, secret_key, key)
        sync(partial)
        # The key first: a backup that is there has its key.
        if key is not None and with_key:
            _put(key, key_of_copy)
        elif force:
            key_of_copy.unlink(missing_ok=True)  # that of the replaced backup
        partial.replace(file)
    sync(file.parent)
    return Copied(file, file.stat().st_size, schema, at, key_of_copy if key is not None and with_key else None)


def restore(file: Path, database: Path, *, secret_key: str, force: bool, tell: Tell) -> Copied:
    """Restore the backup `file` as `database`. A database that is there is kept under another name.

    Sending is paused in it, and what was scheduled counts as a call whose outcome is unknown: the backup does not know
    what was sent after it was taken. All of that is done before the database has its name.

    Raises `BackupError` if that is not possible, or if there is a database and `force` is not given;
    `DatabaseInUseError` while a server runs.
    """
    if not file.is_file():
        raise BackupError(f"There is no backup at {file}")
    database.parent.mkdir(parents=True, exist_ok=True)
    database = database.resolve()
    if database.exists() and file.samefile(database):
        raise BackupError(f"The file {file} is the database itself: give that of a backup")
    key_file = key_of(file) if key_of(file).is_file() else key_of(database)
    key = key_file.read_bytes() if key_file.is_file() else None
    with hold(database):
        existing = [path for path in _files_of(database) if path.exists() and path.stat().st_size]
        if existing and not force:
            raise BackupError(
                f"There is a database already, {existing[0]}: give --force to replace it; it is kept beside it"
            )
        with _beside(database) as partial:
            _copy(file, partial, tell)
            _verified(partial, secret_key, key)
            keys = split_keys(secret_key) or split_keys((key or b"").decode())
            scheduled = asyncio.run(_make_present(partial, keys))
            schema = migrations("sqlite")[-1].version
            former = _set_aside(database) if existing else None
            remove_index(database)  # It is of the log that was replaced; a server makes it anew.
            if key is not None:
                _put(key, key_of(database))
            partial.replace(database)
        sync(database.parent)
    size, key_of_copy = database.stat().st_size, None if key is None else key_of(database)
    return Copied(database, size, schema, datetime.now(UTC), key_of_copy, former, scheduled)


def record(database: Path, copy: Copied) -> None:
    """Record a verified backup beside the database, where the server and `rescind doctor` see it.

    Raises `BackupError` if that is not possible.
    """
    kept = Path(f"{database}{_RECORD}")
    try:
        _put(msgspec.json.encode(LastBackup(copy.at, str(copy.file.absolute()))), kept)
    except OSError as error:
        raise BackupError(
            f"The backup {copy.file} is whole, but {kept}, by which the server knows of it, cannot be written "
            f"({error.strerror})"
        ) from error


def last_backup(database: Path) -> LastBackup | None:
    """The latest verified backup of a database, if there was one."""
    try:
        return msgspec.json.decode(Path(f"{database}{_RECORD}").read_bytes(), type=LastBackup)
    except (OSError, msgspec.DecodeError):
        return None


def _copy(source: Path, target: Path, tell: Tell) -> None:
    make_way()
    descriptor = os.open(target, os.O_RDONLY)

    def step(_status: int, left: int, total: int) -> None:
        # Little by little: a commit of the server's would wait behind gigabytes that are written at the end.
        os.fsync(descriptor)
        tell(total - left, total)

    try:
        with closing(_open(source, "ro")) as old, closing(_open(target, "rw")) as new:
            # One reading transaction: else every commit of the server's would make the copy begin anew.
            old.execute("BEGIN")
            old.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            _require_space(old, target.parent)
            old.backup(new, pages=STEP_PAGES, progress=step, sleep=0)
            # The copy is one file, without a log beside it.
            new.execute("PRAGMA journal_mode = DELETE")
    except sqlite3.Error as error:
        raise BackupError(f"The file {source} cannot be copied: {error}") from error
    finally:
        os.close(descriptor)


def _require_space(db: sqlite3.Connection, directory: Path) -> None:
    (pages,), (page_bytes,) = (db.execute(f"PRAGMA {name}").fetchone() for name in ("page_count", "page_size"))
    needed, free = pages * page_bytes + SPARE, shutil.disk_usage(directory).free
    if free < needed:
        raise BackupError(
            f"The copy needs {needed / 1e6:.0f} MB in {directory}, and {free / 1e6:.0f} MB are free there: free some, "
            "or give a directory on another disk"
        )


def _verified(copy: Path, secret_key: str, key: bytes | None) -> int:
    """The schema's version of a copy that is whole, and whose secrets open."""
    try:
        return examine_file(copy, secret_key, key)
    except UnsoundError as error:
        raise BackupError(f"The copy is of no use. {error}. If it is so again, restore a backup from before") from error


async def _make_present(file: Path, keys: Sequence[str]) -> int:
    """Pause sending in the restored database until an operator resumes it, and begin a new generation of its log.

    Returns how many scheduled cancels may have been sent since.
    """
    store = await open_sqlite(file)
    try:
        config, ids = ConfigStore(store, Vault(keys or [make_key()]), Redactor()), Ids()
        await config.load()
        ids.follow(await store.last_message())
        newest = await store.events(Window(1))
        until = f"{newest[0][1].received_at:%Y-%m-%d %H:%M:%S} UTC" if newest else "before the first event"
        reason = f"restored from a backup that ends {until}: what was sent since then is not known here"
        await store.begin_log_generation(datetime.now(UTC))
        await store.end_sessions()  # Some were ended after the backup was taken.
        ledger = Ledger(store, config.view, ids, accounts_of=config.accounts_of, router=lambda: config.router)
        await ledger.load()
        running = asyncio.create_task(ledger.run())
        await ledger.pause(Pause(EVERYTHING, reason, datetime.now(UTC), "rescind restore"))
        scheduled = await _distrust_scheduled(store, ledger)
        ledger.close()
        await running
    except InvalidResourceError as error:
        raise BackupError(f"This release cannot read a resource in it: {error}. Use the one that wrote it") from error
    finally:
        await store.close()
    return scheduled


async def _distrust_scheduled(store: Store, ledger: Ledger) -> int:
    """Have every scheduled cancel count as one that may have been sent; returns how many there are."""
    number, position = 0, None
    while rows := await store.cancellations(Window(PAGE, position), CancellationFilter(state=State.SCHEDULED)):
        number, position = number + len(rows), rows[-1][0]
        orders = dict.fromkeys((cancel.account, cancel.order) for _, cancel in rows)
        await ledger.execute_all([Restored(account, order, datetime.now(UTC)) for account, order in orders])
    return number


def _set_aside(database: Path) -> Path:
    """Rename the files of a database: the database first, as a server refuses to start on a log without one."""
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    names = [f"{database}.before-restore-{stamp}{f'-{n}' if n else ''}" for n in range(100)]
    former = next(Path(name) for name in names if not Path(name).exists() and not key_of(Path(name)).exists())
    for old, new in zip(_files_of(database), _files_of(former), strict=True):
        if old.exists():
            old.rename(new)
    if key_of(database).is_file():
        _put(key_of(database).read_bytes(), key_of(former))
    return former


def _open(file: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{file.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)


def key_of(file: Path) -> Path:
    """The file of the key that opens the secrets of a database or a backup."""
    return Path(f"{file}{KEY}")


def _files_of(database: Path) -> Sequence[Path]:
    return [database, *(Path(f"{database}{suffix}") for suffix in _OF_SQLITE)]


@contextmanager
def _beside(file: Path) -> Iterator[Path]:
    """An empty private file in the directory of `file`; deleted at the end unless it was renamed."""
    descriptor, name = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        for suffix in ("", "-journal", *_OF_SQLITE, ".lock"):
            Path(f"{name}{suffix}").unlink(missing_ok=True)


def _put(content: bytes, file: Path) -> None:
    """Write a private file atomically, and sync it to disk."""
    with _beside(file) as partial:
        descriptor = os.open(partial, os.O_WRONLY | os.O_TRUNC, PRIVATE)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        partial.replace(file)


def sync(path: Path) -> None:
    """Bring a file, or the names in a directory, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():  # not every file system can sync a directory
            raise
    finally:
        os.close(descriptor)
