"""`rescind handlers`: which providers there are, where each is from, and whether one is as it must be."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import os
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.failure import FAILED, Failure
from app.cli.options import Json
from app.cli.output import Column

app = typer.Typer(help="Show which providers there are, and test a handler of one's own.", no_args_is_help=True)

COLUMNS = (
    Column("NAME", lambda row: row["name"]),
    Column("PROVIDER", lambda row: row["title"]),
    Column("FROM", lambda row: row["source"]),
    Column("STATE", lambda row: output.word("fault" if row["error"] else "ok")),
    Column("WHY", lambda row: row["error"], wraps=True),
)


@app.command("list")
def list_handlers(json: Json = False) -> None:
    """List handlers: those built in, those in RESCIND_HANDLERS_PATH, and those of installed packages."""
    from app.config.registry import broken_handlers, found_handlers

    rows: list[dict[str, Any]] = [
        {"name": name, "title": each.handler.title, "source": each.source, "error": None}
        for name, each in found_handlers().items()
    ]
    rows += [{"name": each.name, "title": "", "source": each.source, "error": each.error} for each in broken_handlers()]
    if json:
        output.print_json({"data": rows})
    else:
        output.show_rows(COLUMNS, rows)
    if broken_handlers():
        raise typer.Exit(FAILED)


@app.command("test")
def check_handler(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The handler.")],
) -> None:
    """Run the suite that every handler must pass over one of them; needs pytest."""
    from app.config.registry import UnknownHandlerError, handler

    try:
        handler(name)
    except UnknownHandlerError as error:
        raise Failure(f"{error}.") from error
    if find_spec("pytest") is None:
        raise Failure("The suite needs pytest: `pip install pytest`, where rescind is installed.")
    import pytest

    folder = Path(__file__).parents[1] / "dev" / "suite"
    os.environ["RESCIND_SUITE_HANDLER"] = name
    # Neither the settings nor the plug-ins' files of the folder in which it is run are the suite's.
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-c", os.devnull, f"--rootdir={folder}"]
    if pytest.main([*options, str(folder)]) != 0:
        raise Failure(f"The handler {name} is not as it must be; see above.")
