"""Usage errors: which argument or option is wrong, and what it may be."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until there is an error
from typing import Any

import typer


def usage_message(error: typer.TyperException) -> str:
    """The error in a sentence, and how to see the options; empty where the help was shown instead."""
    context: Any = getattr(error, "ctx", None)
    if context is None or type(error).__name__ == "NoArgsIsHelpError":
        return error.format_message()
    return f"{_detail(error)}\n`{context.command_path} --help` shows what it takes."


def _detail(error: typer.TyperException) -> str:
    from pydantic import ValidationError

    if isinstance(error, typer.BadParameter) and isinstance(error.__cause__, ValidationError):
        from app.runtime.validation_messages import validation_message

        error.message = validation_message(error.__cause__.errors()[0])
    message = error.format_message()
    return message if message.endswith((".", "?", "!")) else f"{message}."
