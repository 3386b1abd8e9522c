"""`rescind keys`: API keys."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from app.cli import client, output
from app.cli.client import Api, segment
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
    """List API keys, without their secrets."""
    client.get("/v1/keys", lambda _, result: output.show_rows(COLUMNS, result["data"]), as_json=json)


@app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it.")],
    scope: Annotated[Scope, typer.Option(help="What it allows; each scope includes those before it.")] = Scope.READ,
    json: Json = False,
) -> None:
    """Create an API key, and print it this once."""

    def show(_: Api, key: Mapping[str, Any]) -> None:
        output.say(f"{key['id']} of scope {key['scope']}. The key is not shown again:")
        output.show(key["key"])

    client.post("/v1/keys", {"name": name, "scope": scope}, show, as_json=json, idempotency_key=str(uuid.uuid4()))


@app.command("revoke")
def revoke_key(id: Annotated[str, typer.Argument(metavar="ID", help="The key's id (key_…).")]) -> None:
    """Revoke an API key; the server refuses it at once."""
    client.delete(f"/v1/keys/{segment(id)}", f"{id} is revoked.")
