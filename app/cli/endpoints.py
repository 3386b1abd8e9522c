"""`rescind endpoints`: endpoints, and their registrations at the providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import client, output
from app.cli.accounts import resource_fields
from app.cli.client import Api, connect, segment
from app.cli.evidence import block
from app.cli.failure import Failure
from app.cli.options import Json
from app.cli.output import Column

app = typer.Typer(help="Show and delete endpoints; `rescind apply` creates them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.")]

ENDPOINTS = (
    Column("ID", lambda row: row["id"]),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("VERIFY", lambda row: (row.get("verify") or {}).get("scheme", "handler")),
    Column("VERSION", lambda row: str(row["version"])),
)
REGISTRATIONS = (
    Column("Topic", lambda row: row["topic"]),
    Column("Id at the provider", lambda row: row["id"]),
    Column("URL", lambda row: row["url"]),
)


@app.command("list")
def list_endpoints(json: Json = False) -> None:
    """List endpoints with their webhook URLs."""

    def show(api: Api, result: Mapping[str, Any]) -> None:
        base = result["data"] and _public_url(api)
        url = Column("URL", lambda row: f"{base}/webhooks/{row['id']}")
        output.show_rows((*ENDPOINTS, url), result["data"])

    client.get("/v1/endpoints", show, as_json=json)


@app.command("show")
def show_endpoint(id: Id, json: Json = False) -> None:
    """Show an endpoint and the URL that its provider must call."""

    def show(api: Api, endpoint: Mapping[str, Any]) -> None:
        url = f"{_public_url(api)}/webhooks/{segment(id)}"
        output.show(output.fields([("url", url), *resource_fields(endpoint)]))
        if endpoint.get("verify"):
            output.show(output.heading("Verify"), block(endpoint["verify"]))

    client.get(f"/v1/endpoints/{segment(id)}", show, as_json=json)


@app.command("delete")
def delete_endpoint(id: Id) -> None:
    """Delete an endpoint; its URL returns 404 from then on."""
    client.delete(f"/v1/endpoints/{segment(id)}", f"Endpoint {id} is deleted.")


@app.command("registrations")
def show_registrations(id: Id, json: Json = False) -> None:
    """List the webhooks that the provider sends to an endpoint, as the provider says."""
    with connect(json) as api:
        result = api.get(f"/v1/endpoints/{segment(id)}/registrations")
    if json:
        output.print_json(result)
    elif not result["error"]:
        _show_registered(result)
    if result["error"]:
        raise Failure(f"The provider did not list its registrations: {result['error']}.")
    if result["missing"]:
        missing = ", ".join(result["missing"])
        raise Failure(f"Not registered: {missing}. `rescind endpoints register {id}` registers them.")


@app.command("register")
def register(id: Id, json: Json = False) -> None:
    """Register an endpoint at its provider for the topics that are missing there."""

    def show(_: Api, result: Mapping[str, Any]) -> None:
        _show_registered(result)
        restored = ", ".join(result["restored"])
        output.say(f"Registered now: {restored}." if restored else "Nothing was missing.")

    client.post(f"/v1/endpoints/{segment(id)}/register", {}, show, as_json=json)


@app.command("unregister")
def unregister(id: Id, json: Json = False) -> None:
    """Remove the registrations of an endpoint at its provider."""

    def show(_: Api, result: Mapping[str, Any]) -> None:
        output.say(f"The provider no longer sends {len(result['removed'])} topics to endpoint {id}.")

    client.post(f"/v1/endpoints/{segment(id)}/unregister", {}, show, as_json=json)


def _public_url(api: Api) -> str:
    """The URL at which providers reach the server, if the server knows it; else RESCIND_URL."""
    servers: Sequence[Mapping[str, Any]] = api.get("/openapi.json").get("servers") or ({"url": api.url},)
    return str(servers[0]["url"]).rstrip("/")


def _show_registered(result: Mapping[str, Any]) -> None:
    if result["registered"]:
        output.show_rows(REGISTRATIONS, result["registered"])
    else:
        output.show(Text(f"The provider sends nothing to {result['url']}."))
