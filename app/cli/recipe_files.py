"""`rescind recipe add` and `diff`: a recipe as a resource file, and how the file differs from it later."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import os
import re
import sys
from collections.abc import Mapping, Sequence
from os.path import lexists
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import completion, output
from app.cli.failure import FAILED, MISUSED, Failure
from app.cli.init import RESOURCE_FILE
from app.cli.options import Json
from app.cli.output import Column
from app.cli.recipes import read_recipe
from app.cli.try_options import DEFAULT_URL, PUBLIC_URL

if TYPE_CHECKING:
    from app.dev.recipes.folder import Recipe
    from app.dev.recipes.model import Ask
    from app.dev.trial.report import Trial

_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*")
_ACCOUNT = re.compile(r"[a-z0-9][a-z0-9._-]{0,59}")


def add_recipe(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NAME", help="A recipe of this release, or the FILE of another.", autocompletion=completion.recipes
        ),
    ],
    into: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file to create. Default: ACCOUNT.yaml.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="ID", help="The account's id. Default: the recipe's name.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A value that the recipe asks for; of a secret, the name of its variable. May be repeated.",
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", metavar="", help="Do not ask: take what is set, and defaults.")
    ] = False,
    json: Json = False,
) -> None:
    """Write a resource file for a source, without secrets; say what to do at the source, and try it."""
    from app.dev.recipes.folder import RecipeError
    from app.dev.recipes.written import written

    recipe = read_recipe(name)
    id = account or recipe.name
    if _ACCOUNT.fullmatch(id) is None:
        raise typer.BadParameter(f"{id!r} cannot be an account's id: give lower-case letters, digits, '.', '_' and '-'")
    file = into or Path(f"{id}.yaml")
    if lexists(file):
        raise Failure(f"{file} exists already and was not changed: give another --into.")
    values = _values(recipe, _settings(given or [], recipe), asks=sys.stdin.isatty() and not yes)
    try:
        _create(file, written(recipe, values, id))
    except RecipeError as error:
        raise Failure(f"{error}.") from error
    base = os.environ.get(PUBLIC_URL) or DEFAULT_URL
    report = _report(recipe, file, values, f"{base.rstrip('/')}/webhooks/{id}-in" if recipe.spec.endpoints else None)
    trial, untried = _try(recipe, file, values, base)
    if json:
        output.print_json({**report, "trial": trial, "untried": untried})
    else:
        _show(recipe, report)
        _show_trial(trial, untried)
    if trial is not None and not trial.ok:
        raise typer.Exit(FAILED)


def diff_recipe(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help="The file. Default: rescind.yaml.")] = None,
    json: Json = False,
) -> None:
    """Show how accounts in a file differ from their recipes in this release; the exit code is 0, 1 with differences."""
    from app.dev.recipes.comparison import comparisons
    from app.dev.recipes.folder import RecipeError

    try:
        found = comparisons(file or Path(RESOURCE_FILE))
    except RecipeError as error:
        raise Failure("\n".join(f"{fault}." for fault in error.faults), MISUSED) from error
    if json:
        output.print_json({"data": found})
    else:
        for comparison in found:
            changed = "has changed since" if comparison.changed else "is the one that made it"
            title = f"Account {comparison.account}: the recipe {comparison.recipe} of this release {changed}."
            output.show(output.clean(title))
            rows = [{"path": one.path, "file": one.file, "recipe": one.recipe} for one in comparison.differences]
            if rows:
                output.show_rows(DIFFERENCES, rows)
            else:
                output.say("There are no differences.")
    if any(comparison.differences for comparison in found):
        raise typer.Exit(FAILED)


def _settings(given: Sequence[str], recipe: Recipe) -> dict[str, str]:
    """The values of --set. Never shows one: it may be a secret."""
    settings = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or name not in recipe.spec.asks:
            raise typer.BadParameter(f"--set takes NAME=VALUE; {recipe.name} asks for {', '.join(recipe.spec.asks)}")
        fault = _fault(recipe.spec.asks[name], value)
        if fault is not None:
            raise typer.BadParameter(f"--set {name}: {fault}")
        settings[name] = value
    return settings


def _fault(ask: Ask, value: str) -> str | None:
    """What is wrong with a value, or with the name of a secret's variable."""
    if ask.secret:
        is_name = _VARIABLE.fullmatch(value) is not None
        return None if is_name else "give the NAME of an environment variable, never the secret itself"
    if not value or not value.isprintable() or "${" in value:
        return "give a value, on one line"
    return None if ask.fits(value) else f"it does not match {ask.pattern}"


