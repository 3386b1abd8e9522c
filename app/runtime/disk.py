"""How much room the database takes, and has."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class Room(NamedTuple):
    """Bytes."""

    free: int
    """What a program that is not root may still write."""
    size: int
    """The size of the file system, in bytes."""
    used: int
    """By the database, its search index and their write-ahead logs."""


def room(files: list[Path]) -> Room:
    """The room of databases at these paths, on the file system of the first. Raises OSError."""
    disk = os.statvfs(files[0].parent)
    parts = (Path(f"{file}{end}") for file in files for end in ("", "-wal"))
    used = sum(part.stat().st_size for part in parts if part.exists())
    return Room(disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize, used)
