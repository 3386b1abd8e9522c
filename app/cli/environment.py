"""Settings from the environment, from files in a folder of secrets, and from `.env` in the working directory."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import os
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from app.cli.failure import MISUSED, Failure

if TYPE_CHECKING:
    from app.config.settings import ClientSettings, Settings

ENV_FILE = ".env"
SECRETS_DIR = "RESCIND_SECRETS_DIR"
CREDENTIALS_DIR = "CREDENTIALS_DIRECTORY"
"""What systemd sets for a service with LoadCredential=."""
SECRET_MAX = 1_048_576

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


def load_secret_files() -> None:
    """Set the variables that are files, named as the variable, in the folder RESCIND_SECRETS_DIR.

    Where that is not set it is the folder of systemd's credentials. A variable that is set already keeps its value.
    One newline at the end of a file is not part of the value. Raises `Failure` for a file that cannot be read.
    """
    folder = os.environ.get(SECRETS_DIR) or os.environ.get(CREDENTIALS_DIR)
    if not folder:
        return
    place = SECRETS_DIR if os.environ.get(SECRETS_DIR) else CREDENTIALS_DIR
    try:
        # Kubernetes keeps the versions of a secret in folders beside the files, which are links into them.
        files = [file for file in Path(folder).iterdir() if _is_name(file.name) and file.is_file()]
    except FileNotFoundError:
        raise Failure(f"There is no folder {folder} ({place}).", MISUSED) from None
    except OSError as error:
        raise Failure(f"{folder} ({place}) cannot be read: {error.strerror}.", MISUSED) from error
    for file in files:
        if file.name not in os.environ:
            os.environ[file.name] = _secret_in(file, place)


def _is_name(text: str) -> bool:
    return text.isascii() and text.isidentifier()


def _secret_in(file: Path, place: str) -> str:
    try:
        with file.open("rb") as opened:
            raw = opened.read(SECRET_MAX + 1)
        text = raw.decode()
    except (OSError, UnicodeDecodeError) as error:
        # The error of decoding shows what it decodes.
        cause = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Failure(f"{file} ({place}) cannot be read: {cause}.", MISUSED) from None
    if len(raw) > SECRET_MAX or "\0" in text:
        raise Failure(f"{file} ({place}) is no value: it has a NUL, or more than {SECRET_MAX} bytes.", MISUSED)
    return text.removesuffix("\n").removesuffix("\r")


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
