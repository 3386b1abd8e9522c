"""`rescind accounts`: accounts, and whether Rescind is sending for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import client, completion, output
from app.cli.client import Api, segment
from app.cli.confirm import Yes
from app.cli.evidence import block
from app.cli.options import Json
from app.cli.output import Column, Row
from app.cli.times import shown_with_distance

app = typer.Typer(help="Show and delete accounts; `rescind apply` creates them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The account's id.", autocompletion=completion.accounts)]


@app.command("list")
def list_accounts(json: Json = False) -> None:
    """List accounts, and the state of sending for each."""
    client.get_rows("/v1/accounts", lambda _, result: output.show_rows(ACCOUNTS, result["data"]), as_json=json)


@app.command("show")
def show_account(id: Id, json: Json = False) -> None:
    """Show an account without its secrets, and the state of sending for it."""
    client.get(f"/v1/accounts/{segment(id)}", _show, as_json=json)


@app.command("delete")
def delete_account(id: Id, yes: Yes = False) -> None:
    """Delete an account; its orders and events stay."""
    consequence = f"Account {id} is deleted: its orders and events stay, and nothing is sent for it any more."
    client.delete(f"/v1/accounts/{segment(id)}", f"Account {id} is deleted.", consequence, yes=yes)


def show_warnings(warnings: Sequence[str]) -> None:
    """Print what an operator should change although it works."""
    for text in warnings:
        output.show(Text(f"Warning: {output.clean(text)}", style="yellow"))


def resource_fields(resource: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    """The plain values of a resource."""
    return [(name, str(value)) for name, value in resource.items() if not isinstance(value, dict | list)]


def _show(_: Api, account: dict[str, Any]) -> None:
    lane = account.pop("lane", None)
    output.show(output.fields(resource_fields(account)))
    if lane is not None:
        pairs: list[tuple[str, output.Cell]] = [
            ("state", output.word(lane["state"])),
            ("why", lane["reason"]),
            ("until", shown_with_distance(lane["until"])),
            ("calls under way", str(lane["running"])),
            ("window", f"{lane['used']} of {lane['limit']} calls used"),
        ]
        output.show(output.heading("Lane"), output.fields(pairs))
    show_warnings(account.get("warnings", ()))
    for title in ("config", "rules", "limits"):
        if account.get(title):
            output.show(output.heading(title.capitalize()), block(account[title]))


def _lane(row: Row, name: str) -> Any:
    return (row.get("lane") or {}).get(name, "")


ACCOUNTS = (
    Column("ID", lambda row: row["id"]),
    Column("PROVIDER", lambda row: row["provider"]),
    Column("SENDING", lambda row: output.word(_lane(row, "state"))),
    Column("CALLS USED", lambda row: f"{_lane(row, 'used')} of {_lane(row, 'limit')}"),
    Column("VERSION", lambda row: str(row["version"])),
    Column("WHY", lambda row: _lane(row, "reason"), wraps=True),
)