def _values(recipe: Recipe, settings: Mapping[str, str], *, asks: bool) -> dict[str, str]:
    """What is written for each value that the recipe asks for. Raises `Failure` for those that nobody gave."""
    values, missing = {}, []
    for name, ask in recipe.spec.asks.items():
        default = name if ask.secret else ask.default
        value = settings.get(name) or (_asked(name, ask, default) if asks else default)
        if value is None:
            missing.append(f"{name} (--set {name}=…; such as {ask.example}): {ask.text}")
        else:
            values[name] = f"${{{value}}}" if ask.secret else value
    if missing:
        raise Failure("\n".join([f"The recipe {recipe.name} asks for more:", *missing]), MISUSED)
    return values


def _asked(name: str, ask: Ask, default: str | None) -> str:
    """What a person types, until it fits."""
    output.say(output.clean(ask.text))
    while True:
        shown = f"{name}, the name of the environment variable with it" if ask.secret else name
        value = str(typer.prompt(output.clean(shown), default=default, err=True)).strip()
        fault = _fault(ask, value)
        if fault is None:
            return value
        output.say(f"That is not possible: {fault}.")


def _create(file: Path, text: str) -> None:
    """Create the file; never overwrite one."""
    try:
        with file.open("x", encoding="utf-8") as created:
            created.write(text)
    except FileExistsError as error:
        raise Failure(f"{file} exists already and was not changed: give another --into.") from error
    except OSError as error:
        raise Failure(f"{file} cannot be written: {error.strerror}.") from error


def _report(recipe: Recipe, file: Path, values: Mapping[str, str], url: str | None) -> dict[str, Any]:
    from app.dev.recipes.model import CELLS, Missing

    spec = recipe.spec
    cells = {cell: getattr(spec.cells, cell) for cell in CELLS}
    secrets = {values[name].strip("${}"): ask.text for name, ask in spec.asks.items() if ask.secret}
    return {
        "recipe": recipe.name,
        "file": str(file),
        "secrets": secrets,
        "unset": [name for name in secrets if name not in os.environ],
        "scopes": spec.scopes,
        "url": url,
        "topics": spec.topics,
        "setup": spec.setup,
        "guessed": spec.guessed,
        "missing": {cell: text.missing for cell, text in cells.items() if isinstance(text, Missing)},
    }


def _show(recipe: Recipe, report: Mapping[str, Any]) -> None:
    """Say what was written, and what is left to do."""
    output.show(output.clean(report["file"]))
    secrets = [f"{name}: {text}" for name, text in report["secrets"].items()]
    parts: list[tuple[str, Sequence[str]]] = [
        ("Secrets, in the environment or in .env", secrets),
        ("Scopes of the credentials", report["scopes"]),
        ("URL of the endpoint", [report["url"]] if report["url"] else []),
        (_topics_title(recipe), report["topics"]),
        (f"To do at {recipe.spec.source}", report["setup"]),
        ("What no document states: check it", report["guessed"]),
        ("What does not work", [f"{cell}: {why}" for cell, why in report["missing"].items()]),
    ]
    for title, lines in parts:
        if lines:
            output.show(output.heading(title), *(f"  {output.clean(line)}" for line in lines))
    if report["url"] and not os.environ.get(PUBLIC_URL):
        output.say(f"Set {PUBLIC_URL} to where the source reaches this server.")


def _topics_title(recipe: Recipe) -> str:
    """What is to be done about the topics: nothing, where Rescind registers the endpoint itself."""
    kept = any(endpoint.get("keep_registered") for endpoint in recipe.spec.endpoints)
    return "Topics that Rescind subscribes it to" if kept else "Topics to subscribe it to"


def _try(recipe: Recipe, file: Path, values: Mapping[str, str], base: str) -> tuple[Trial | None, str | None]:
    """The trial of the recipe's example; or why there is none."""
    from app.config.faults import InvalidResourceError
    from app.dev.recipes.trying import try_example, try_probed

    fixture, probe = recipe.spec.example.fixture, recipe.spec.example.probe
    if fixture is None and probe not in [answer.name for answer in recipe.answers if answer.flow == "probe"]:
        return None, f"its answers.json has no probe {probe!r}, which its example names"
    asks = recipe.spec.asks
    stand_ins = {values[name].strip("${}"): ask.example for name, ask in asks.items() if ask.secret}
    try:
        if fixture is None:
            return try_probed(recipe, file, stand_ins), None
        return try_example(recipe, fixture, file, stand_ins, base), None
    except InvalidResourceError as error:
        raise Failure(f"{file} was written, and must be corrected before it can be used: {error}.") from error


def _show_trial(trial: Trial | None, untried: str | None) -> None:
    if trial is None:
        output.say(f"It was not tried: {untried}.")
        return
    from app.cli.try_view import show_trial

    output.show(output.heading("Tried on the recipe's example, with stand-ins for the secrets"))
    show_trial(trial)


def _shown(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else output.json_text(value, 0)


DIFFERENCES = (
    Column("PATH", lambda row: row["path"]),
    Column("FILE", lambda row: _shown(row["file"]), wraps=True),
    Column("RECIPE", lambda row: _shown(row["recipe"]), wraps=True),
)
