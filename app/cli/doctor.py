"""`rescind doctor`: what is wrong with this machine and the server, and what to do."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.database import open_reader, schema_version
from app.cli.environment import read_settings
from app.cli.failure import FAILED, Failure, ProblemError, UnreachableError
from app.cli.local import local_settings
from app.cli.options import Json
from app.cli.output import Column
from app.core.findings import FAULT, NOTICE, OK, Finding

if TYPE_CHECKING:
    from app.config.settings import Settings

BACKUP_AGE = timedelta(hours=36)
"""A daily backup was missed. The alert RescindBackupOld has the same figure. Neither is a fault: there are other ways
to back up, such as Litestream, of which the server does not know."""
LOG_BLOCKS = 100
"""The newest blocks of the log's hash chain are verified, so many: `rescind log verify` does all."""
COLUMNS = (
    Column("WHAT", lambda row: row["what"]),
    Column("STATE", lambda row: output.word(row["state"])),
    Column("FOUND", lambda row: row["detail"], wraps=True),
    Column("WHAT TO DO", lambda row: row["do"], wraps=True),
)


def doctor(
    capacity: Annotated[
        bool,
        typer.Option("--capacity", metavar="", help="Compare this machine with its load instead: is it large enough?"),
    ] = False,
    orders_per_day: Annotated[
        float | None, typer.Option(min=0, help="With --capacity: the load; by default that of the last days.")
    ] = None,
    events_per_order: Annotated[
        float | None, typer.Option(min=1, help="With --capacity: webhooks of an order.")
    ] = None,
    body_bytes: Annotated[float | None, typer.Option(min=1, help="With --capacity: bytes of a webhook.")] = None,
    json: Json = False,
) -> None:
    """Check this machine and the server for what needs a person; the exit code is 1 if something does."""
    given = (orders_per_day, events_per_order, body_bytes)
    if not capacity and given != (None, None, None):
        raise typer.BadParameter("options on the load need --capacity")
    if capacity:
        from app.cli.capacity import Given
        from app.cli.capacity import capacity as compared

        result = compared(local_settings(), Given(*given)).shown()
    else:
        result = {"data": [asdict(finding) for finding in _examine()]}
    output.show_data(result, COLUMNS, as_json=json)
    if any(finding["state"] == FAULT for finding in result["data"]):
        raise typer.Exit(FAILED)


def _examine() -> Iterator[Finding]:
    try:
        settings = local_settings()
    except Failure as failure:
        yield Finding("settings", FAULT, str(failure), "Correct these environment variables.")
    else:
        names = sorted(settings.model_fields_set)
        yield Finding("settings", OK, f"set: {', '.join(f'RESCIND_{name.upper()}' for name in names) or 'none'}")
        yield from _unknown_variables()
        yield from _shared_database(settings) if settings.is_shared else _database(settings)
    yield from _handlers()
    yield from _server()


def _unknown_variables() -> Iterator[Finding]:
    """Misspelled and former settings, which nothing else reports."""
    from app.config.settings_history import unknown_settings

    unknown = unknown_settings(os.environ)
    if unknown:
        yield Finding("settings", FAULT, f"unknown: {', '.join(unknown)}", " ".join(unknown.values()))


def _shared_database(settings: Settings) -> Iterator[Finding]:
    from app.cli.doctor_postgres import examine

    is_usable = True
    for finding in examine(settings):
        is_usable &= finding.what not in ("database", "rights") or finding.state != FAULT
        yield finding
    if is_usable:
        try:
            stored = asyncio.run(_sealed(settings))
        except Failure as failure:
            yield Finding("secret key", FAULT, str(failure))
            return
        yield _secret_key(settings, stored)
        if stored:
            yield _log(settings)


