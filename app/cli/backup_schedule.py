"""Backups again and again, by a process that stays: where no cron or timer is, as in a container beside the server."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType
from typing import NoReturn

import typer

from app.cli import output
from app.cli.failure import Failure
from app.engine.backup_rotation import newest_at

RETRY = timedelta(minutes=1)
"""After a backup that failed: the server may not have made the database yet."""


def repeat(every: timedelta, directory: Path, take: Callable[[], None]) -> NoReturn:
    """Take a backup whenever the newest is `every` old, until SIGTERM or Ctrl-C, which exit with 0.

    A start takes none before that either: processes that are restarted often would replace old backups by new ones.
    """
    if every <= timedelta():
        raise typer.BadParameter("--every needs a duration such as 6h")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _exit)
    while True:
        wait = _due_in(every, directory)
        if wait > timedelta():
            time.sleep(wait.total_seconds())
            continue
        try:
            take()
        except Failure as failure:
            output.complain(f"{failure} The next try is in {RETRY.seconds} s.")
            time.sleep(RETRY.total_seconds())
        except typer.Exit:  # it is not sound, and said so
            time.sleep(RETRY.total_seconds())


def _due_in(every: timedelta, directory: Path) -> timedelta:
    """How long until the next backup is due."""
    now = datetime.now(UTC)
    newest = newest_at(directory, now) if directory.is_dir() else None
    return timedelta() if newest is None else newest + every - now


def _exit(_: int, __: FrameType | None) -> None:
    sys.exit(0)
