"""The files of a SQLite database: private, locked by one process, and checked for removal or replacement.

SQLite works on open files and does not look up their names again: after `rm`, `mv` or `cp` on a running server's
database it would keep writing into a file that nobody will ever open, and acknowledge webhooks that are lost.
"""

from __future__ import annotations

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import IO

import structlog

from app.store.protocol import StoreUnavailable

PRIVATE = 0o600
KEY = ".key"
_LOG, _INDEX, _LOCK = "-wal", "-shm", ".lock"

log = structlog.get_logger()


class DatabaseInUseError(Exception):
    """The database file is in use by another Rescind process; stop that one, or use another file."""


class DatabaseDamagedError(Exception):
    """The file at the database's path is not the one that a server left there; restore a backup."""


class DatabaseFiles:
    """The open database's files, as they were when it was opened."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._path = str(path)
        self._identities = {name: _identity(os.stat(name)) for name in (self._path, *_beside(path))}  # noqa: PTH116
        self._size = 0
        self._fault = ""

    def require(self) -> None:
        """Raise `StoreUnavailable` if a file was removed, replaced or truncated, now or earlier.

        Takes some microseconds. The fault stays until the next start: between two checks anything may have been written
        to another file.
        """
        if not self._fault:
            self._fault = self.fault()
        if self._fault:
            raise StoreUnavailable(
                f"{self._fault} while this server had it open: nothing more is acknowledged. Stop the server, put the "
                "file back as it was or `rescind restore` a backup, and start it again"
            )

    def fault(self) -> str:
        """What happened to a file since it was opened; empty if nothing."""
        try:
            # `os.stat` on a string: this runs at every commit, and a Path would double its cost.
            for name, identity in self._identities.items():
                status = os.stat(name)  # noqa: PTH116
                if _identity(status) != identity:
                    return f"{name} was replaced"
                if name == self._path:
                    if status.st_size < self._size:
                        return f"{name} was cut off from {self._size} to {status.st_size} bytes"
                    self._size = status.st_size
        except FileNotFoundError as error:
            return f"{error.filename} was removed"
        except OSError as error:
            return f"{error.filename} cannot be looked at any more ({error.strerror})"
        return ""


def prepare(path: Path) -> Path:
    """Create the database's directory and file if missing, and make its files private. Returns the absolute path.

    Raises `DatabaseDamagedError` if there is a write-ahead log without a database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.resolve()
    wal = Path(f"{path}{_LOG}")
    if wal.exists() and wal.stat().st_size and not (path.exists() and path.stat().st_size):
        # SQLite would delete the log, and with it the latest acknowledged data.
        state = "empty" if path.exists() else "not there"
        raise DatabaseDamagedError(
            f"{path} is {state}, but its log {wal.name} is there: the database was removed or cut off. "
            f"Put it back, or `rescind restore` a backup; to begin anew, move {wal.name} away"
        )
    # SQLite gives its log and index the mode of the database.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE))
    for name in (path, *(Path(f"{path}{suffix}") for suffix in (_LOG, _INDEX, _LOCK, KEY))):
        tighten(name)
    return path


def hold(path: Path) -> IO[str]:
    """Lock the file `.lock` beside the database. The system frees the lock when the process ends.

    Raises `DatabaseInUseError`.
    """
    name = f"{path}{_LOCK}"
    # No link: anyone who may write here could have root empty any file, as what the lock says is replaced.
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    lock = os.fdopen(os.open(name, flags, PRIVATE), "a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        holder = lock.read().strip() or "unknown"
        lock.close()
        raise DatabaseInUseError(
            f"{path} is in use by another rescind process (pid {holder}): stop that one, "
            "or set RESCIND_DATABASE_URL to another file"
        ) from error
    lock.truncate(0)
    lock.write(str(os.getpid()))
    lock.flush()
    return lock


def _beside(path: Path) -> list[str]:
    return [f"{path}{suffix}" for suffix in (_LOG, _INDEX)]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def tighten(file: Path) -> None:
    """Remove the rights of others on a file, as an old release or a copy left them."""
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & ~PRIVATE:
            file.chmod(PRIVATE)
            log.warning("file_made_private", file=str(file), was=f"{mode:04o}", now=f"{PRIVATE:04o}")
    except FileNotFoundError:
        return
    except PermissionError as error:
        log.warning("file_not_private", file=str(file), error=error.strerror, hint="chmod 600 as its owner")
