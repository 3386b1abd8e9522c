"""`rescind prune` and `rescind orders erase`: expunge what is old, and the personal data of one order."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.confirm import Yes, confirm, confirm_by_typing
from app.cli.database import open_reader, require_existing, require_file
from app.cli.failure import FAILED, Failure
from app.cli.local import expected_errors, local_settings, log_to_stderr
from app.cli.options import Json
from app.cli.orders import Account, Order, path_of
from app.cli.progress import Progress, progress
from app.cli.wait import interruptible, wait_for

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.workers.retention import Pruned

BY = "rescind prune"
"""Who pruned a file that no server has open."""
COUNTED = ("receipts", "attempts", "messages", "orders", "events")


def prune(
    older_than: Annotated[
        float | None,
        typer.Option(metavar="DAYS", min=0, help="Expunge what is older. Default: RESCIND_RETENTION_DAYS."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only count what would be expunged.")] = False,
    export: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="First write what will be expunged to FILE, as JSON Lines."),
    ] = None,
    again: Annotated[
        bool,
        typer.Option("--again", metavar="", help="Look at all data again: for handlers that declare more by now."),
    ] = False,
    vacuum: Annotated[
        bool,
        typer.Option("--vacuum", metavar="", help="Then write the file anew, without free space; no server may run."),
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Expunge personal data that is older than the retention period; facts stay. Also while a server runs."""
    settings = local_settings()
    log_to_stderr(settings, "error")
    days = settings.retention_days if older_than is None else older_than
    if older_than is None and not days:
        raise typer.BadParameter("RESCIND_RETENTION_DAYS is 0, so say how old: --older-than DAYS")
    if vacuum:
        require_file(settings, "`--vacuum` works", "VACUUM is PostgreSQL's own, and runs by itself (autovacuum)")
    require_existing(settings)
    before = datetime.now(UTC) - timedelta(days=days)
    # What becomes old after the export is for the next time.
    body = {"older_than": before, "dry_run": dry_run, "again": again}
    with expected_errors(settings):
        if not (dry_run or yes):
            counted = _prune(settings, {**body, "dry_run": True}, vacuum=False)
            if any(counted[name] for name in COUNTED):
                confirm(f"This expunges {_expunged(counted, before)}, for good.", "Expunge it?", yes=False)
        if export is not None and not dry_run:
            _export(settings, export, before, again=again)
        summary = _prune(settings, body, vacuum=vacuum)
    if json:
        output.print_json(summary)
    else:
        output.show(Text(f"{'Would expunge' if dry_run else 'Expunged'} {_expunged(summary, before)}."))
    if summary["error"]:
        raise Failure(f"It ended early, and goes on where it was: {summary['error']}.", FAILED)


