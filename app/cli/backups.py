"""`rescind backup` and `rescind restore`: a consistent copy of the database with its key."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.failure import FAILED, Failure
from app.cli.local import expected_errors, local_settings, log_to_stderr, reading, watch
from app.cli.options import Json
from app.cli.progress import Progress, progress

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.engine.backup import Copied, Tell
    from app.engine.backup_rotation import Rotation

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup; its key is in FILE.key.")]


def backup(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="The backup; its key goes into FILE.key.", show_default=False),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Instead of FILE: a directory, for a file named rescind-<UTC time>.db."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="With --into: remove the oldest beyond N, once this one is verified."),
    ] = None,
    without_key: Annotated[
        bool,
        typer.Option("--without-key", metavar="", help="Leave out the key: keep it elsewhere, the backup needs it."),
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            metavar="",
            help="Also recompute the copy's orders from its log and compare, as `rebuild --check`.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace FILE if it exists.")] = False,
    json: Json = False,
) -> None:
    """Copy the database and its key to FILE, also while a server runs, and verify the copy."""
    if (file is None) == (into is None):
        raise typer.BadParameter("give either FILE or --into DIR")
    if into is None and keep is not None:
        raise typer.BadParameter("--keep needs --into: it is about the backups in that directory")
    if into is not None and force:
        raise typer.BadParameter("--force is about FILE: --into replaces nothing")
    settings = local_settings()
    from app.engine.backup import back_up, record
    from app.engine.backup_rotation import Rotation, back_up_into

    key, database = settings.secret_key.get_secret_value(), settings.database_path
    summary: dict[str, Any] | None = None

    def is_sound(copy: Path) -> bool:
        nonlocal summary
        summary = asyncio.run(_checked(copy, show=not json)) if check else None
        return summary is None or not summary["found"]

    with _backup_errors(settings), progress("Copying", None, quiet=True) as bar:
        shared: dict[str, Any] = {"secret_key": key, "with_key": not without_key, "tell": _tell(bar)}
        if into is not None:
            done = back_up_into(into, database, keep=keep, check=is_sound, **shared)
        elif file is not None:
            copy = back_up(database, file, force=force, **shared)
            done = Rotation(copy, is_sound(copy.file), ())
            if done.is_sound:
                record(database, copy)
    if json:
        removed = {} if into is None else {"removed": [str(path) for path in done.removed]}
        output.print_json(
            _shape(done.copy) | {"at": done.copy.at} | removed | ({} if summary is None else {"check": summary})
        )
    else:
        _show_backup(done, settings, summary, without_key=without_key)
    if not done.is_sound:
        raise typer.Exit(FAILED)


def _show_backup(done: Rotation, settings: Settings, summary: Mapping[str, Any] | None, *, without_key: bool) -> None:
    copy = done.copy
    output.show(Text(f"{copy.file} is a backup of {settings.database_path}: {copy.bytes} bytes, verified."))
    if copy.key_file is not None:
        output.say(f"The key that decrypts its secrets is in {copy.key_file}: keep both, and keep them private.")
    elif settings.secret_key.get_secret_value():
        output.say("RESCIND_SECRET_KEY decrypts its secrets, and is in no file here: keep it as well.")
    elif without_key:
        output.say(f"It needs the key in {settings.database_path}.key, which is not beside it: keep that elsewhere.")
    if summary is not None:
        counts = f"{summary['orders']} orders, {summary['events']} events"
        output.say(f"{counts}: {summary['found'] or 'no'} mismatch{'es' if summary['found'] > 1 else ''}.")
    if not done.is_sound:
        output.say("The backup stays, and no older one is removed: `rescind rebuild` repairs the database.")
    if done.removed:
        output.say(f"Removed: {', '.join(path.name for path in done.removed)}.")


def restore(
    file: File,
    force: Annotated[
        bool,
        typer.Option("--force", metavar="", help="Replace an existing database; it is kept beside the restored one."),
    ] = False,
    json: Json = False,
) -> None:
    """Restore a backup to RESCIND_DATABASE_URL; no server may run. Sending stays paused until `rescind resume`."""
    settings = local_settings()
    log_to_stderr(settings, "error")
    from app.engine.backup import restore as put_back

    with _backup_errors(settings), progress("Copying", None, quiet=True) as bar:
        key = settings.secret_key.get_secret_value()
        copy = put_back(file, settings.database_path, secret_key=key, force=force, tell=_tell(bar))
    if json:
        output.print_json(_shape(copy))
        return
    output.show(Text(f"{copy.file} is restored from {file}: {copy.bytes} bytes, verified."))
    if copy.former is not None:
        output.say(f"The database that it replaced is kept as {copy.former}.")
    output.say(
        "Sending is paused, because cancels sent after the backup are not in it: start the server, check what is "
        "scheduled (`rescind cancellations list --state scheduled`), then `rescind resume`."
    )


async def _checked(file: Path, *, show: bool) -> dict[str, Any]:
    from app.engine.rebuild import check
    from app.store.sqlite import SqliteReader

    async with reading(file) as db:
        return await watch(check(SqliteReader([db])), show=show)


@contextmanager
def _backup_errors(settings: Settings) -> Iterator[None]:
    from app.engine.backup import BackupError

    with expected_errors(settings):
        try:
            yield
        except BackupError as error:
            raise Failure(f"{error}.") from error


def _tell(bar: Progress) -> Tell:
    return lambda done, total: bar.to(done, total=total)


def _shape(copy: Copied) -> dict[str, Any]:
    paths = {"file": copy.file, "key_file": copy.key_file, "kept": copy.former}
    shown = {name: None if path is None else str(path) for name, path in paths.items()}
    return {**shown, "bytes": copy.bytes, "schema": copy.schema}
