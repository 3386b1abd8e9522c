"""`rescind init`: a resource file to edit, and settings in `.env`."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import os
from os.path import lexists
from pathlib import Path
from typing import Annotated

import typer

from app.cli import output
from app.cli.environment import ENV_FILE
from app.cli.failure import MISUSED, Failure
from app.cli.options import Json

TEMPLATE = Path(__file__).parents[1] / "dev" / "template"
RESOURCE_FILE = "rescind.yaml"
IGNORE_FILE = ".gitignore"
UNTRACKED = (ENV_FILE, "rescind.db*")
"""What must stay out of version control: secrets, and the database with its key."""

NEXT = """\
Next, each in a terminal of its own:
  rescind serve --apply rescind.yaml     # the server
  rescind sandbox -f rescind.yaml        # a simulated provider, whose webhooks go to the server
  rescind sandbox act planomatic create_order order_id=4711
  rescind orders show acme-photos 4711"""


def init(
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="Where. Default: the working directory.")
    ] = None,
    json: Json = False,
) -> None:
    """Write a commented rescind.yaml and a .env with new keys, for an account at the simulated PlanOmatic."""
    import secrets

    place = folder or Path()
    if not place.is_dir():
        raise Failure(f"There is no folder {place}: create it first.", MISUSED)
    for name in (RESOURCE_FILE, ENV_FILE):
        if lexists(place / name):
            raise Failure(f"{place / name} exists already and was not changed: give another FOLDER, or move it.")
    settings = (TEMPLATE / "env").read_text(encoding="utf-8")
    keys = {"bootstrap_key": secrets.token_hex(24), "hook_secret": secrets.token_hex(24)}
    try:
        _create(place / ENV_FILE, settings.format(**keys), 0o600)
        _create(place / RESOURCE_FILE, (TEMPLATE / RESOURCE_FILE).read_text(encoding="utf-8"), 0o644)
        ignored = _ignore(place / IGNORE_FILE)
    except OSError as error:
        raise Failure(f"{error.filename} cannot be written: {error.strerror}.") from error
    files = [str(place / name) for name in (RESOURCE_FILE, ENV_FILE, *([IGNORE_FILE] if ignored else []))]
    if json:
        output.print_json({"files": files})
        return
    for file in files:
        output.show(output.clean(file))
    output.say(NEXT)


def _create(path: Path, text: str, mode: int) -> None:
    """Create a file with these permissions from the start."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def _ignore(path: Path) -> list[str]:
    """Add the lines that are missing to a .gitignore; returns them."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    missing = [name for name in UNTRACKED if name not in text.split()]
    if missing:
        gap = "" if not text or text.endswith("\n") else "\n"
        with path.open("a", encoding="utf-8") as file:
            file.write(gap + "".join(f"{name}\n" for name in missing))
    return missing