def erase_order(
    account: Account,
    order: Order,
    reason: Annotated[
        str, typer.Option(help="Why; recorded in the log for good, so it should name nobody.")
    ] = "asked for",
    dry_run: Annotated[bool, typer.Option("--dry-run", metavar="", help="Only count what would be erased.")] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Erase the personal data of an order from its events, receipts, attempts and messages; facts stay."""
    path = path_of(account, order) + "/erase"
    with connect(json) as api:
        result = api.post(path, {"dry_run": True, "reason": reason})
        if not dry_run:
            counts, expected = _counts(result), str(result["order"])
            confirm_by_typing(
                f"{counts} lose their personal data for good. Webhooks that came in cannot be parsed again.",
                f"Type the order's id ({expected}) to erase it",
                expected,
                yes=yes,
            )
            result = api.post(path, {"reason": reason})
    if json:
        output.print_json(result)
        return
    would = "would be" if dry_run else "were"
    output.show(Text(output.clean(f"{_counts(result)} of order {result['order']} {would} erased.")))


def _expunged(summary: dict[str, Any], before: datetime) -> str:
    *first, last = [f"{summary[name]} {name}" for name in COUNTED if name != "events"]
    return f"the personal data of {', '.join(first)} and {last} from before {before:%Y-%m-%d %H:%M} UTC"


def _counts(result: dict[str, Any]) -> str:
    return f"{result['events']} events and {result['receipts']} receipts"


def _prune(settings: Settings, body: dict[str, Any], *, vacuum: bool) -> dict[str, Any]:
    """Prune the file, or have the server do it that has the file open; on PostgreSQL always a server."""
    from app.store.sqlite.files import DatabaseInUseError

    with progress("Expunging", None, quiet=True) as bar:
        if not settings.is_shared:
            try:
                return asyncio.run(_prune_file(settings, body, bar, vacuum=vacuum))
            except DatabaseInUseError:
                if vacuum:
                    raise
        with connect() as api, interruptible(lambda: "`rescind prune` shows how far it is."):
            run = wait_for(
                api.post("/v1/prune", {**body, "older_than": body["older_than"].isoformat()}),
                lambda: api.get("/v1/prune")["latest"],
                lambda run: not run["running"],
                lambda run: bar.to(sum(run[name] for name in COUNTED)),
            )
            return {name: value for name, value in run.items() if name != "running"}


async def _prune_file(settings: Settings, body: dict[str, Any], bar: Progress, *, vacuum: bool) -> dict[str, Any]:
    from app.config.secrets import open_vault
    from app.config.store import ConfigStore
    from app.engine.ledger import Ledger
    from app.runtime.ids import Ids
    from app.runtime.redaction import Redactor
    from app.store.sqlite import open_sqlite
    from app.workers.retention import Retention

    store = await open_sqlite(settings.database_path)
    try:
        vault = open_vault(settings.secret_key.get_secret_value(), Path(f"{settings.database_path}.key"))
        config, ids = ConfigStore(store, vault, Redactor()), Ids()
        await config.load()
        ledger = Ledger(store, config.view, ids)
        await ledger.load()
        running = asyncio.create_task(ledger.run())
        retention = Retention(store, ledger, ids, period=None, alone=True)
        retention.start(body["older_than"], by=BY, dry_run=body["dry_run"], again=body["again"])
        while retention.is_running:
            await asyncio.wait([asyncio.create_task(retention.wait())], timeout=0.2)
            if retention.latest is not None:
                bar.to(sum(getattr(retention.latest, name) for name in COUNTED))
        ledger.close()
        await running
        if vacuum and not body["dry_run"]:
            await store.vacuum()
            await store.truncate_log()
        return _shape(retention.latest)
    finally:
        await store.close()


def _shape(run: Pruned | None) -> dict[str, Any]:
    shown = {} if run is None else {name: getattr(run, name) for name in ("older_than", "dry_run", *COUNTED, "error")}
    return shown | {"finished_at": None if run is None else run.finished_at}


def _export(settings: Settings, file: Path, before: datetime, *, again: bool) -> None:
    """Write what will be expunged. Raises `Failure` if the file exists."""
    if file.exists():
        raise Failure(f"The file {file} exists already: give another one.")
    # Under another name until it is whole, however this process ends: half an export looks like a whole one.
    part = file.with_name(f"{file.name}.part")
    part.unlink(missing_ok=True)
    out = os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
    try:
        with out, progress("Exporting", None, quiet=True) as bar:
            lines = asyncio.run(_write(settings, out, before, bar, again=again))
            out.flush()
            os.fsync(out.fileno())
        part.rename(file)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    output.say(f"{lines} lines were written to {file}: they are personal data, keep them as such.")


async def _write(settings: Settings, out: BinaryIO, before: datetime, bar: Progress, *, again: bool) -> int:
    from app.engine.export_old import old_data

    lines = 0
    async with open_reader(settings) as reader:
        async for line in old_data(reader, before, again=again):
            out.write(line)
            lines += 1
            bar.to(lines)
    return lines
