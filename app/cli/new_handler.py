"""`rescind new-handler`: a new provider's folder, laid out as a handler that works.

What is laid out is `app/dev/skeleton`: real code, which is linted and type-checked as all the rest. Only the names
in it are exchanged.
"""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import keyword
import pkgutil
import re
import shutil
from collections.abc import Iterator
from os.path import lexists
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from app.cli import output
from app.cli.failure import MISUSED, Failure
from app.cli.options import Json

SKELETON = Path(__file__).parents[1] / "dev" / "skeleton"
NAME_CHARS_MAX = 40
"""Longer names break lines of code."""
TITLE_CHARS_MAX = 60

_SUFFIXES = frozenset({".py", ".json", ".md"})
_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_MARKS = re.compile(r"app\.dev\.skeleton|skeleton|Skeleton")


def new_handler(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What the folder and the provider are called, in lower_snake_case.")
    ],
    title: Annotated[
        str | None, typer.Option(help="The provider's name for people; without it, NAME with spaces.")
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where the folder is made; without it, beside the other handlers."),
    ] = None,
    json: Json = False,
) -> None:
    """Lay out a new provider's folder: a small handler that works, to be replaced piece by piece."""
    import handlers

    _check_name(name, [each.name for each in pkgutil.iter_modules(handlers.__path__)])
    title = _checked_title(name.replace("_", " ").capitalize() if title is None else title)
    parents = [Path(each).resolve() for each in handlers.__path__]
    if into is None and not (parents[0].parent / "pyproject.toml").exists():
        raise Failure(
            "Rescind is installed here, and its own folder is not the place: give one as --into DIR.", MISUSED
        )
    parent = parents[0] if into is None else into
    if not parent.is_dir():
        raise Failure(f"There is no folder {parent}: make it, or give another one as --into.", MISUSED)
    folder = parent / name
    if lexists(folder):
        raise Failure(f"{folder} is there already, and is left as it is: give another NAME, or move it away.")
    files = dict(_files(name, title))
    _write(folder, files)
    if json:
        output.print_json({"name": name, "title": title, "folder": str(folder), "files": list(files)})
        return
    for file in files:
        output.show(Text(output.clean(folder / file)))
    if folder.parent.resolve() not in parents:
        output.say(
            f"Rescind finds it with RESCIND_HANDLERS_PATH={output.clean(folder.parent.resolve())} (in .env, say)."
        )
    output.say("1. Edit words.py and fixtures/ by the provider's documents, then whatever a “Replace:” stands at.")
    output.say(f"2. Run the suite over it: rescind handlers test {name}")
    output.say(
        "3. Try it: `rescind sandbox` serves its simulator; an account and an endpoint to go with it "
        f"are in {output.clean(folder / 'README.md')}."
    )


def _check_name(name: str, taken: list[str]) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or len(name) > NAME_CHARS_MAX:
        raise Failure(
            f"{name!r} cannot be a handler's name: give a Python name in lower_snake_case, such as acme_shop, of at "
            f"most {NAME_CHARS_MAX} characters, and none that Python uses itself.",
            MISUSED,
        )
    if name in taken:
        raise Failure(f"There is a handler {name} already; there are: {', '.join(taken)}. Give another NAME.")


def _checked_title(title: str) -> str:
    """`title`, if it may stand between quotation marks in Python as it is."""
    if not title.strip() or len(title) > TITLE_CHARS_MAX or not title.isprintable() or set('"\\') & set(title):
        raise Failure(
            f"--title {title!r} cannot be a title: give 1 to {TITLE_CHARS_MAX} printable characters, "
            'without " and without backslashes.',
            MISUSED,
        )
    return title.strip()


def _files(name: str, title: str) -> Iterator[tuple[str, str]]:
    """The files of the new handler: where in its folder, and the text."""
    words = {"app.dev.skeleton": f"handlers.{name}", "skeleton": name, "Skeleton": title}
    for path in sorted(SKELETON.rglob("*")):
        if path.suffix in _SUFFIXES:
            text = _MARKS.sub(lambda found: words[found[0]], path.read_text(encoding="utf-8"))
            yield path.relative_to(SKELETON).as_posix(), text


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write all of the files, or leave nothing behind."""
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
