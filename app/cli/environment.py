"""The settings in the environment, and what is wrong with them in words."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
from typing import TYPE_CHECKING, TypeVar

from app.cli.failure import MISUSED, Failure

if TYPE_CHECKING:
    from app.config.settings import ClientSettings, Settings

S = TypeVar("S", "Settings", "ClientSettings")


def read_settings(kind: type[S]) -> S:
    """The settings of that kind. Raises `Failure` with one sentence for each variable that is wrong."""
    from pydantic import ValidationError

    from app.runtime.validation_messages import validation_message

    try:
        return kind()
    except ValidationError as error:
        found = [
            (".".join(str(part) for part in each["loc"]), validation_message(each))
            for each in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        lines = [f"RESCIND_{name.upper()}: {message[:1].lower()}{message[1:]}." for name, message in found]
        raise Failure("\n".join(lines), MISUSED) from error
