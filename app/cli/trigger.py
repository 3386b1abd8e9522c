"""`rescind trigger` and `rescind subscriptions test`: example messages, sent through the real path."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import completion, output
from app.cli.client import Api, connect, segment
from app.cli.deliveries import show_delivery
from app.cli.failure import FAILED, Failure
from app.cli.options import Json
from app.cli.output import Column

Type = Annotated[
    str | None, typer.Option(metavar="TYPE", help="The type of the message; `rescind trigger --list` shows all.")
]
Account = Annotated[
    str | None, typer.Option(metavar="ACCOUNT", help="The account that it says to be about. Default: none.")
]

TYPES = (Column("TYPE", lambda row: row["type"]), Column("SENT WHEN", lambda row: row["description"], wraps=True))


def trigger(
    type: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="The type of the message, such as order.closing_soon.")
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(metavar="ACCOUNT", help="The account that it says to be about. Default: the only one, if so."),
    ] = None,
    all_types: Annotated[bool, typer.Option("--list", metavar="", help="List the types.")] = False,
    json: Json = False,
) -> None:
    """Send an example of a type, marked as a test, to the subscriptions that receive it."""
    if all_types:
        _list_types(as_json=json)
        return
    if type is None:
        raise typer.BadParameter("give a type; `rescind trigger --list` shows all")
    with connect(json) as api:
        body = {"type": type, "account": account or _only_account(api)}
        result = api.post("/v1/messages", body)
    if json:
        output.print_json(result)
    elif result["subscriptions"]:
        output.say(f"{result['message']} is sent to {', '.join(result['subscriptions'])}.")
    if not result["subscriptions"]:
        about = f"about account {result['account']}" if result["account"] else "about no account"
        raise Failure(f"No subscription receives {type} {about}: `rescind listen` makes one for this machine.")


def send_test(
    id: Annotated[
        str, typer.Argument(metavar="ID", help="The subscription's id.", autocompletion=completion.subscriptions)
    ],
    type: Type = None,
    account: Account = None,
    json: Json = False,
) -> None:
    """Send an example to a subscription through the real path; the exit code is 0 if it was accepted."""
    body = {name: value for name, value in (("type", type), ("account", account)) if value}
    with connect(json) as api:
        delivery = api.post(f"/v1/subscriptions/{segment(id)}/test", body)
    if json:
        output.print_json(delivery)
    else:
        show_delivery(delivery)
    if delivery["state"] == "delivered":
        return
    if not delivery["attempts"]:
        raise Failure(f"It was not sent yet: `rescind subscriptions show {id}` says why; `enable` sends at once.")
    raise typer.Exit(FAILED)


def _only_account(api: Api) -> str | None:
    accounts = api.get("/v1/accounts")["data"]
    return str(accounts[0]["id"]) if len(accounts) == 1 else None


def _list_types(*, as_json: bool) -> None:
    with connect(as_json) as api:
        described: Mapping[str, Any] = api.get("/openapi.json")["webhooks"]
    rows = [{"type": type, "description": item["post"]["summary"]} for type, item in described.items()]
    output.show_data({"data": rows}, TYPES, as_json=as_json)
