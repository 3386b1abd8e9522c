"""`rescind recipe`: ready configurations for order sources, and their tests."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion, output
from app.cli.failure import MISUSED, Failure
from app.cli.options import Json
from app.cli.output import Column

if TYPE_CHECKING:
    from app.dev.recipes.expectations import Written
    from app.dev.recipes.folder import Recipe

app = typer.Typer(
    help="Connect order sources by recipes: ready configurations, with the fixtures that prove them.",
    no_args_is_help=True,
)

COLUMNS = (
    Column("NAME", lambda row: row["name"]),
    Column("SOURCE", lambda row: row["source"]),
    Column("STATE", lambda row: output.word(row["state"])),
    Column("WHY", lambda row: row["error"] or "; ".join(map(": ".join, row["missing"].items())), wraps=True),
)


@app.command("list")
def list_recipes(json: Json = False) -> None:
    """List the recipes of this release: `complete`, or `partial` without the parts that a source does not offer."""
    from app.dev.recipes.shipped import names

    output.show_data({"data": [_row(name) for name in names()]}, COLUMNS, as_json=json)


@app.command("test")
def check_recipe(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A recipe of this release, or the FILE of another.", autocompletion=completion.recipes
        ),
    ],
    write: Annotated[
        bool,
        typer.Option(
            "--write", metavar="", help="First write what fixtures and answers give into them, and show the changes."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Run a recipe's fixtures, answers and signatures; the exit code is 0 if all are as they say, else 1."""
    from app.dev.recipes.checks import faults_of

    written = _write(name, as_json=json) if write else []
    recipe = read_recipe(name)
    faults = faults_of(recipe)
    counts = {
        "fixtures": len(recipe.fixtures),
        "answers": len(recipe.answers),
        "vectors": len(recipe.vectors),
    }
    if json:
        output.print_json({"name": recipe.name, "faults": faults, **counts, **({"written": written} if write else {})})
    if faults:
        raise Failure("\n".join([f"The recipe {recipe.name} has faults:", *faults]))
    if not json:
        listed = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        output.show(output.clean(f"{recipe.name}: ok ({listed})"))


def _write(given: str, *, as_json: bool) -> list[Written]:
    """Write what a recipe's fixtures and answers give into them, and show what was written."""
    from app.config.faults import InvalidResourceError
    from app.dev.recipes.expectations import write_expected
    from app.dev.recipes.folder import RecipeError, folder_of

    try:
        folder = folder_of(given)
        if folder is None:
            raise Failure(f"--write is for a recipe of your own: give its folder or its file, not {given!r}.", MISUSED)
        written = write_expected(folder)
    except RecipeError as error:
        raise Failure("\n".join(error.faults)) from error
    except (InvalidResourceError, KeyError):
        return []  # the test says what is wrong
    if not as_json:
        for one in written:
            output.show(*map(output.clean, one.diff.splitlines()))
        output.say(
            f"Wrote {', '.join(one.file for one in written)}: compare each change with the source's document."
            if written
            else "Nothing was written: fixtures and answers are as they say."
        )
    return written


def read_recipe(given: str) -> Recipe:
    """A recipe by its name or its file. Raises `Failure` with a line for each fault."""
    from app.dev.recipes.folder import RecipeError, open_recipe

    try:
        return open_recipe(given)
    except RecipeError as error:
        raise Failure(
            "\n".join(fault if fault.endswith((".", "?")) else f"{fault}." for fault in error.faults)
        ) from error


def _row(name: str) -> Mapping[str, Any]:
    """A recipe as a row: what works and what is missing, by the parts of the integration."""
    from app.dev.recipes.folder import RecipeError, open_recipe
    from app.dev.recipes.model import CELLS, Missing

    try:
        spec = open_recipe(name).spec
    except RecipeError as error:
        return {"name": name, "source": "", "state": "fault", "works": {}, "missing": {}, "error": error.faults[0]}
    cells = {cell: getattr(spec.cells, cell) for cell in CELLS}
    missing = {cell: text.missing for cell, text in cells.items() if isinstance(text, Missing)}
    return {
        "name": name,
        "source": spec.source,
        "state": f"partial: {', '.join(f'no {cell}' for cell in missing)}" if missing else "complete",
        "works": {cell: text for cell, text in cells.items() if not isinstance(text, Missing)},
        "missing": missing,
        "error": None,
    }