def _database(settings: Settings) -> Iterator[Finding]:
    import sqlite3

    from app.store.migrations import SchemaTooNewError, migrations

    path, newest = settings.database_path, migrations("sqlite")[-1].version
    if not path.is_file():
        folder = next(parent for parent in path.resolve().parents if parent.exists())
        if os.access(folder, os.W_OK | os.X_OK):
            yield Finding("database", OK, f"{path} does not exist yet; the server creates it")
        else:
            todo = "Set RESCIND_DATABASE_URL, or give this user write permission."
            yield Finding("database", FAULT, f"{folder} is not writable", todo)
        return
    try:
        schema = asyncio.run(schema_version(path))
        stored = asyncio.run(_sealed(settings)) if schema == newest else []
    except SchemaTooNewError as error:
        yield Finding("database", FAULT, str(error), "Install the release that created it.")
        return
    except (sqlite3.Error, OSError) as error:
        yield Finding("database", FAULT, f"{path}: {error}", "Set RESCIND_DATABASE_URL to the right file.")
        return
    if schema < newest:
        todo = "Run `rescind migrate`; the server also migrates at its start."
        yield Finding("database", FAULT, f"{path} has schema {schema} of {newest}", todo)
        return
    if not os.access(path, os.W_OK):
        yield Finding("database", FAULT, f"{path} is not writable", "Give this user write permission.")
        return
    yield Finding("database", OK, f"{path} has schema {schema}, the newest")
    yield _secret_key(settings, stored)
    if stored:
        yield _search_index(path)
        yield _backup(path)
        yield _log(settings)


def _search_index(path: Path) -> Finding:
    import sqlite3
    from contextlib import closing

    from app.store.sqlite.index import index_path

    file = index_path(path.resolve())
    if not file.exists():
        return Finding("search index", NOTICE, f"there is no {file.name}; the server makes it from the log")
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
            db.execute("ATTACH ? AS log", (f"{path.resolve().as_uri()}?mode=ro",))
            sql = "SELECT (SELECT max(seq) FROM log.events), filled_to, unclean FROM state"
            last, filled_to, erasing = db.execute(sql).fetchone()
    except sqlite3.Error as error:
        todo = "The server makes an index that is damaged or of another release anew; if not, its log says why."
        return Finding("search index", NOTICE, f"{file}: {error}", todo)
    behind = max(0, (last or 0) - filled_to)
    size = sum(part.stat().st_size for part in (file, Path(f"{file}-wal")) if part.exists())
    detail = f"{file.name} is {behind or 'no'} events behind, and has {size / 1e6:.1f} MB"
    if erasing:
        todo = "The server lets them go from the index while it runs."
        return Finding("search index", NOTICE, f"{detail}; words of erased content may still be in it", todo)
    return Finding("search index", OK, detail)


def _backup(path: Path) -> Finding:
    from app.engine.backup import last_backup

    last = last_backup(path)
    todo = "Back up every day: `rescind backup --into DIR --keep 14`, and copy it to another machine."
    if last is None:
        return Finding("backup", NOTICE, "there is none", todo)
    age = datetime.now(UTC) - last.at
    shown_age = f"{age.days} days" if age >= timedelta(days=3) else f"{age // timedelta(hours=1)} hours"
    return Finding("backup", NOTICE if age > BACKUP_AGE else OK, f"{shown_age} old: {last.file}", todo)


def _log(settings: Settings) -> Finding:
    import sqlite3

    from app.cli.log import examine_newest
    from app.config.secrets import WrongSecretKeyError

    try:
        faults, examined = asyncio.run(examine_newest(settings, LOG_BLOCKS))
    except Failure as failure:
        return Finding("log", NOTICE, str(failure))
    except (WrongSecretKeyError, sqlite3.Error, OSError, ValueError):
        # The secret key and the database have findings of their own.
        return Finding("log", NOTICE, "its hash chain could not be verified")
    if faults:
        todo = "`rescind log verify` says everything that differs; if nobody did so on purpose, somebody was here."
        return Finding("log", FAULT, faults[0].detail, todo)
    return Finding("log", OK, examined)


