"""What the bench needs of a receiver of webhooks: how it is installed and started, what it promises, what it stored."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

INSTALL_S = 300.0
SAID_MAX = 300
FOLDER = Path(".tools", "peers")


class NotInstalledError(Exception):
    """Why a peer cannot run here."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A receiver of webhooks."""

    name: str
    promise: str
    """What it guarantees when it answers 200, in one sentence."""
    install: Callable[[], None]
    """Raises `NotInstalledError`. Does nothing where it is installed."""
    command: Callable[[Path, int], tuple[list[str], Mapping[str, str]]]
    """(command, environment) of a server that keeps its data in a folder and listens on a port."""
    files: tuple[str, ...]
    """Its SQLite files in that folder; the first one has the webhooks."""
    count: str = "SELECT count(*) FROM events"
    """SQL that counts the webhooks that it stored."""

    def stored(self, folder: Path) -> tuple[int, int]:
        """(webhooks, bytes of all files) once it has ended."""
        for file in self.files:
            with closing(sqlite3.connect(folder / file)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with closing(sqlite3.connect(folder / self.files[0])) as db:
            (count,) = db.execute(self.count).fetchone()
        return count, sum((folder / file).stat().st_size for file in self.files)


def require(program: str) -> str:
    """The path of a program."""
    found = shutil.which(program)
    if found is None:
        raise NotInstalledError(f"{program} is not installed")
    return found


def run(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    """Run a step of an installation, for at most five minutes; raises `NotInstalledError` with what it said."""
    try:
        done = subprocess.run(
            command, cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=INSTALL_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise NotInstalledError(f"{Path(command[0]).name} took longer than {INSTALL_S:.0f} s") from None
    if done.returncode:
        raise NotInstalledError(f"{Path(command[0]).name} failed: {done.stderr.strip()[-SAID_MAX:]}")


@contextlib.contextmanager
def making(folder: Path) -> Iterator[Path]:
    """A folder to install into, which takes its name when all of it is there."""
    unfinished = folder.with_name(f"{folder.name}.making")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    yield unfinished.resolve()
    unfinished.rename(folder)
