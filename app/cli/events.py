"""`rescind events`: the log."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import output
from app.cli.client import connect, segment, write_list
from app.cli.evidence import block, event_in_words
from app.cli.options import (
    LIMIT,
    Cursor,
    Everything,
    Json,
    Limit,
    OfAccount,
    OfOrder,
    Paging,
    Since,
    Until,
    check_order,
)
from app.cli.output import Column
from app.cli.times import rfc3339, shown

app = typer.Typer(help="Show the event log.", no_args_is_help=True)


COLUMNS = (
    Column("RECEIVED", lambda row: shown(row["received_at"])),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("ORDER", lambda row: row["order"]),
    Column("TYPE", lambda row: row["type"]),
    Column("ID", lambda row: row["id"]),
    Column("SAYS", event_in_words, wraps=True),
)


@app.command("list")
def list_events(
    account: OfAccount = None,
    order: OfOrder = None,
    type: Annotated[
        str | None,
        typer.Option(metavar="TYPE", help="Only of this type, or of all that a star stands for: cancellation.*"),
    ] = None,
    since: Since = None,
    until: Until = None,
    text: Annotated[str | None, typer.Option(help="Only with this text in what the event states.")] = None,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List events, the newest first."""
    check_order(order, account)
    query = {
        "account": account,
        "order": order,
        "type": type,
        "since": since and rfc3339(since),
        "until": until and rfc3339(until),
        "text": text,
    }
    with connect(json) as api:
        write_list(api, "/v1/events", query, Paging(limit, everything, cursor), COLUMNS, as_json=json)


@app.command("show")
def show_event(
    id: Annotated[str, typer.Argument(metavar="ID", help="The event's id (evt_…).")], json: Json = False
) -> None:
    """Show one event with all that it states."""
    with connect(json) as api:
        event = api.get(f"/v1/events/{segment(id)}")
    if json:
        output.print_json(event)
        return
    output.show(
        output.fields(
            [
                ("id", event["id"]),
                ("type", event["type"]),
                ("account", event["account"]),
                ("order", event["order"]),
                ("occurred", shown(event["occurred_at"])),
                ("received", shown(event["received_at"])),
                ("source", event["source"]),
                ("receipt", event["receipt"]),
                ("says", event_in_words(event)),
            ]
        )
    )
    for title, value in (("Facts", event["facts"]), ("Data", event["data"])):
        if value:
            output.show(output.heading(title), block(value))
