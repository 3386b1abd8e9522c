"""Shell completion: `rescind completion SHELL` prints the script, which calls `rescind` to complete a word."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
import os
import re
from collections.abc import Callable
from typing import Annotated, Literal

import typer

from app.cli.failure import Failure

VARIABLE = "_RESCIND_COMPLETE"
"""Set by the scripts: complete the words that they pass, instead of running a command."""
PATIENCE_S = 1.0
"""How long the server may take to list its ids; a person is waiting for the next character."""
IDS_MAX = 2000
_ID = re.compile(r"[\w.-]+", re.ASCII)
"""Ids as they are written without quotes. Shells evaluate what is completed."""


def completion(
    context: typer.Context,
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the script that completes commands, options and ids in a shell: source <(rescind completion bash)."""
    from typer.completion import shell_complete

    prepare()
    shell_complete(context.find_root().command, {}, "rescind", VARIABLE, f"source_{shell}")


def is_asked() -> bool:
    """Whether a shell wants a word completed."""
    return VARIABLE in os.environ


def prepare() -> None:
    """Have typer know the shells; it does so by itself only where it adds options of its own to the command.

    These options would load pydantic at every start.
    """
    from typer.completion import get_completion_inspect_parameters

    get_completion_inspect_parameters()


def ids_at(path: str) -> Callable[[str], list[str]]:
    """Complete ids of the rows that the server lists at `path`; without a server, none, and no word about it."""

    def complete(incomplete: str) -> list[str]:
        from app.cli.client import connect

        try:
            with connect() as api:
                ids = api.run(asyncio.wait_for(api.ids(path, IDS_MAX), PATIENCE_S))
        except (Failure, TimeoutError, LookupError, TypeError):
            return []
        return [id for id in ids if id.startswith(incomplete) and _ID.fullmatch(id)]

    return complete


def recipes(incomplete: str) -> list[str]:
    """Complete the names of the recipes of this release."""
    from app.dev.recipes.shipped import names

    return [name for name in names() if name.startswith(incomplete)]


accounts, endpoints, policies = ids_at("/v1/accounts"), ids_at("/v1/endpoints"), ids_at("/v1/policies")
subscriptions, keys = ids_at("/v1/subscriptions"), ids_at("/v1/keys")
