"""`rescind keys`: API keys."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from app.cli import client, completion, output
from app.cli.client import Api, segment
from app.cli.confirm import Yes
from app.cli.options import Json
from app.cli.output import Column
from app.cli.times import ahead, length, rfc3339, shown, shown_with_distance
from app.config.scope import Scope

app = typer.Typer(help="Manage API keys.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The key's id (key_…).", autocompletion=completion.keys)]
ExpiresIn = Annotated[
    datetime | None,
    typer.Option(parser=ahead, metavar="TIME", help="Refused from then on, such as 90d. Default: never expires."),
]


def _end(row: Mapping[str, Any]) -> str:
    if row.get("revoked_at"):
        return f"revoked {shown(row['revoked_at'])}"
    return shown_with_distance(row.get("expires_at"))


def _show_new(_: Api, key: Mapping[str, Any]) -> None:
    about = f"{key['id']} of scope {key['scope']}"
    if key.get("accounts"):
        about += f" for {', '.join(key['accounts'])}"
    if key.get("expires_at"):
        about += f", expires {shown(key['expires_at'])}"
    output.say(f"{about}. The key is not shown again:")
    output.show(key["key"])


COLUMNS = (
    Column("ID", lambda row: row["id"]),
    Column("NAME", lambda row: row["name"], wraps=True),
    Column("SCOPE", lambda row: row["scope"]),
    Column("ACCOUNTS", lambda row: ", ".join(row.get("accounts") or ["all"]), wraps=True),
    Column("CREATED", lambda row: shown(row["created_at"])),
    Column("BY", lambda row: row["created_by"], wraps=True),
    Column("LAST USED", lambda row: shown_with_distance(row.get("last_used_at")) or "never"),
    Column("ENDS", _end),
)


@app.command("list")
def list_keys(json: Json = False) -> None:
    """List API keys, without their secrets."""
    client.get_rows("/v1/keys", lambda _, result: output.show_rows(COLUMNS, result["data"]), as_json=json)


@app.command("create")
def create_key(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Who or what will use it.")],
    scope: Annotated[Scope, typer.Option(help="What it allows; each scope includes those before it.")] = Scope.READ,
    account: Annotated[
        list[str] | None, typer.Option(metavar="ACCOUNT", help="Only for this account; may be repeated.")
    ] = None,
    expires_in: ExpiresIn = None,
    json: Json = False,
) -> None:
    """Create an API key, and print it this once."""
    body: dict[str, Any] = {"name": name, "scope": scope}
    if account:
        body["accounts"] = account
    if expires_in is not None:
        body["expires_at"] = rfc3339(expires_in)
    client.post("/v1/keys", body, _show_new, as_json=json, idempotency_key=str(uuid.uuid4()))


@app.command("rotate")
def rotate_key(
    id: Id,
    overlap: Annotated[
        timedelta, typer.Option(parser=length, metavar="DURATION", help="How long the old key stays valid.")
    ] = "24h",  # type: ignore[assignment]
    expires_in: ExpiresIn = None,
    json: Json = False,
) -> None:
    """Replace an API key by a new one, and print that this once; the old one stays valid for the overlap."""
    body: dict[str, Any] = {"overlap_h": overlap / timedelta(hours=1)}
    if expires_in is not None:
        body["expires_at"] = rfc3339(expires_in)
    path = f"/v1/keys/{segment(id)}/rotate"
    client.post(path, body, _show_new, as_json=json, idempotency_key=str(uuid.uuid4()))


@app.command("sign-out")
def sign_out(id: Id) -> None:
    """End all sessions of the console that were begun with an API key; the key stays valid."""
    client.delete(f"/v1/keys/{segment(id)}/sessions", f"All sessions of {id} have ended.")


@app.command("revoke")
def revoke_key(id: Id, yes: Yes = False) -> None:
    """Revoke an API key; the server refuses it at once."""
    consequence = f"{id} is revoked for good: anyone who uses it is refused at once."
    client.delete(f"/v1/keys/{segment(id)}", f"{id} is revoked.", consequence, yes=yes)
