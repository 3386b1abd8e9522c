"""`rescind events`: the event log."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import client, output
from app.cli.client import Api, connect, segment, write_list
from app.cli.evidence import block, event_in_words
from app.cli.options import (
    Cursor,
    EventText,
    Everything,
    Json,
    Limit,
    OfAccount,
    OfOrder,
    OfPolicy,
    OfReceipt,
    OfSource,
    OfTypes,
    Since,
    Until,
    check_order,
    check_range,
)
from app.cli.output import Column
from app.cli.paging import LIMIT, Paging
from app.cli.times import rfc3339, shown

MESSAGES_MAX = 20

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
    type: OfTypes = None,
    source: OfSource = None,
    policy: OfPolicy = None,
    receipt: OfReceipt = None,
    since: Since = None,
    until: Until = None,
    text: EventText = None,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List events, the newest first."""
    check_order(order, account)
    check_range(since, until)
    query = {
        "account": account,
        "order": order,
        "type": type,
        "source": source,
        "policy": policy,
        "receipt": receipt,
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
    """Show an event with its facts and data, and where it leads: its receipt, cancellations and messages."""
    client.get(f"/v1/events/{segment(id)}", _show, as_json=json)


def _show(api: Api, event: Mapping[str, Any]) -> None:
    pairs: list[tuple[str, output.Cell]] = [
        ("id", event["id"]),
        ("type", event["type"]),
        ("account", event["account"]),
        ("order", event["order"]),
        ("occurred", shown(event["occurred_at"])),
        ("received", shown(event["received_at"])),
        ("source", event["source"]),
        ("receipt", event["receipt"]),
        ("cancellations", ", ".join(event["cancellations"])),
        ("says", event_in_words(event)),
    ]
    output.show(output.fields(pairs))
    for title in ("facts", "data"):
        if event[title]:
            output.show(output.heading(title.capitalize()), block(event[title]))
    if event["messages"]:
        output.show(output.heading("Messages to subscribers"), *_messages(api, event["messages"]))


def _messages(api: Api, ids: Sequence[str]) -> Iterator[Text]:
    """The messages of an event with their deliveries; only their ids where the key may not see them."""
    shown = ids[:MESSAGES_MAX]
    for id, message in zip(shown, api.get_all([f"/v1/messages/{segment(id)}" for id in shown]), strict=True):
        type = output.clean(message["type"]) if message else ""
        yield Text.assemble(f"  {output.clean(id)}", f"  {type}" if type else "")
        for delivery in message["deliveries"] if message else ():
            state = output.word(delivery["state"])
            yield Text.assemble("    ", output.clean(delivery["subscription"]), "  ", state)
    if len(ids) > MESSAGES_MAX:
        yield Text(f"  and {len(ids) - MESSAGES_MAX} more")
