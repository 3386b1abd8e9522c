"""`rescind migrate`: the schema of the database, and the way from a SQLite file to PostgreSQL."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.database import schema_version
from app.cli.failure import FAILED, Failure
from app.cli.local import expected_errors, local_settings, log_to_stderr, watch
from app.cli.options import Json
from app.cli.progress import progress

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.store.migrations import Migration
    from app.store.postgres.connection import Target


def migrate(
    check: Annotated[
        bool, typer.Option("--check", metavar="", help="Only check; the exit code is 1 if there are steps to do.")
    ] = False,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="URL",
            help="Copy everything from this SQLite database (sqlite:///FILE) to PostgreSQL, and compare it; no server "
            "may run on it. If it was interrupted, it goes on where it was.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="URL",
            help="With --from: the database on PostgreSQL. Default: RESCIND_DATABASE_URL, which other users of this "
            "machine cannot read.",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Migrate the database to this release's schema; on SQLite, the server also does so at its start."""
    if source is not None:
        if check:
            raise typer.BadParameter("--check is about the schema, and --from compares in any case")
        _transfer(source, to, as_json=json)
        return
    if to is not None:
        raise typer.BadParameter("--to needs --from, the database that is copied")
    settings = local_settings()
    log_to_stderr(settings, settings.log_level)
    with expected_errors(settings):
        todo = asyncio.run(_migrate(settings, check_only=check))
    if json:
        steps = [{"version": step.version, "name": step.name} for step in todo]
        output.print_json({"database": settings.shown_database_url, "done": not check, "steps": steps})
    else:
        for step in todo:
            output.show(Text(f"{step.version:04d} {step.name.replace('_', ' ')}: {'to do' if check else 'done'}"))
        if not todo:
            output.say("The schema is up to date.")
    if check and todo:
        raise typer.Exit(FAILED)


async def _migrate(settings: Settings, *, check_only: bool) -> Sequence[Migration]:
    from app.store.migrations import migrations
    from app.store.postgres import migrate as postgres
    from app.store.sqlite import open_sqlite

    database = settings.database
    if not isinstance(database, Path):
        return await (postgres.pending(database) if check_only else postgres.migrate(database, output.say))
    schema = await schema_version(database)
    if not check_only:
        store = await open_sqlite(database)
        await store.close()
    return [step for step in migrations("sqlite") if step.version > schema]


def _transfer(source: str, to: str | None, *, as_json: bool) -> None:
    from app.config.settings import SQLITE
    from app.engine.rebuild import check
    from app.store.opening import reading_store

    if not source.startswith(SQLITE) or source == SQLITE:
        raise typer.BadParameter("--from: give sqlite:///FILE (sqlite:////var/lib/rescind.db is an absolute path)")
    file = Path(source.removeprefix(SQLITE))
    if not file.is_file():
        raise Failure(f"There is no database at {file} (--from).")
    settings, target = _target(to)
    log_to_stderr(settings, "error")
    _check_key(settings, file)

    async def recompute() -> dict[str, Any]:
        async with reading_store(target) as reader:
            return await watch(check(reader), show=not as_json)

    with expected_errors(settings):
        copied = asyncio.run(_copy(file, target))
        summary = asyncio.run(recompute())
    if as_json:
        output.print_json({**copied, "check": summary})
    else:
        _show_copied(file, copied, summary)
    if summary["found"]:
        raise typer.Exit(FAILED)


def _target(to: str | None) -> tuple[Settings, Target]:
    """The settings, and where everything goes."""
    import os

    from app.config.settings import POSTGRESQL

    if to is not None:
        if not to.startswith(POSTGRESQL):
            raise typer.BadParameter("--to: give postgresql://USER:PASSWORD@HOST/DATABASE")
        # As in the environment: the settings are checked, and the password is kept out of what is shown.
        os.environ["RESCIND_DATABASE_URL"] = to
    settings = local_settings()
    database = settings.database
    if isinstance(database, Path):
        raise typer.BadParameter("--from needs a database on PostgreSQL: --to URL, or RESCIND_DATABASE_URL")
    return settings, database


def _check_key(settings: Settings, file: Path) -> None:
    """Raise `Failure` if RESCIND_SECRET_KEY does not decrypt the secrets that are copied."""
    from app.config.master_key import sealed_values
    from app.config.secrets import Vault, WrongSecretKeyError, split_keys
    from app.store.opening import reading_store

    vault = Vault(split_keys(settings.secret_key.get_secret_value()))

    async def open_all() -> None:
        async with reading_store(file) as reader:
            async for page in sealed_values(reader):
                for _, value in page:
                    vault.open(value)

    try:
        with expected_errors(settings):
            asyncio.run(open_all())
    except Failure as failure:
        if isinstance(failure.__cause__, WrongSecretKeyError):
            raise Failure(
                f"RESCIND_SECRET_KEY does not decrypt the secrets in {file}: set it to the key that its server used, "
                f"which is in {file}.key unless it was set."
            ) from failure
        raise


async def _copy(file: Path, target: Target) -> dict[str, Any]:
    """Copy and compare; returns what was."""
    from app.store.transfer.run import transfer

    tables: dict[str, dict[str, Any]] = {}
    replaced = 0
    with progress("Copying", None) as bar:
        async for step in transfer(file, target):
            replaced += step.replaced
            if step.phase != "done":
                bar.to(step.rows, step.table, total=step.total, label=step.phase.capitalize())
            if step.digest:
                tables[step.table] = {"rows": step.count, "sha256": step.digest}
    return {"schema": target.schema, "tables": tables, "nul_replaced": replaced}


def _show_copied(file: Path, copied: dict[str, Any], summary: dict[str, Any]) -> None:
    filled = [table["rows"] for table in copied["tables"].values() if table["rows"]]
    output.show(
        Text(f"{sum(filled)} rows of {len(filled)} tables are in the schema {copied['schema']}, with equal hashes.")
    )
    if copied["nul_replaced"]:
        output.say(
            f"{copied['nul_replaced']} texts held NUL, which PostgreSQL does not store: they now hold ␀ (U+2400)."
        )
    found = f"{summary['found']} mismatches; `rescind rebuild` repairs them" if summary["found"] else "no mismatch"
    output.say(f"{summary['orders']} orders, {summary['events']} events recomputed: {found}.")
    output.say(
        f"Start servers with RESCIND_DATABASE_URL and RESCIND_SECRET_KEY set, and none on {file} any more: it would "
        "send what these send."
    )
