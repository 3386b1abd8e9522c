"""What a person confirms before it is done: a question on a terminal, --yes in a script."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from app.cli import output
from app.cli.failure import MISUSED, Failure

Yes = Annotated[bool, typer.Option("--yes", "-y", metavar="", help="Do not ask for confirmation.")]
NOTHING_DONE = "Nothing was changed."


def confirm(consequence: str, question: str, *, yes: bool) -> None:
    """Say what will happen, and ask. Raises `Failure` if the answer is no, or if nobody is there and not `yes`."""
    if yes:
        return
    require_person(consequence)
    output.say(output.clean(consequence))
    if not typer.confirm(output.clean(question), err=True):
        raise Failure(NOTHING_DONE)


def confirm_by_typing(consequence: str, prompt: str, expected: str, *, yes: bool) -> None:
    """The same, but the person types `expected`, the number or the id of what is at stake."""
    if yes:
        return
    require_person(consequence)
    output.say(output.clean(consequence))
    if typer.prompt(output.clean(prompt), err=True).strip() != expected:
        raise Failure(f"That is not {output.clean(expected)}. {NOTHING_DONE}")


def require_person(consequence: str) -> None:
    """Raise `Failure` if standard input is not a terminal."""
    if not sys.stdin.isatty():
        sentence = f"{consequence} Nobody is there to confirm it: give --yes, or run it in a terminal."
        raise Failure(output.clean(sentence), MISUSED)
