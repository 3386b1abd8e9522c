"""Settings from the environment and from `.env` in the working directory."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.cli.failure import MISUSED, Failure

if TYPE_CHECKING:
    from app.config.settings import ClientSettings, Settings

ENV_FILE = ".env"

S = TypeVar("S", "Settings", "ClientSettings")


def read_settings(kind: type[S]) -> S:
    """The settings of that kind. Raises `Failure` with a sentence for each invalid variable."""
    from pydantic import ValidationError

    from app.runtime.validation_messages import validation_message

    try:
        return kind()
    except ValidationError as error:
        errors = error.errors(include_input=False, include_url=False, include_context=False)
        messages = [(".".join(map(str, row["loc"])), validation_message(row)) for row in errors]
        lines = [f"RESCIND_{name.upper()}: {message[:1].lower()}{message[1:]}." for name, message in messages]
        raise Failure("\n".join(lines), MISUSED) from error


def load_env_file(path: Path = Path(ENV_FILE)) -> None:
    """Set the variables of `path`, if the file exists. A variable that is set already keeps its value.

    Raises `Failure` for a line that is not `NAME=value`, and for a file of another user: its RESCIND_URL could
    send this user's API key anywhere.
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
    from io import StringIO

    from dotenv.parser import parse_stream

    variables = []
    for binding in parse_stream(StringIO(text)):
        if binding.error or (binding.key is not None and binding.value is None):
            blank = binding.original.string[: len(binding.original.string) - len(binding.original.string.lstrip())]
            line = binding.original.line + blank.count("\n")
            raise Failure(f"{path.absolute()}, line {line}: not NAME=value.", MISUSED)
        if binding.key is not None and binding.value is not None:
            if "\0" in binding.value:
                raise Failure(f"{path.absolute()}, line {binding.original.line}: the value contains a NUL.", MISUSED)
            variables.append((binding.key, binding.value))
    return variables
