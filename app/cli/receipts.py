"""`rescind receipts`: inbound requests, exactly as received."""

from __future__ import annotations

import sys
from base64 import b64decode
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.text import Text

from app.cli import client, output
from app.cli.client import Api, connect, segment, write_list
from app.cli.evidence import block
from app.cli.failure import Failure
from app.cli.files import write_private
from app.cli.options import Cursor, Everything, Json, Limit, OfAccount, Since, Until, check_order, check_range
from app.cli.output import Column
from app.cli.paging import LIMIT, Paging
from app.cli.times import rfc3339, shown
from app.core.receipt_status import ReceiptStatus

app = typer.Typer(help="Show inbound requests, and reprocess those in quarantine.", no_args_is_help=True)

QUARANTINED = "quarantined"
CONTENT = ("query", "headers", "body", "body_base64", "masked", "orders", "events")
_MASKED = " (private data is masked; --raw shows it)"


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
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Only receipts whose reason contains this text.")
    ] = None,
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
    check_range(since, until)
    query = {
        "account": account,
        "order": order,
        "endpoint": endpoint,
        "status": status,
        "reason": reason,
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
        typer.Option("--raw", metavar="", help="Write the body exactly as received, unmasked; needs an admin key."),
    ] = False,
    headers: Annotated[
        bool, typer.Option("--headers", metavar="", help="Show only the query and the headers.")
    ] = False,
    file: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Write the body to this file (mode 0600), masked if not --raw."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Show a receipt with its headers and its body, and the orders and events that it became."""
    if headers and (raw or file is not None):
        raise typer.BadParameter("--headers shows no body: leave --raw and --output out")
    if json and file is not None:
        raise typer.BadParameter("give either --json or --output")

    def show(_: Api, receipt: dict[str, Any]) -> None:
        if file is not None:
            written = body_of(receipt)
            write_private(file, written)
            output.say(f"Wrote {len(written)} bytes to {file}{_MASKED if receipt.get('masked') else ''}.")
        elif raw:
            _write_raw(body_of(receipt))
        elif headers:
            _show_headers(receipt)
        else:
            _show(receipt)

    query = {"raw": "true" if raw else None}
    client.get(f"/v1/receipts/{segment(id)}", show, as_json=json, query=query)


def body_of(receipt: Mapping[str, Any]) -> bytes:
    """The body of a receipt, byte for byte; as it was received unless it is masked."""
    if receipt.get("body_base64") is not None:
        return b64decode(receipt["body_base64"])
    if receipt.get("body") is None and receipt.get("masked"):
        raise Failure("The body is not text, so that nothing in it can be masked: give --raw, with an admin key.")
    return str(receipt.get("body") or "").encode()


def _write_raw(body: bytes) -> None:
    """Write the body to standard output; raises `Failure` if it could control the terminal."""
    if sys.stdout.isatty() and (not _is_plain(body)):
        raise Failure("The body has control characters, which a terminal may obey: write it to a file with -o FILE.")
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def _is_plain(body: bytes) -> bool:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return False
    return all(output.clean(line) == line for part in text.split("\n") for line in part.split("\t"))


def _show(receipt: Mapping[str, Any]) -> None:
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
    _show_headers(receipt)
    output.show(output.heading(f"Body{_MASKED if receipt.get('masked') else ''}"), _body(receipt))


def _show_headers(receipt: Mapping[str, Any]) -> None:
    for title in ("query", "headers"):
        if receipt.get(title):
            rows = output.fields((f"  {name}", value) for name, value in receipt[title])
            output.show(output.heading(title.capitalize()), rows)


def _body(receipt: Mapping[str, Any]) -> Text:
    text = receipt.get("body")
    if text is None:
        return Text(f"  (not text) {receipt.get('body_base64') or ''}")
    try:
        return block(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return Text("\n".join(f"  {output.clean(line)}" for line in text.splitlines()))
