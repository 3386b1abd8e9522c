"""Backups in a directory: each under the time at which it was taken, the oldest removed beyond a number.

A run that is killed leaves files under other names, which the next run removes, or at most a key without its backup.
Such a key stays: it may as well be that of a backup that was compressed, or moved elsewhere.
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
_PARTIAL_NAME = re.compile(rf"\.{_NAME.pattern}({re.escape(KEY)})?\.\w+(-journal|-wal|-shm|\.lock)?")
"""What `back_up` writes before it renames it."""
_LOCK = ".rescind-backup"
AHEAD = timedelta(minutes=5)
"""A backup may be named so much after its time: by the next second that was free, or before its clock was set right."""


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
        file, at = _free_name(directory, datetime.now(UTC))
        copy = back_up(database, file, secret_key=secret_key, with_key=with_key, tell=tell)
        if not check(file):
            return Rotation(copy, is_sound=False, removed=())
        record(database, copy)
        others = [path for path in backups_in(directory, at) if path != file]
        return Rotation(copy, is_sound=True, removed=() if keep is None else _remove(directory, others[keep - 1 :]))


def backups_in(directory: Path, now: datetime) -> list[Path]:
    """The backups in a directory, the newest first.

    Last come those named after a time well after `now`: a clock that was wrong named them, and they may be old.
    """
    latest = now + AHEAD
    times = {path: at for path in directory.iterdir() if (at := taken_at(path)) is not None}
    return sorted(times, key=lambda path: (times[path] <= latest, times[path]), reverse=True)


def newest_at(directory: Path, now: datetime) -> datetime | None:
    """When the newest backup in a directory was taken; None if there is none but of a clock that was wrong."""
    times = map(taken_at, backups_in(directory, now)[:1])
    return next((at for at in times if at is not None and at <= now + AHEAD), None)


def taken_at(file: Path) -> datetime | None:
    """When a backup was taken, by its name; None if it is not the name of one."""
    if not _NAME.fullmatch(file.name):
        return None
    try:
        return datetime.strptime(file.name, _STAMP).replace(tzinfo=UTC)
    except ValueError:  # digits that are no time
        return None


def _free_name(directory: Path, at: datetime) -> tuple[Path, datetime]:
    """The name for a backup of this time, or of the next second that has none; and that time."""
    while (file := directory / at.strftime(_STAMP)).exists() or key_of(file).exists():
        at += timedelta(seconds=1)
    return file, at


def _clear(directory: Path) -> None:
    """Remove what runs left that were killed; the holder of the lock is alone here."""
    for path in list(directory.iterdir()):
        if _PARTIAL_NAME.fullmatch(path.name):
            path.unlink()


def _remove(directory: Path, backups: Sequence[Path]) -> Sequence[Path]:
    for file in backups:
        file.unlink()
        key_of(file).unlink(missing_ok=True)
    sync(directory)
    return backups
