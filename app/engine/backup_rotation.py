"""Backups in a directory: each under the time at which it was taken, the oldest removed beyond a number.

A run that is killed leaves files under other names only, which the next run removes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from app.engine.backup import BackupError, Copied, Tell, back_up, key_of, record, sync
from app.store.sqlite.files import KEY, DatabaseInUseError, hold

_STAMP = "rescind-%Y%m%dT%H%M%SZ.db"
_NAME = re.compile(r"rescind-\d{8}T\d{6}Z\.db")
_KEY_NAME = re.compile(rf"({_NAME.pattern}){re.escape(KEY)}")
_PARTIAL_NAME = re.compile(rf"\.{_NAME.pattern}({re.escape(KEY)})?\.\w+(-journal|-wal|-shm|\.lock)?")
"""What `back_up` writes before it renames it."""
_LOCK = ".rescind-backup"


@dataclass(frozen=True, slots=True)
class Rotation:
    """What came of a backup into a directory."""

    copy: Copied
    is_sound: bool
    """Whether the check found nothing wrong in it; if not, no older backup was removed for it."""
    removed: Sequence[Path]


def back_up_into(
    directory: Path,
    database: Path,
    *,
    keep: int | None,
    secret_key: str,
    with_key: bool,
    tell: Tell,
    check: Callable[[Path], bool],
) -> Rotation:
    """Back up into `directory`, and remove the oldest backups there beyond `keep`, once the new one is verified.

    Args:
        directory: where backups are; other files there are left alone.
        database: the database.
        keep: how many backups stay; None: all.
        secret_key: RESCIND_SECRET_KEY, or empty.
        with_key: whether the key file is copied as well.
        tell: is told of the progress.
        check: examines the new backup further, and says whether it is sound.

    Raises:
        BackupError: it could not be taken, or another one is being taken into this directory.
    """
    if not directory.is_dir():
        # It is not made: a backup onto the disk below a volume that is not mounted would look like one.
        raise BackupError(f"There is no directory {directory}: make it, or mount its disk")
    try:
        lock = hold(directory / _LOCK)
    except DatabaseInUseError as error:
        raise BackupError(f"Another backup is being taken into {directory}: wait until it is done") from error
    with closing(lock):
        _clear(directory)
        file = _free_name(directory, datetime.now(UTC))
        copy = back_up(database, file, secret_key=secret_key, with_key=with_key, tell=tell)
        if not check(file):
            return Rotation(copy, is_sound=False, removed=())
        record(database, copy)
        return Rotation(copy, is_sound=True, removed=() if keep is None else _remove_oldest(directory, file, keep))


def backups_in(directory: Path) -> list[Path]:
    """The backups in a directory, the newest first."""
    return sorted((path for path in directory.iterdir() if _NAME.fullmatch(path.name)), reverse=True)


def taken_at(backup: Path) -> datetime:
    """When a backup in a directory was taken, by its name."""
    return datetime.strptime(backup.name, _STAMP).replace(tzinfo=UTC)


def _free_name(directory: Path, at: datetime) -> Path:
    """The name for a backup of this time, or of the next second that has none."""
    while (file := directory / at.strftime(_STAMP)).exists() or key_of(file).exists():
        at += timedelta(seconds=1)
    return file


def _clear(directory: Path) -> None:
    """Remove what runs left that were killed; whoever holds the lock is alone here."""
    names = {path.name for path in directory.iterdir()}
    for name in names:
        key = _KEY_NAME.fullmatch(name)
        if _PARTIAL_NAME.fullmatch(name) or (key and key[1] not in names):
            (directory / name).unlink()


def _remove_oldest(directory: Path, newest: Path, keep: int) -> Sequence[Path]:
    """Remove all but `keep` backups, whatever a clock that was set back says of `newest`."""
    others = [path for path in backups_in(directory) if path != newest]
    removed = others[keep - 1 :]
    for file in removed:
        file.unlink()
        key_of(file).unlink(missing_ok=True)
    sync(directory)
    return removed
