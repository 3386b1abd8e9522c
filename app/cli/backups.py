"""`rescind backup` and `rescind restore`: a consistent copy of the database with its key."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.database import require_file
from app.cli.failure import FAILED, Failure
from app.cli.local import expected_errors, local_settings, log_to_stderr
from app.cli.options import Json
from app.cli.output import Column
from app.cli.progress import Progress, progress
from app.cli.times import length

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.engine.backup import Copied, Tell
    from app.engine.backup_rotation import Rotation
    from app.engine.verify import Verification

CHECKS = (
    Column("WHAT", lambda row: row["what"]),
    Column("STATE", lambda row: output.word(row["state"])),
    Column("FOUND", lambda row: row["detail"], wraps=True),
)
FAULTS_SHOWN = 20
BACKUPS = "use pg_dump, or physical backups and archived WAL (pgBackRest, Barman),"
RESTORE = (
    "restore with the tool that made the backup, with all servers stopped, and run `rescind pause` at the first start"
)


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
    every: Annotated[
        timedelta | None,
        typer.Option(
            parser=length,
            metavar="DURATION",
            help="With --into: stay, and take a backup whenever the newest is so old. For containers, without a timer.",
        ),
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
            help="Also verify the copy's log and recompute its orders, as `rescind verify`.",
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", metavar="", help="Replace FILE if it exists.")] = False,
    json: Json = False,
) -> None:
    """Copy the database and its key to FILE, also while a server runs, and verify the copy."""
    _check_usage(file, into, keep, every, force=force)

    def take() -> None:
        _back_up(file, into, keep, without_key=without_key, check=check, force=force, json=json)

    if every is not None and into is not None:
        from app.cli.backup_schedule import repeat

        repeat(every, into, take)
    take()


def _back_up(
    file: Path | None, into: Path | None, keep: int | None, *, without_key: bool, check: bool, force: bool, json: bool
) -> None:
    """Take one backup, and show it."""
    settings = local_settings()
    require_file(settings, "`rescind backup` works", f"{BACKUPS} instead")
    from app.engine.backup import back_up, record
    from app.engine.backup_rotation import Rotation, back_up_into

    key, database = settings.secret_key.get_secret_value(), settings.database_path
    verification: Verification | None = None

    def is_sound(copy: Path) -> bool:
        nonlocal verification
        verification = _verify(copy, database, settings, quick=False) if check else None
        return verification is None or verification.is_sound

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
        checked = {} if verification is None else {"check": verification}
        output.print_json(_shape(done.copy) | {"at": done.copy.at} | removed | checked)
    else:
        _show_backup(done, settings, verification, without_key=without_key)
    if not done.is_sound:
        raise typer.Exit(FAILED)


def _check_usage(
    file: Path | None, into: Path | None, keep: int | None, every: timedelta | None, *, force: bool
) -> None:
    if (file is None) == (into is None):
        raise typer.BadParameter("give either FILE or --into DIR")
    if into is None and keep is not None:
        raise typer.BadParameter("--keep needs --into: it is about the backups in that directory")
    if into is None and every is not None:
        raise typer.BadParameter("--every needs --into: it looks there how old the newest backup is")
    if into is not None and force:
        raise typer.BadParameter("--force is about FILE: --into replaces nothing")


def _show_backup(done: Rotation, settings: Settings, verification: Verification | None, *, without_key: bool) -> None:
    copy = done.copy
    output.show(Text(f"{copy.file} is a backup of {settings.database_path}: {copy.bytes} bytes, verified."))
    if copy.key_file is not None:
        output.say(f"The key that decrypts its secrets is in {copy.key_file}: keep both, and keep them private.")
    elif settings.secret_key.get_secret_value():
        output.say("RESCIND_SECRET_KEY decrypts its secrets, and is in no file here: keep it as well.")
    elif without_key:
        output.say(f"It needs the key in {settings.database_path}.key, which is not beside it: keep that elsewhere.")
    if verification is not None:
        _show_verification(verification)
    if not done.is_sound:
        output.say("The backup stays, and no older one is removed: `rescind rebuild` repairs the database.")
    if done.removed:
        output.say(f"Removed: {', '.join(path.name for path in done.removed)}.")


def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup, or the database of a server.")],
    quick: Annotated[
        bool, typer.Option("--quick", metavar="", help="Leave out the orders, and SQLite's look into its indexes.")
    ] = False,
    json: Json = False,
) -> None:
    """Verify a backup without changing it: file, key, log and orders; the exit code is 1 if anything is wrong."""
    settings = local_settings()
    if not file.is_file():
        raise Failure(f"There is no file {file}.")
    with expected_errors(settings):
        verification = _verify(file, file, settings, quick=quick)
    if json:
        output.print_json(verification)
    else:
        _show_verification(verification)
    if not verification.is_sound:
        raise typer.Exit(FAILED)


def _verify(file: Path, key_of: Path, settings: Settings, *, quick: bool) -> Verification:
    """Verify a file with the key in RESCIND_SECRET_KEY, or with that of the database `key_of`."""
    from app.engine.verify import verify

    with progress("Verifying", None, quiet=True) as bar:

        def tell(check: str, done: int, total: int) -> None:
            bar.to(done, total=total or None, label=f"Verifying: {check}")

        key = settings.secret_key.get_secret_value()
        return verify(file, Path(f"{key_of}.key"), secret_key=key, quick=quick, tell=tell)


def _show_verification(verification: Verification) -> None:
    rows = [{"what": check.check, "state": check.state, "detail": check.detail} for check in verification.checks]
    output.show_rows(CHECKS, rows)
    for fault in verification.faults[:FAULTS_SHOWN]:
        output.show(Text.assemble(output.word("fault"), f" {output.clean(fault)}"))
    if verification.found > FAULTS_SHOWN:
        output.say(f"{verification.found - FAULTS_SHOWN} more faults: --json lists up to {len(verification.faults)}.")
    counts = ", ".join(f"{number} {what}" for what, number in verification.counts.items())
    newest = (
        f", the newest event of {verification.newest_event_at:%Y-%m-%d %H:%M:%S} UTC"
        if verification.newest_event_at
        else ""
    )
    state = (
        "is sound"
        if verification.is_sound
        else f"has {verification.found} fault{'s' if verification.found > 1 else ''}"
    )
    output.show(Text(f"{verification.file} {state}{': ' if counts else ''}{counts}{newest}."))


def restore(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="The backup; its key is in FILE.key.", show_default=False)
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option("--from", metavar="DIR", help="Instead of FILE: the newest backup that `--into DIR` wrote there."),
    ] = None,
    force: Annotated[
        bool,
        typer.Option("--force", metavar="", help="Replace an existing database; it is kept beside the restored one."),
    ] = False,
    json: Json = False,
) -> None:
    """Restore a backup to RESCIND_DATABASE_URL; no server may run. Sending stays paused until `rescind resume`."""
    if file is not None and directory is not None:
        raise typer.BadParameter("give either FILE or --from DIR")
    older: Sequence[Path] = ()
    if directory is not None:
        file, older = _newest(directory)
    if file is None:
        raise typer.BadParameter("give either FILE or --from DIR")
    settings = local_settings()
    require_file(settings, "`rescind restore` works", RESTORE)
    log_to_stderr(settings, "error")
    from app.engine.backup import restore as put_back

    with _backup_errors(settings, older), progress("Copying", None, quiet=True) as bar:
        key = settings.secret_key.get_secret_value()
        copy = put_back(file, settings.database_path, secret_key=key, force=force, tell=_tell(bar))
    if json:
        output.print_json(_shape(copy) | {"scheduled": copy.scheduled})
        return
    output.show(Text(f"{copy.file} is restored from {file}: {copy.bytes} bytes, verified."))
    if copy.former is not None:
        output.say(f"The database that it replaced is kept as {copy.former}.")
    if copy.scheduled:
        output.say(
            f"Cancels that were scheduled in it: {copy.scheduled}. Each may have been sent since, so its order is "
            "probed first; where that is not possible, a webhook or a person decides."
        )
    output.say(
        "Sending is paused, because what was sent after the backup is not in it: start the server, have the providers "
        "send their webhooks again, then `rescind resume`."
    )


@contextmanager
def _backup_errors(settings: Settings, older: Sequence[Path] = ()) -> Iterator[None]:
    from app.engine.backup import BackupError

    with expected_errors(settings):
        try:
            yield
        except BackupError as error:
            others = f" Older backups there: {', '.join(path.name for path in older)}." if older else ""
            raise Failure(f"{error}.{others}") from error


def _newest(directory: Path) -> tuple[Path, Sequence[Path]]:
    """The newest backup in a directory, and the others."""
    from app.engine.backup_rotation import backups_in

    try:
        newest, *older = backups_in(directory, datetime.now(UTC))
    except (OSError, ValueError) as error:
        why = f": {error.strerror}" if isinstance(error, OSError) else ""
        raise Failure(f"There is no backup of the name rescind-<UTC time>.db in {directory}{why}.") from error
    return newest, older


def _tell(bar: Progress) -> Tell:
    return lambda done, total: bar.to(done, total=total)


def _shape(copy: Copied) -> dict[str, Any]:
    paths = {"file": copy.file, "key_file": copy.key_file, "kept": copy.former}
    shown = {name: None if path is None else str(path) for name, path in paths.items()}
    return {**shown, "bytes": copy.bytes, "schema": copy.schema}
