"""`rescind backup` and `rescind restore`: the database with its key, as one moment had it."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.failure import FAILED, Failure
from app.cli.local import log_to_stderr, machine_settings, reading, refusals, watch
from app.cli.options import Json

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.engine.backup import Copied, Tell

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup; its key stands beside it as FILE.key.")]


def backup(
    file: File,
    check: Annotated[
        bool,
        typer.Option("--check", metavar="", help="Also fold the copy's log anew and compare, as `rebuild --check`."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace FILE if it is there.")] = False,
    json: Json = False,
) -> None:
    """Copy the database and its key to FILE, also beside a running server, and verify the copy."""
    settings = machine_settings()
    from app.engine.backup import back_up

    with _refusals(settings), _progress("Copying") as tell:
        key = settings.secret_key.get_secret_value()
        made = back_up(settings.database_path, file, secret_key=key, force=force, tell=tell)
    summary = asyncio.run(_checked(file, show=not json)) if check else None
    if json:
        output.print_json(_shape(made) | ({} if summary is None else {"check": summary}))
    else:
        output.show(Text(f"{file} is a backup of {settings.database_path}: {made.bytes} bytes, verified."))
        if made.key_file is not None:
            output.say(f"The key that opens its secrets is in {made.key_file}: keep both, and keep them private.")
        elif key:
            output.say("Its secrets open with RESCIND_SECRET_KEY, which is in no file here: keep that as well.")
        if summary is not None:
            counted = f"{summary['orders']} orders, {summary['events']} events"
            output.say(f"{counted}: {summary['found'] or 'no'} mismatch{'es' if summary['found'] > 1 else ''}.")
    if summary is not None and summary["found"]:
        raise typer.Exit(FAILED)


def restore(
    file: File,
    force: Annotated[
        bool, typer.Option("--force", metavar="", help="Replace the database that is there; it is kept beside it.")
    ] = False,
    json: Json = False,
) -> None:
    """Put a backup where RESCIND_DATABASE_URL says; no server may run. Sending stays paused until `rescind resume`."""
    settings = machine_settings()
    log_to_stderr(settings, "error")
    from app.engine.backup import restore as put_back

    with _refusals(settings), _progress("Copying") as tell:
        key = settings.secret_key.get_secret_value()
        made = put_back(file, settings.database_path, secret_key=key, force=force, tell=tell)
    if json:
        output.print_json(_shape(made))
        return
    output.show(Text(f"{made.file} is restored from {file}: {made.bytes} bytes, verified."))
    if made.former is not None:
        output.say(f"What was there is kept as {made.former}.")
    output.say(
        "Sending is paused, as what was sent after the backup is not known here: start the server, look at what "
        "is scheduled (`rescind cancellations list --state scheduled`), then `rescind resume`."
    )


async def _checked(file: Path, *, show: bool) -> dict[str, Any]:
    from app.engine.rebuild import check
    from app.store.sqlite import SqliteReader

    async with reading(file) as db:
        return await watch(check(SqliteReader([db])), show=show)


@contextmanager
def _refusals(settings: Settings) -> Iterator[None]:
    from app.engine.backup import BackupError

    with refusals(settings):
        try:
            yield
        except BackupError as error:
            raise Failure(f"{error}.") from error


@contextmanager
def _progress(what: str) -> Iterator[Tell]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    notes, columns = output.notes(), (TextColumn(what), BarColumn(), TaskProgressColumn())
    with Progress(*columns, console=notes, transient=True, disable=not notes.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _shape(made: Copied) -> dict[str, Any]:
    paths = {"file": made.file, "key_file": made.key_file, "kept": made.former}
    shown = {name: None if path is None else str(path) for name, path in paths.items()}
    return {**shown, "bytes": made.bytes, "schema": made.schema}
