"""`rescind receipts`: inbound requests, exactly as received."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from app.cli import client, output
from app.cli.client import Api, connect, segment, write_list
from app.cli.evidence import block
from app.cli.failure import FAILED, Failure, ProblemError
from app.cli.options import LIMIT, Cursor, Everything, Json, Limit, OfAccount, Paging, Since, Until, check_order
from app.cli.output import Column
from app.cli.times import rfc3339, shown
from app.core.receipt_status import ReceiptStatus

app = typer.Typer(help="Show inbound requests, and reprocess those in quarantine.", no_args_is_help=True)

QUARANTINED = "quarantined"
_CONTENT = ("query", "headers", "body", "body_base64", "masked", "orders", "events")


COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("RECEIVED", lambda row: shown(row["received_at"])),
    Column("ENDPOINT", lambda row: row["endpoint"]),
    Column("STATUS", lambda row: output.word(row["status"])),
    Column("BYTES", lambda row: row["size"] and str(row["size"])),
    Column("WHY", lambda row: row["reason"], wraps=True),
)


@app.command("list")
def list_receipts(
    account: OfAccount = None,
    order: Annotated[
        str | None,
        typer.Option(metavar="ORDER", help="Only receipts that became events of this order; needs --account."),
    ] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="ENDPOINT", help="Only from this endpoint.")] = None,
    status: Annotated[ReceiptStatus | None, typer.Option(help="Only receipts with this status.")] = None,
    since: Since = None,
    until: Until = None,
    text: Annotated[
        str | None, typer.Option(help="Only receipts whose body contains this text; needs an admin key.")
    ] = None,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List receipts, the newest first."""
    check_order(order, account)
    query = {
        "account": account,
        "order": order,
        "endpoint": endpoint,
        "status": status,
        "since": since and rfc3339(since),
        "until": until and rfc3339(until),
        "text": text,
    }
    with connect(json) as api:
        write_list(api, "/v1/receipts", query, Paging(limit, everything, cursor), COLUMNS, as_json=json)


@app.command("show")
def show_receipt(
    id: Annotated[str, typer.Argument(metavar="ID", help="The receipt's id (rcp_…).")],
    raw: Annotated[
        bool,
        typer.Option("--raw", metavar="", help="Do not mask private data; needs an admin key."),
    ] = False,
    json: Json = False,
) -> None:
    """Show a receipt with its headers and its body, and the orders and events that it became."""
    query = {"raw": "true" if raw else None}
    client.get(f"/v1/receipts/{segment(id)}", _show, as_json=json, query=query)


@app.command("reprocess")
def reprocess_receipts(
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="Receipts (rcp_…) to reprocess.")] = None,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", metavar="", help="Reprocess all receipts in quarantine.")
    ] = False,
    json: Json = False,
) -> None:
    """Reprocess receipts, after their handler or their account was fixed."""
    if bool(ids) == quarantined:
        raise typer.BadParameter("give receipts, or --quarantined")
    done, missing = [], []
    with connect(json) as api, output.notes().status(Text("Reprocessing")) as status:
        for id in _quarantined(api) if quarantined else ids or ():
            try:
                done.append(_reprocess(api, id, named=not quarantined))
            except ProblemError as problem:
                missing.append(str(problem))
            status.update(Text(f"{len(done)} reprocessed"))
    if json:
        output.print_json({"data": done})
    elif done or not missing:
        output.show_rows(COLUMNS, done)
    if missing:
        raise Failure("\n".join(missing))
    left = sum(receipt["status"] == QUARANTINED for receipt in done)
    if left:
        output.say(f"{left} of {len(done)} are still in quarantine.")
        raise typer.Exit(FAILED)


def _reprocess(api: Api, id: str, *, named: bool) -> dict[str, Any]:
    """Reprocess one receipt. An error (its account is deleted) is its reason, and does not stop the others.

    Raises `ProblemError` for one that was `named` and does not exist.
    """
    try:
        receipt: dict[str, Any] = api.post(f"/v1/receipts/{segment(id)}/reprocess")
    except ProblemError as problem:
        if named and problem.slug == "not-found":
            raise
        missing = dict.fromkeys(("endpoint", "account", "received_at", "size"))
        return {"id": id, **missing, "status": QUARANTINED, "reason": str(problem)}
    return {name: value for name, value in receipt.items() if name not in _CONTENT}


def _quarantined(api: Api) -> Iterator[str]:
    for page in api.pages("/v1/receipts", {"status": QUARANTINED}, Paging(everything=True)):
        yield from [row["id"] for row in page["data"]]


def _show(_: Api, receipt: dict[str, Any]) -> None:
    pairs: list[tuple[str, output.Cell]] = [
        ("id", receipt["id"]),
        ("endpoint", receipt["endpoint"]),
        ("account", receipt["account"]),
        ("received", shown(receipt["received_at"])),
        ("status", output.word(receipt["status"])),
        ("why", receipt["reason"]),
        ("bytes", str(receipt["size"])),
        ("orders", ", ".join(receipt["orders"])),
        ("events", ", ".join(receipt["events"]) or "none of its own"),
    ]
    output.show(output.fields(pairs))
    for title in ("query", "headers"):
        if receipt.get(title):
            rows = output.fields((f"  {name}", value) for name, value in receipt[title])
            output.show(output.heading(title.capitalize()), rows)
    masked = " (private data is masked; --raw shows it)" if receipt.get("masked") else ""
    output.show(output.heading(f"Body{masked}"), _body(receipt))


def _body(receipt: dict[str, Any]) -> Text:
    text = receipt.get("body")
    if text is None:
        return Text(f"  (not text) {receipt.get('body_base64') or ''}")
    try:
        return block(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return Text("\n".join(f"  {output.clean(line)}" for line in text.splitlines()))
