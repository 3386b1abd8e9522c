"""`rescind upgrade`: what this release will do to an existing database, and doing it with a way back."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.database import reading, require_file
from app.cli.doctor import COLUMNS
from app.cli.failure import FAILED, Failure
from app.cli.local import expected_errors, local_settings, log_to_stderr, watch
from app.cli.options import Json
from app.cli.progress import progress
from app.core.findings import FAULT, NOTICE, OK, Finding

if TYPE_CHECKING:
    import sqlite3

    from app.config.settings import Settings
    from app.engine.upgrade import Versions


def upgrade(
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            metavar="",
            help="Only check, also beside a running server of the former release; the exit code is 1 if something "
            "is to be done first.",
        ),
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", metavar="FILE", help="With --check: a resource file that is to be valid, too."),
    ] = None,
    into: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where the backup goes that is taken before the upgrade.")
    ] = None,
    json: Json = False,
) -> None:
    """Back up the database, migrate it to this release, and verify it; no server may run. With --check only look."""
    if check == (into is not None):
        raise typer.BadParameter("give either --check or --into DIR, the directory for the backup")
    if file is not None and not check:
        raise typer.BadParameter("--file needs --check")
    settings = local_settings()
    instead = "back it up, and run `rescind migrate`, which servers of both releases outlast; `--check` only looks"
    if not require_file(settings, "`rescind upgrade` works", instead).is_file():
        raise Failure(f"There is no database at {settings.database_path} (RESCIND_DATABASE_URL): nothing to upgrade.")
    findings = _checked(settings, file)
    if into is None:
        _report(findings, as_json=json)
        if any(finding.state == FAULT for finding in findings):
            raise typer.Exit(FAILED)
        return
    faults = [finding for finding in findings if finding.state == FAULT and finding.what != "backup"]
    if faults:
        _report(faults, as_json=json)
        raise typer.Exit(FAILED)
    _upgrade(settings, into, as_json=json)


def _report(findings: list[Finding], *, as_json: bool) -> None:
    rows = [asdict(finding) for finding in findings]
    ready = not any(finding.state == FAULT for finding in findings)
    output.show_data({"ready": ready, "data": rows}, COLUMNS, as_json=as_json)
    if not as_json:
        output.say("Ready for the upgrade." if ready else "Something is to be done first.")


def _checked(settings: Settings, file: Path | None) -> list[Finding]:
    """All findings, in the order in which one acts on them."""
    from app.engine.backup import last_backup
    from app.engine.upgrade import (
        finding_on_backup,
        finding_on_disk,
        findings_in_configuration,
        findings_in_schema,
        findings_in_versions,
        opened,
        plan,
    )

    database = settings.database_path
    with expected_errors(settings), opened(database) as db:
        planned = plan(db)
        found = list(findings_in_schema(planned))
        if planned.schema > planned.newest or not planned.schema:
            return found
        found.append(finding_on_disk(planned, database, shutil.disk_usage(database.resolve().parent).free))
        last = last_backup(database)
        taken, where = (None, "") if last is None else (last.at, last.file)
        found.append(finding_on_backup(db, planned, taken, where, datetime.now(UTC)))
        found += findings_in_versions(db, _scanned(db))
        found += _settings(planned.schema)
        found += findings_in_configuration(db, database, settings.secret_key.get_secret_value())
    if file is not None:
        found.append(asyncio.run(_resource_file(settings, file)))
    return found


def _scanned(db: sqlite3.Connection) -> Versions:
    from app.engine.upgrade import versions

    (last,) = db.execute("SELECT max(seq) FROM events").fetchone()
    with progress("Reading the log", last or 0, quiet=True) as bar:
        for seen in versions(db):
            bar.to(min(last or 0, seen.position))
        return seen


def _settings(schema: int) -> Iterator[Finding]:
    from app.config.settings_history import new_defaults, unknown_settings

    unknown = unknown_settings(os.environ)
    if unknown:
        yield Finding("settings", FAULT, f"unknown: {', '.join(unknown)}", " ".join(unknown.values()))
    new = list(new_defaults(os.environ, schema))
    for sentence in new:
        yield Finding("settings", NOTICE, sentence, "Set it before the first start if you want something else.")
    if not unknown and not new:
        yield Finding("settings", OK, "all are settings of this release")


async def _resource_file(settings: Settings, file: Path) -> Finding:
    """Whether a resource file could be applied after the upgrade: tried on a new database with the stored resources."""
    from app.config.faults import InvalidResourceError
    from app.config.file import open_resource_file
    from app.config.secrets import Vault, WrongSecretKeyError, make_key
    from app.config.store import ConfigStore
    from app.engine.upgrade import keys_of
    from app.runtime.redaction import Redactor
    from app.store.sqlite import SqliteReader, open_sqlite

    opened_file = None
    try:
        opened_file = open_resource_file(file)
        with TemporaryDirectory(prefix="rescind-upgrade-") as folder:
            store = await open_sqlite(Path(folder) / "rescind.db")
            try:
                async with reading(settings.database_path) as db:
                    stored = await SqliteReader([db]).resources()
                await store.save_resources(stored, [], [], [], None)
                vault = Vault(keys_of(settings.database_path, settings.secret_key.get_secret_value()) or [make_key()])
                config = ConfigStore(store, vault, Redactor())
                await config.load()
                plan = await config.apply(
                    opened_file.resources, by="upgrade", now=datetime.now(UTC), dry_run=True, confirm=True
                )
            finally:
                await store.close()
    except InvalidResourceError as error:
        located = opened_file.located(error) if opened_file else error
        return Finding("resource file", FAULT, str(located), "Correct it: this release does not apply it.")
    except WrongSecretKeyError:
        return Finding("resource file", NOTICE, f"{file} could not be compared with the stored resources")
    changed = [difference for difference in plan if difference.action != "unchanged"]
    detail = f"{file}: all {len(plan)} resources are valid; not as stored: {len(changed) or 'none'}"
    return Finding("resource file", OK, detail)


def _upgrade(settings: Settings, into: Path, *, as_json: bool) -> None:
    """Back up, migrate, verify: each with the lock that keeps servers out."""
    from contextlib import closing

    from app.engine.backup import BackupError
    from app.engine.backup_rotation import back_up_into
    from app.engine.rebuild import check
    from app.store.sqlite import SqliteReader, open_sqlite
    from app.store.sqlite.files import hold

    database = settings.database_path
    log_to_stderr(settings, settings.log_level)

    async def migrate() -> None:
        await (await open_sqlite(database)).close()

    async def verify() -> dict[str, Any]:
        async with reading(database) as db:
            return await watch(check(SqliteReader([db])), show=not as_json)

    with expected_errors(settings):
        try:
            with closing(hold(database.resolve())), progress("Copying", None, quiet=True) as bar:
                done = back_up_into(
                    into,
                    database,
                    keep=None,
                    secret_key=settings.secret_key.get_secret_value(),
                    with_key=True,
                    tell=lambda pages, total: bar.to(pages, total=total),
                    check=lambda _: True,
                )
        except BackupError as error:
            raise Failure(f"{error}. Nothing was changed.") from error
        back = f"rescind restore {done.copy.file} --force"
        if not as_json:  # said before anything is changed: it is needed if that fails
            output.say(f"The way back: install the former release, and with it `{back}`.")
        asyncio.run(migrate())
        summary = asyncio.run(verify())
    if as_json:
        from app.store.migrations import migrations

        schema = {"from": done.copy.schema, "to": migrations("sqlite")[-1].version}
        output.print_json({"backup": str(done.copy.file), "schema": schema, "check": summary, "back": back})
    else:
        _show_upgrade(done.copy.file, done.copy.schema, summary)
    if summary["found"]:
        raise typer.Exit(FAILED)


def _show_upgrade(backup: Path, former: int, summary: dict[str, Any]) -> None:
    from app.store.migrations import migrations

    newest = migrations("sqlite")[-1].version
    steps = f"from schema {former} to {newest}" if former < newest else f"schema {newest} needs no step"
    output.show(Text(f"Upgraded, {steps}. The backup from before: {backup}"))
    counts = f"{summary['orders']} orders, {summary['events']} events recomputed"
    found = summary["found"]
    output.say(f"{counts}: {f'{found} mismatches; `rescind rebuild` repairs them' if found else 'no mismatch'}.")