async def _sealed(settings: Settings) -> list[bytes]:
    """All encrypted values."""
    from app.config.master_key import sealed_values

    async with open_reader(settings) as reader:
        return [value async for page in sealed_values(reader) for _, value in page]


def _secret_key(settings: Settings, stored: list[bytes]) -> Finding:
    from app.config.secrets import WrongSecretKeyError, open_vault, split_keys

    given, file = settings.secret_key.get_secret_value(), Path(f"{settings.database_path}.key")
    if not given and not file.exists():
        if stored:
            todo = "Restore the file, or set RESCIND_SECRET_KEY to the key that was in it."
            return Finding("secret key", FAULT, f"{file} is missing, and stored secrets need it", todo)
        return Finding("secret key", OK, "none yet; the server creates it")
    where = "RESCIND_SECRET_KEY" if given else str(file)
    try:
        if not given and file.stat().st_mode & 0o077:
            return Finding("secret key", FAULT, f"{file} is readable by other users", f"chmod 600 {file}")
        vault = open_vault(given, file)
        for value in stored:
            vault.open(value)
        former = sum(not vault.is_current(value) for value in stored)
        unfinished = former or (not given and len(split_keys(file.read_text(encoding="ascii"))) > 1)
    except WrongSecretKeyError:
        todo = "Add the former key after a comma: RESCIND_SECRET_KEY=new,former."
        return Finding("secret key", FAULT, f"{where} does not decrypt the stored secrets", todo)
    except (OSError, ValueError) as error:
        return Finding("secret key", FAULT, f"{where} cannot be read: {error}", "Give this user read permission.")
    todo = "Stop the server, and run `rescind keys rotate-master`; it continues where it ended." if unfinished else ""
    which = f"; {former} are encrypted with a former key" if unfinished else ""
    detail = f"{where} decrypts all {len(stored)} stored secrets{which}"
    return Finding("secret key", NOTICE if unfinished else OK, detail, todo)


def _handlers() -> Iterator[Finding]:
    from app.config.registry import broken_handlers, handlers

    for broken in broken_handlers():
        todo = f"Fix or remove it; `rescind handlers test {broken.name}` shows more."
        yield Finding(f"handler {broken.name}", FAULT, f"{broken.source}: {broken.error}", todo)
    names = list(handlers())
    if not names:
        yield Finding("handlers", FAULT, "none", "Install Rescind again: the folder handlers/ is missing.")
    else:
        yield Finding("handlers", OK, ", ".join(names))


def _server() -> Iterator[Finding]:
    from app.config.settings import ClientSettings

    try:
        has_key = bool(read_settings(ClientSettings).api_key.get_secret_value())
        with connect() as api:
            status = api.get("/readyz")["status"]
            yield Finding("server", OK, f"{api.url} is {status}")
            try:
                server_status = api.get("/v1/status")
            except ProblemError as problem:
                todo = "Set RESCIND_API_KEY to a key that is not revoked." if has_key else ""
                yield Finding("API key", FAULT, str(problem), todo)
            else:
                yield Finding("API key", OK, "RESCIND_API_KEY is accepted")
                yield from _server_findings(server_status)
    except UnreachableError as failure:
        reason, _, todo = str(failure).partition(". ")
        yield Finding("server", FAULT, f"{reason}; only this machine was checked", todo)
    except Failure as failure:
        reason, _, todo = str(failure).partition(": ")
        yield Finding("server", FAULT, reason, todo[:1].upper() + todo[1:] or "See the server's log.")


def _server_findings(status: Mapping[str, Any]) -> Iterator[Finding]:
    """The findings of the server itself."""
    counts = ", ".join(f"{status[kind]} {kind}" for kind in ("accounts", "endpoints", "policies", "subscriptions"))
    yield Finding("resources", OK, counts)
    for finding in status["findings"]:
        yield Finding(finding["what"], finding["state"], finding["detail"], finding["do"])
    if not status["needs_attention"]:
        yield Finding("people", OK, "nothing needs a person")
