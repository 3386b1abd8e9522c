"""`rescind keys`: who may use the API."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from app.cli import output
from app.cli.client import connect, segment
from app.cli.options import Json
from app.cli.output import Column
from app.cli.times import shown
from app.config.scope import Scope

app = typer.Typer(help="Manage API keys.", no_args_is_help=True)


COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("NAME", lambda row: row["name"], wraps=True),
    Column("SCOPE", lambda row: row["scope"]),
    Column("CREATED", lambda row: shown(row["created_at"])),
    Column("BY", lambda row: row["created_by"], wraps=True),
    Column("REVOKED", lambda row: shown(row.get("revoked_at"))),
)


@app.command("list")
def list_keys(json: Json = False) -> None:
    """List API keys, without the keys themselves."""
    with connect(json) as api:
        answer = api.get("/v1/keys")
    if json:
        output.print_json(answer)
    else:
        output.show_rows(COLUMNS, answer["data"])


@app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it.")],
    scope: Annotated[Scope, typer.Option(help="What it may do.")] = Scope.READ,
    json: Json = False,
) -> None:
    """Make an API key, and print it this once."""
    with connect(json) as api:
        made = api.post("/v1/keys", {"name": name, "scope": scope}, idempotency_key=str(uuid.uuid4()))
    if json:
        output.print_json(made)
        return
    output.say(f"{made['id']} of scope {made['scope']}. The key is not shown again:")
    output.show(made["key"])


@app.command("revoke")
def revoke_key(
    id: Annotated[str, typer.Argument(metavar="ID", help="The key's id (key_…).")],
) -> None:
    """Make an API key invalid, at once."""
    with connect() as api:
        api.delete(f"/v1/keys/{segment(id)}")
    output.say(f"{id} is revoked.")
