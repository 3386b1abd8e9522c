"""`rescind endpoints`: endpoints, and their registrations at the providers."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import urlsplit

import typer
from rich.text import Text

from app.cli import client, completion, output
from app.cli.accounts import resource_fields
from app.cli.client import Api, connect, segment
from app.cli.confirm import Yes
from app.cli.evidence import block
from app.cli.failure import Failure
from app.cli.options import Json
from app.cli.output import Column
from app.cli.times import length, shown

app = typer.Typer(help="Manage endpoints: the URLs to which providers send webhooks.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The endpoint's id.", autocompletion=completion.endpoints)]
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

ENDPOINTS = (
    Column("ID", lambda row: row["id"]),
    Column("ACCOUNT", lambda row: row["account"]),
    Column("VERIFY", lambda row: (row.get("verify") or {}).get("scheme", "handler")),
    Column("STATE", lambda row: output.word("enabled" if row.get("enabled", True) else "disabled")),
    Column("LAST RECEIVED", lambda row: shown(row["traffic"]["last_received_at"])),
    Column("REFUSED SINCE", lambda row: str(row["traffic"]["refused_since_last_received"])),
)
REFUSALS = (
    Column("AT", lambda row: shown(row["at"])),
    Column("CAUSE", lambda row: row["cause"]),
    Column("DETAIL", lambda row: row["detail"], wraps=True),
    Column("FROM", lambda row: row["address"]),
    Column("HEADERS", lambda row: ", ".join(row["headers"]), wraps=True),
)
FAILURES = (
    Column("CAUSE", lambda row: row["cause"]),
    Column("REQUESTS", lambda row: str(row["count"])),
    Column("LAST", lambda row: shown(row["last_at"])),
)
REGISTRATIONS = (
    Column("Topic", lambda row: row["topic"]),
    Column("Id at the provider", lambda row: row["id"]),
    Column("URL", lambda row: row["url"]),
)
STEPS = (
    Column("STEP", lambda row: row["step"]),
    Column("RESULT", lambda row: output.word("ok" if row["ok"] else "failed")),
    Column("DETAIL", lambda row: row["detail"], wraps=True),
)
EVENTS = (
    Column("TYPE", lambda row: row["type"]),
    Column("ORDER", lambda row: row["order"]),
    Column("PHASE", lambda row: row["phase"]),
    Column("STATUS", lambda row: row["provider_status"]),
    Column("OCCURRED", lambda row: shown(row["occurred_at"])),
)


@app.command("list")
def list_endpoints(json: Json = False) -> None:
    """List endpoints with their webhook URLs."""

    def show(_: Api, result: Mapping[str, Any]) -> None:
        output.show_rows((*ENDPOINTS, Column("URL", lambda row: row["url"])), result["data"])

    client.get_rows("/v1/endpoints", show, as_json=json)


@app.command("show")
def show_endpoint(id: Id, json: Json = False) -> None:
    """Show an endpoint and the URL that its provider must call."""

    def show(_: Api, endpoint: dict[str, Any]) -> None:
        output.show(
            output.fields([("url", endpoint.pop("url")), *resource_fields(endpoint), *_traffic_fields(endpoint)])
        )
        if endpoint.get("verify"):
            output.show(output.heading("Verify"), block(endpoint["verify"]))
        if failures := endpoint["traffic"]["failures"]:
            output.show(output.heading("Failures"))
            output.show_rows(FAILURES, [{"cause": cause, **failure} for cause, failure in failures.items()])

    client.get(f"/v1/endpoints/{segment(id)}", show, as_json=json)


@app.command("create")
def create_endpoint(
    account: Annotated[
        str,
        typer.Argument(
            metavar="ACCOUNT", help="The account that the webhooks are about.", autocompletion=completion.accounts
        ),
    ],
    id: Annotated[str | None, typer.Option("--id", metavar="ID", help="Its id; default: generated.")] = None,
    scheme: Annotated[
        str | None, typer.Option(metavar="SCHEME", help="How requests are verified; default: the provider's own way.")
    ] = None,
    header: Annotated[
        str | None, typer.Option(metavar="HEADER", help="Where the token or signature stands, if not as usual.")
    ] = None,
    secret: Annotated[
        str | None,
        typer.Option(metavar="SECRET", envvar="RESCIND_ENDPOINT_SECRET", help="The secret; default: generated."),
    ] = None,
    keep_registered: Annotated[
        bool, typer.Option("--keep-registered", metavar="", help="Register it by the provider's API, now and again.")
    ] = False,
    allow_from: Annotated[
        list[str] | None,
        typer.Option("--allow-from", metavar="CIDR", help="Take requests only from this network; may be repeated."),
    ] = None,
    silent_after: Annotated[
        str | None, typer.Option("--silent-after", metavar="TIME", help="Notice a silence as long as this, such as 6h.")
    ] = None,
    json: Json = False,
) -> None:
    """Create an endpoint, and print what to enter at the provider, with the secret this once."""
    verify = {"scheme": scheme, "header": header, "secrets": [secret] if secret else None}
    given = {
        "account": account,
        "id": id,
        "keep_registered": keep_registered,
        "allow_from": allow_from,
        "silent_after": silent_after,
        "verify": {key: value for key, value in verify.items() if value},
    }
    body = {key: value for key, value in given.items() if value}
    client.post("/v1/endpoints", body, _show_setup, as_json=json, idempotency_key=str(uuid.uuid4()))


@app.command("rotate")
def rotate_endpoint(
    id: Id,
    overlap: Annotated[
        timedelta, typer.Option(parser=length, metavar="DURATION", help="How long the former secret stays valid.")
    ] = "24h",  # type: ignore[assignment]
    secret: Annotated[
        str | None,
        typer.Option(metavar="SECRET", envvar="RESCIND_ENDPOINT_SECRET", help="The new one; default: generated."),
    ] = None,
    json: Json = False,
) -> None:
    """Give an endpoint a new secret, and print it this once; the former one stays valid for the overlap."""
    body = {"overlap_h": overlap / timedelta(hours=1), **({"secret": secret} if secret else {})}
    path = f"/v1/endpoints/{segment(id)}/rotate"
    client.post(path, body, _show_setup, as_json=json, idempotency_key=str(uuid.uuid4()))


@app.command("test")
def send_sample(
    id: Id,
    public: Annotated[
        bool,
        typer.Option("--public", metavar="", help="Through RESCIND_PUBLIC_URL, instead of straight to the server."),
    ] = False,
    body: Annotated[
        str | None, typer.Option("--body", metavar="TEXT", help="A body to send instead of the provider's sample.")
    ] = None,
    json: Json = False,
) -> None:
    """Send a signed sample to an endpoint, and show what would become of it; nothing is recorded."""
    given = {"via": "public_url" if public else "server", **({} if body is None else {"body": body})}
    with connect(json) as api:
        result = api.post(f"/v1/endpoints/{segment(id)}/test", given)
    if json:
        output.print_json(result)
    else:
        output.show_rows(STEPS, result["steps"])
        if result["events"]:
            output.show(output.heading(f"{result['status']}: what it would record"))
            output.show_rows(EVENTS, result["events"])
    if not result["ok"]:
        failed = next(step for step in result["steps"] if not step["ok"])
        raise Failure(f"The test of {result['url']} failed at step {failed['step']}: {failed['detail']}.")


@app.command("disable")
def disable_endpoint(id: Id, json: Json = False) -> None:
    """Disable an endpoint: its URL returns 404, and nothing is recorded."""
    client.post(
        f"/v1/endpoints/{segment(id)}/disable",
        {},
        _saying(f"Endpoint {id} is disabled; senders get 404."),
        as_json=json,
    )


@app.command("enable")
def enable_endpoint(id: Id, json: Json = False) -> None:
    """Enable an endpoint."""
    client.post(f"/v1/endpoints/{segment(id)}/enable", {}, _saying(f"Endpoint {id} is enabled."), as_json=json)


@app.command("refusals")
def show_refusals(id: Id, json: Json = False) -> None:
    """List the last 20 refused requests of an endpoint: why, and which headers they had, without their content."""
    path = f"/v1/endpoints/{segment(id)}/refusals"
    client.get(path, lambda _, result: output.show_rows(REFUSALS, result["data"]), as_json=json)


@app.command("delete")
def delete_endpoint(id: Id, yes: Yes = False) -> None:
    """Delete an endpoint; its URL returns 404 from then on."""
    consequence = f"Endpoint {id} is deleted: its URL returns 404 from then on."
    client.delete(f"/v1/endpoints/{segment(id)}", f"Endpoint {id} is deleted.", consequence, yes=yes)


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
def register(
    id: Id,
    renew: Annotated[
        bool, typer.Option("--renew", metavar="", help="Register all topics anew; a provider's secret is replaced.")
    ] = False,
    json: Json = False,
) -> None:
    """Register an endpoint at its provider for the topics that are missing there."""

    def show(_: Api, result: Mapping[str, Any]) -> None:
        _show_registered(result)
        restored = ", ".join(result["restored"])
        output.say(f"Registered now: {restored}." if restored else "Nothing was missing.")

    client.post(f"/v1/endpoints/{segment(id)}/register", {"renew": renew}, show, as_json=json)


@app.command("unregister")
def unregister(id: Id, json: Json = False) -> None:
    """Remove the registrations of an endpoint at its provider."""

    def show(_: Api, result: Mapping[str, Any]) -> None:
        output.say(f"The provider no longer sends {len(result['removed'])} topics to endpoint {id}.")

    client.post(f"/v1/endpoints/{segment(id)}/unregister", {}, show, as_json=json)


def _traffic_fields(endpoint: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    traffic = endpoint["traffic"]
    counts = ", ".join(f"{count} {status}" for status, count in traffic["counts"].items() if count)
    retired = "; ".join(
        f"valid until {shown(former['until'])}, last used {shown(former['last_used_at']) or 'never'}"
        for former in traffic["retired_secrets"]
    )
    return [
        ("last received", shown(traffic["last_received_at"]) or "never"),
        ("requests", counts or "none"),
        ("refused since then", str(traffic["refused_since_last_received"] or "")),
        ("former secret", retired),
    ]


def _saying(sentence: str) -> Callable[[Api, Any], None]:
    return lambda *_: output.say(sentence)


def _show_setup(_: Api, result: Mapping[str, Any]) -> None:
    """Print what to enter at the provider."""
    setup = result["setup"]
    output.say(f"Endpoint {result['id']} of account {result['account']}.")
    if result.get("secret"):
        output.say("Its secret is not shown again.")
    if result.get("former_valid_until"):
        output.say(f"The former secret is accepted until {shown(result['former_valid_until'])}.")
    if urlsplit(result["url"]).hostname in _LOOPBACK:
        output.say("No provider elsewhere reaches this URL: set RESCIND_PUBLIC_URL where the server runs.")
    output.show(output.heading(setup["where"]))
    lines = [
        (field["name"] if number == 0 else " ", line)
        for field in setup["fields"]
        for number, line in enumerate(field["value"].splitlines())
    ]
    output.show(output.fields(lines))
    if setup.get("notes"):
        output.say("")
    for note in setup.get("notes", ()):
        output.say(note)


def _show_registered(result: Mapping[str, Any]) -> None:
    if result["registered"]:
        output.show_rows(REGISTRATIONS, result["registered"])
    else:
        output.show(Text(f"The provider sends nothing to {result['url']}."))
