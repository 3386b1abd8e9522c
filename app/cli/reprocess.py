"""`rescind receipts reprocess`: parse receipts again, those that are named or all that a filter finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import Api, connect, segment
from app.cli.confirm import Yes, confirm_by_typing, require_person
from app.cli.failure import FAILED, Failure, ProblemError
from app.cli.options import Json, OfAccount, Since, Until, check_order, check_range
from app.cli.output import Column
from app.cli.progress import Progress, progress
from app.cli.receipts import COLUMNS, CONTENT, QUARANTINED
from app.cli.times import rfc3339, shown
from app.core.receipt_status import ReceiptStatus

SHOWN_MAX = 20
"""Rows of a table for people."""
KEPT_MAX = 1000
"""Rows of JSON: a filter may find millions."""

RESULTS = (
    Column("ID", lambda row: row["id"]),
    Column("RECEIVED", lambda row: shown(row["received_at"])),
    Column("BEFORE", lambda row: output.word(row["before"])),
    Column("STATUS", lambda row: output.word(row["status"])),
    Column("NEW", lambda row: str(row["new_events"])),
    Column("WHY", lambda row: row["reason"] or ", ".join(row["orders"]), wraps=True),
)


@dataclass(slots=True)
class _Results:
    """What became, or would become, of the receipts so far."""

    total: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, page: Mapping[str, Any]) -> None:
        self.total += len(page["data"])
        self.counts.update(page["counts"])
        self.rows += page["data"][: KEPT_MAX - len(self.rows)]

    def in_words(self) -> str:
        return ", ".join(f"{count} {status}" for status, count in sorted(self.counts.items()))


def reprocess_receipts(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Receipts (rcp_…) to reprocess.")] = None,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", metavar="", help="The same as --status quarantined.")
    ] = False,
    status: Annotated[ReceiptStatus | None, typer.Option(help="All receipts with this status.")] = None,
    account: OfAccount = None,
    order: Annotated[
        str | None, typer.Option(metavar="ORDER", help="Only those that became events of this order; needs --account.")
    ] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT", help="Only from this endpoint.")] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only those whose reason contains this text.")
    ] = None,
    since: Since = None,
    until: Until = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", metavar="", help="Show only what would become of them.")
    ] = False,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Reprocess receipts after their handler or their account was fixed, with a preview where a filter finds them."""
    check_order(order, account)
    check_range(since, until)
    conditions = {
        "status": QUARANTINED if quarantined else status,
        "account": account,
        "order": order,
        "endpoint": endpoint,
        "reason": reason,
        "since": since and rfc3339(since),
        "until": until and rfc3339(until),
    }
    chosen = {name: value for name, value in conditions.items() if value is not None}
    if bool(ids) == bool(chosen):
        raise typer.BadParameter("give receipts, or what finds them, such as --status quarantined")
    with connect(json) as api:
        if ids and not dry_run:
            _reprocess_named(api, ids, as_json=json)
            return
        request = {"receipts": ids} if ids else {"filter": chosen}
        if dry_run or not yes:
            previewed = _run(api, request, "Previewed", dry_run=True)
            if dry_run or not previewed.total:
                _show(previewed, as_json=json)
                return
            _confirm(previewed)
        results = _run(api, request, "Reprocessed", dry_run=False)
    _show(results, as_json=json)
    if left := results.counts[QUARANTINED]:
        output.say(f"{left} of {results.total} are still in quarantine.")
        raise typer.Exit(FAILED)


def _run(api: Api, request: Mapping[str, Any], label: str, *, dry_run: bool) -> _Results:
    results, cursor = _Results(), None
    with progress(label, None, quiet=True) as bar:
        while True:
            page = api.post("/v1/receipts/reprocess", {**request, "dry_run": dry_run, "cursor": cursor})
            results.add(page)
            _report(bar, results)
            cursor = page["next_cursor"]
            if cursor is None:
                return results


def _report(bar: Progress, results: _Results) -> None:
    bar.to(results.total, results.in_words())


def _confirm(previewed: _Results) -> None:
    """Let a person type the number of receipts. Raises `Failure` if that is not it, or nobody is there."""
    would = f"{previewed.total} receipts would become: {previewed.in_words()}."
    require_person(f"{would} --dry-run shows them.")
    preview = output.table(RESULTS, previewed.rows[:SHOWN_MAX], to=output.notes())
    output.show(preview, to=output.notes())
    confirm_by_typing(would, f"Type {previewed.total} to reprocess them", str(previewed.total), yes=False)


def _show(results: _Results, *, as_json: bool) -> None:
    if as_json:
        output.print_json({"data": results.rows, "total": results.total, "counts": dict(results.counts)})
        return
    output.show_rows(RESULTS, results.rows[:SHOWN_MAX])
    if results.total > SHOWN_MAX:
        output.say(f"… and {results.total - SHOWN_MAX} others.")
    if results.total:
        output.say(f"{results.total} receipts: {results.in_words()}.")


def _reprocess_named(api: Api, ids: list[str], *, as_json: bool) -> None:
    done, missing = [], []
    with output.notes().status(Text("Reprocessing")) as status:
        for id in ids:
            try:
                receipt: dict[str, Any] = api.post(f"/v1/receipts/{segment(id)}/reprocess")
            except ProblemError as problem:
                missing.append(str(problem))
            else:
                done.append({name: value for name, value in receipt.items() if name not in CONTENT})
            status.update(Text(f"{len(done)} reprocessed"))
    if as_json:
        output.print_json({"data": done})
    elif done or not missing:
        output.show_rows(COLUMNS, done)
    if missing:
        raise Failure("\n".join(missing))
    left = sum(receipt["status"] == QUARANTINED for receipt in done)
    if left:
        output.say(f"{left} of {len(done)} are still in quarantine.")
        raise typer.Exit(FAILED)
