"""`rescind subscriptions deliveries`, `resend`, `recover`: what was sent, and sending again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from app.cli import client, completion, output
from app.cli.client import Api, connect, segment, write_list
from app.cli.evidence import block
from app.cli.options import Cursor, Everything, Json, Limit, check_range
from app.cli.output import Column, Row
from app.cli.paging import LIMIT, Paging
from app.cli.progress import progress
from app.cli.times import ago, rfc3339, shown, shown_with_distance

Subscription = Annotated[
    str, typer.Argument(metavar="ID", help="The subscription's id.", autocompletion=completion.subscriptions)
]
StateChoice = Literal["pending", "delivered", "failed"]
Message = Annotated[str, typer.Argument(metavar="MESSAGE", help="The message's id (msg_…).")]


def list_deliveries(
    id: Subscription,
    message: Annotated[
        str | None, typer.Argument(metavar="[MESSAGE]", help="Show this one, with its body and every attempt.")
    ] = None,
    state: Annotated[StateChoice | None, typer.Option(help="Only those in this state.")] = None,
    type: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Only of this type; a star matches all below: cancellation.*")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(parser=ago, metavar="TIME", help="Written at this time or later; 2h is two hours ago."),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=ago, metavar="TIME", help="Written before this time.")
    ] = None,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List the deliveries of a subscription, the newest first; or show one."""
    path = f"/v1/subscriptions/{segment(id)}/deliveries"
    if message is not None:
        client.get(f"{path}/{segment(message)}", _show, as_json=json)
        return
    check_range(since, until)
    query = {"state": state, "type": type, "since": since and rfc3339(since), "until": until and rfc3339(until)}
    with connect(json) as api:
        write_list(api, path, query, Paging(limit, everything, cursor), DELIVERIES, as_json=json)


def resend(id: Subscription, message: Message, json: Json = False) -> None:
    """Send a delivery again, whatever became of it; the receiver gets the same id."""
    path = f"/v1/subscriptions/{segment(id)}/deliveries/{segment(message)}/resend"
    client.post(path, {}, lambda *_: output.say(f"{message} is sent to {id} again."), as_json=json)


def recover(
    id: Subscription,
    since: Annotated[
        datetime,
        typer.Option(parser=ago, metavar="TIME", help="Messages written at this time or later; 2h is two hours ago."),
    ],
    until: Annotated[
        datetime | None, typer.Option(parser=ago, metavar="TIME", help="Messages written before this time.")
    ] = None,
    json: Json = False,
) -> None:
    """Send every failed delivery since a time again, the oldest first."""
    check_range(since, until)
    path = f"/v1/subscriptions/{segment(id)}/recover"
    body: dict[str, Any] = {"since": rfc3339(since), **({"until": rfc3339(until)} if until else {})}
    recovered = 0
    with connect(json) as api, progress("Recovering", None, quiet=json) as bar:
        while True:
            result = api.post(path, body)
            recovered += result["recovered"]
            bar.to(recovered, total=recovered + result["remaining"])
            if not result["has_more"]:
                break
            body["cursor"] = int(result["next_cursor"])
    if json:
        output.print_json({"recovered": recovered})
    else:
        output.say(f"{recovered} deliveries are sent again." if recovered else "No delivery had failed.")


def show_delivery(delivery: Mapping[str, Any]) -> None:
    """Print a delivery with its attempts."""
    pairs: list[tuple[str, output.Cell]] = [
        ("message", delivery["message"]),
        ("subscription", delivery["subscription"]),
        ("type", delivery["type"]),
        ("account", delivery["account"]),
        ("order", delivery["order"]),
        ("state", output.word(delivery["state"])),
        ("written", shown(delivery["created_at"])),
        ("next attempt", shown_with_distance(delivery["next_attempt_at"])),
        ("a test", "yes" if delivery["test"] else None),
    ]
    output.show(output.fields(pairs))
    if delivery["attempts"]:
        output.show(output.heading("Attempts"), output.table(ATTEMPTS, delivery["attempts"]))


def _show(_: Api, delivery: Mapping[str, Any]) -> None:
    show_delivery(delivery)
    output.show(output.heading("Body"), block(delivery["body"]))


def outcome_of(attempt: Mapping[str, Any] | None) -> str:
    """What came of an attempt: the status, or why there is none."""
    if attempt is None:
        return ""
    return str(attempt.get("status") or f"no response: {attempt.get('error', '')}")


def _last(row: Row) -> str:
    return outcome_of(row["last_attempt"])


ATTEMPTS = (
    Column("STARTED", lambda row: shown(row["started_at"])),
    Column("RESULT", outcome_of, wraps=True),
    Column("TOOK", lambda row: f"{row['duration_ms']} ms"),
    Column("RESPONSE", lambda row: row.get("body"), wraps=True),
)
DELIVERIES = (
    Column("WRITTEN", lambda row: shown(row["created_at"])),
    Column("MESSAGE", lambda row: row["message"]),
    Column("TYPE", lambda row: row["type"]),
    Column("STATE", lambda row: output.word(row["state"])),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("ORDER", lambda row: row["order"]),
    Column("TRIES", lambda row: str(row["tries"])),
    Column("NEXT", lambda row: shown(row["next_attempt_at"])),
    Column("LAST RESULT", _last, wraps=True),
)
