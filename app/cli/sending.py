"""`rescind pause` and `rescind resume`: stop and start sending."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import output
from app.cli.client import connect
from app.cli.options import Json
from app.cli.output import Column
from app.cli.times import shown

OneAccount = Annotated[
    str | None, typer.Option(metavar="ACCOUNT", help="Only this account; everything, if it is left out.")
]

COLUMNS = (
    Column("PAUSED", lambda row: str(row["scope"]).replace("account:", "account ")),
    Column("SINCE", lambda row: shown(row["since"])),
    Column("BY", lambda row: row["by"]),
    Column("WHY", lambda row: row["reason"], wraps=True),
)


def pause(
    account: OneAccount = None,
    reason: Annotated[str | None, typer.Option(help="Why; it goes into the log.")] = None,
    json: Json = False,
) -> None:
    """Stop sending to the providers; webhooks are still taken in."""
    body = {"account": account, **({"reason": reason} if reason is not None else {})}
    with connect(json) as api:
        _show(api.post("/v1/pause", body), as_json=json)


def resume(account: OneAccount = None, json: Json = False) -> None:
    """Start sending again."""
    with connect(json) as api:
        _show(api.post("/v1/resume", {"account": account}), as_json=json)


def _show(answer: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        output.print_json(answer)
    elif answer["paused"]:
        output.show(output.table(COLUMNS, answer["paused"]))
    else:
        output.say("Nothing is paused.")
