"""`.env` in the working directory: settings that a second terminal and a restart find again."""

from __future__ import annotations

import os
from pathlib import Path

from app.cli.failure import MISUSED, Failure

FILE = ".env"


def load_env_file(path: Path = Path(FILE)) -> None:
    """Put the variables of `path` into the environment, if the file is there. What is set already stays as it is.

    Raises `Failure` for a line that is no `NAME=value`, and for a file of another user: its RESCIND_URL could have
    this user's API key sent anywhere.
    """
    try:
        owner = path.stat().st_uid
        if owner not in (os.geteuid(), 0):
            raise Failure(f"{path.absolute()} belongs to another user: copy it or remove it, then try again.", MISUSED)
        with path.open(encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path.absolute()} cannot be read: {error}.", MISUSED) from error
    for name, value in _variables(text, path):
        os.environ.setdefault(name, value)


def _variables(text: str, path: Path) -> list[tuple[str, str]]:
    # The file is seldom there, and `--help` shall be quick.
    from io import StringIO  # noqa: PLC0415

    from dotenv.parser import parse_stream  # noqa: PLC0415

    found = []
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            blank = binding.original.string[: len(binding.original.string) - len(binding.original.string.lstrip())]
            line = binding.original.line + blank.count("\n")
            raise Failure(f"{path.absolute()}, line {line}: not NAME=value.", MISUSED)
        if binding.key is not None and binding.value is not None:
            if "\0" in binding.value:
                raise Failure(f"{path.absolute()}, line {binding.original.line}: the value holds a NUL.", MISUSED)
            found.append((binding.key, binding.value))
    return found
