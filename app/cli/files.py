"""Files that commands write: never half of one, and readable by their owner only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from app.cli.failure import Failure


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary file beside `path`, mode 0600, which replaces it at the end; an error leaves `path` as it was.

    Raises `Failure` where the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            yield part
            _sync(part)
            part.replace(path)
        finally:
            with suppress(FileNotFoundError):
                part.unlink()
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror or error}.") from error


def write_private(path: Path, content: bytes) -> None:
    """Write a whole file. Raises `Failure`."""
    with replaced(path) as part:
        part.write_bytes(content)


def _sync(path: Path) -> None:
    """Have the content on disk before the name leads to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
