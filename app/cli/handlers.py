"""`rescind handlers` and `rescind new-handler`: list, test and create handlers."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import keyword
import os
import pkgutil
import re
import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from os.path import lexists
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.failure import FAILED, MISUSED, Failure
from app.cli.options import Json
from app.cli.output import Column

app = typer.Typer(help="List handlers, and test one.", no_args_is_help=True)

# `new-handler` copies this folder, which is linted and type-checked like all code, and replaces the names in it.
SKELETON = Path(__file__).parents[1] / "dev" / "skeleton"
NAME_CHARS_MAX = 40
"""Longer names would break lines of code."""
TITLE_CHARS_MAX = 60

_SUFFIXES = frozenset({".py", ".json", ".md"})
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_MARKS = re.compile(r"app\.dev\.skeleton|skeleton|Skeleton")

COLUMNS = (
    Column("NAME", lambda row: row["name"]),
    Column("PROVIDER", lambda row: row["title"]),
    Column("FROM", lambda row: row["source"]),
    Column("STATE", lambda row: output.word("fault" if row["error"] else "ok")),
    Column("WHY", lambda row: row["error"], wraps=True),
)


@app.command("list")
def list_handlers(json: Json = False) -> None:
    """List the handlers that are built in, in RESCIND_HANDLERS_PATH, or in installed packages."""
    from app.config.registry import broken_handlers, found_handlers

    rows: list[dict[str, Any]] = [
        {"name": name, "title": found.handler.title, "source": found.source, "error": None}
        for name, found in found_handlers().items()
    ]
    rows += [
        {"name": broken.name, "title": "", "source": broken.source, "error": broken.error}
        for broken in broken_handlers()
    ]
    output.show_data({"data": rows}, COLUMNS, as_json=json)
    if broken_handlers():
        raise typer.Exit(FAILED)


@app.command("test")
def check_handler(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The handler.")],
) -> None:
    """Run the contract tests of all handlers on one handler; needs pytest."""
    from app.config.registry import UnknownHandlerError, handler

    try:
        handler(name)
    except UnknownHandlerError as error:
        raise Failure(f"{error}.") from error
    if find_spec("pytest") is None:
        raise Failure(
            "The tests need pytest: install it where rescind is, with `pip install 'rescind[test]'` or `pipx inject "
            "rescind pytest`."
        )
    import pytest

    folder = Path(__file__).parents[1] / "dev" / "suite"
    os.environ["RESCIND_SUITE_HANDLER"] = name
    # Without the configuration and conftest files of the working directory, nor a plugin that warns without its own.
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "--import-mode=importlib",
        "-c",
        os.devnull,
        f"--rootdir={folder}",
    ]
    if pytest.main([*options, str(folder)]) != 0:
        raise Failure(f"The handler {name} fails its contract tests; see above.")


def new_handler(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the folder and the provider, in lower_snake_case.")
    ],
    title: Annotated[
        str | None, typer.Option(help="The provider's name for people. Default: NAME with spaces.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the folder is created. Default: beside the other handlers."),
    ] = None,
    json: Json = False,
) -> None:
    """Create the folder of a new provider: a small working handler, to replace piece by piece."""
    import handlers

    _check_name(name, [module.name for module in pkgutil.iter_modules(handlers.__path__)])
    title = _checked_title(name.replace("_", " ").capitalize() if title is None else title)
    parents = [Path(path).resolve() for path in handlers.__path__]
    if into is None and not (parents[0].parent / "pyproject.toml").exists():
        raise Failure("Rescind is installed as a package, whose folder is not the place: give --into DIR.", MISUSED)
    parent = parents[0] if into is None else into
    if not parent.is_dir():
        raise Failure(f"There is no folder {parent}: create it, or give another --into.", MISUSED)
    folder = parent / name
    if lexists(folder):
        raise Failure(f"{folder} exists already and was not changed: give another NAME, or move it.")
    files = dict(_files(name, title))
    _write(folder, files)
    if json:
        output.print_json({"name": name, "title": title, "folder": str(folder), "files": list(files)})
        return
    for file in files:
        output.show(Text(output.clean(folder / file)))
    if folder.parent.resolve() not in parents:
        output.say(
            f"To load it, set RESCIND_HANDLERS_PATH={output.clean(folder.parent.resolve())}, for example in .env."
        )
    output.say("1. Edit words.py and fixtures/ by the provider's documents, then everything marked “Replace:”.")
    output.say(f"2. Run its contract tests: rescind handlers test {name}")
    output.say(
        "3. Run it: `rescind sandbox` serves its simulator; an example account and endpoint are in "
        f"{output.clean(folder / 'README.md')}."
    )


def _check_name(name: str, taken: list[str]) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > NAME_CHARS_MAX:
        raise Failure(
            f"{name!r} cannot be a handler's name: give a Python name in lower_snake_case, such as acme_shop, of at "
            f"most {NAME_CHARS_MAX} characters, and no keyword of Python.",
            MISUSED,
        )
    if name in taken:
        raise Failure(f"A handler {name} exists already; there are: {', '.join(taken)}. Give another NAME.")


def _checked_title(title: str) -> str:
    """`title`, if it can be a string literal in Python unescaped."""
    if not title.strip() or len(title) > TITLE_CHARS_MAX or not title.isprintable() or set('"\\') & set(title):
        raise Failure(
            f"--title {title!r} cannot be a title: give 1 to {TITLE_CHARS_MAX} printable characters, "
            'without " and without backslashes.',
            MISUSED,
        )
    return title.strip()


def _files(name: str, title: str) -> Iterator[tuple[str, str]]:
    """The files of the new handler: path in its folder, and text."""
    names = {"app.dev.skeleton": f"handlers.{name}", "skeleton": name, "Skeleton": title}
    for path in sorted(SKELETON.rglob("*")):
        if path.suffix in _SUFFIXES:
            text = _MARKS.sub(lambda match: names[match[0]], path.read_text(encoding="utf-8"))
            yield path.relative_to(SKELETON).as_posix(), text


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write all of the files, or none."""
    try:
        folder.mkdir()
        try:
            for name, text in files.items():
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(text, encoding="utf-8", newline="\n")
        except OSError:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise Failure(f"{folder} cannot be written ({error.strerror or error}): give another --into.") from error
