"""`rescind subscriptions`: who receives which messages, and how their deliveries fare."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any

import typer

from app.cli import client, completion, deliveries, output
from app.cli.client import Api, segment
from app.cli.confirm import Yes
from app.cli.options import Json
from app.cli.output import Column, Row
from app.cli.times import length, shown, shown_with_distance
from app.core.outbound.patterns import matches_any
from app.kit.duration import format_duration

app = typer.Typer(help="Create, show and change subscriptions: who receives which webhooks.", no_args_is_help=True)

Id = Annotated[
    str, typer.Argument(metavar="ID", help="The subscription's id.", autocompletion=completion.subscriptions)
]
Types = Annotated[
    list[str] | None,
    typer.Option("--events", metavar="TYPE", help="Types of messages, such as cancellation.*; may be repeated."),
]
Accounts = Annotated[
    list[str] | None,
    typer.Option("--accounts", metavar="ACCOUNT", help="Accounts, such as acme-*; may be repeated."),
]
Secret = Annotated[
    str | None,
    typer.Option(
        metavar="SECRET", envvar="RESCIND_SUBSCRIPTION_SECRET", help="The signing secret; default: generated."
    ),
]
_NO_URL = "(pulled)"


@app.command("create")
def create_subscription(
    url: Annotated[
        str | None, typer.Argument(metavar="[URL]", help="Where messages are sent. Without it they wait to be pulled.")
    ] = None,
    id: Annotated[str | None, typer.Option(metavar="ID", help="Its id. Default: generated.")] = None,
    events: Types = None,
    accounts: Accounts = None,
    full: Annotated[bool, typer.Option("--full", metavar="", help="Send the order with each message.")] = False,
    ordered: Annotated[
        bool, typer.Option("--ordered", metavar="", help="Send an order's messages in the order of their causes.")
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(metavar="FORMAT", help="standard, or notices to people: slack, email; others by a file."),
    ] = None,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    secret: Secret = None,
    ed25519: Annotated[
        bool, typer.Option("--ed25519", metavar="", help="Sign with an ed25519 key: the receiver needs no secret.")
    ] = False,
    json: Json = False,
) -> None:
    """Create a subscription, and print its signing secret this once."""
    given = {"id": id, "url": url, "format": format, "secret": secret, "description": description}
    lists = {"events": events, "accounts": accounts}
    body: dict[str, Any] = {name: value for name, value in (given | lists).items() if value}
    body |= {"payload": "full"} if full else {}
    body |= {"ordered": True} if ordered else {}
    if ed25519:
        from app.config.subscriptions import ED25519_PREFIX, make_secret

        body["secret"] = make_secret(like=ED25519_PREFIX)
    path, show_secret = "/v1/subscriptions", _show_secret("is created")

    def show(api: Api, subscription: Mapping[str, Any]) -> None:
        show_secret(api, subscription)
        note_unmatched(api, accounts or ())

    client.post(path, body, show, as_json=json, idempotency_key=str(uuid.uuid4()))


def note_unmatched(api: Api, patterns: Sequence[str]) -> None:
    """Say which patterns match no account: it may be created later, or the pattern is mistyped."""
    ids = [row["id"] for row in client.get_all_rows(api, "/v1/accounts")] if patterns else []
    for pattern in patterns:
        if pattern != "*" and not any(matches_any((pattern,), id) for id in ids):
            output.say(f"No account matches {pattern!r} yet; `rescind accounts list` shows all.")


@app.command("list")
def list_subscriptions(json: Json = False) -> None:
    """List subscriptions, and whether their messages are delivered."""
    client.get_rows(
        "/v1/subscriptions", lambda _, result: output.show_rows(SUBSCRIPTIONS, result["data"]), as_json=json
    )


@app.command("show")
def show_subscription(id: Id, json: Json = False) -> None:
    """Show a subscription without its secret, and how its deliveries fare."""
    client.get(f"/v1/subscriptions/{segment(id)}", _show, as_json=json)


@app.command("rotate")
def rotate_secret(
    id: Id,
    overlap: Annotated[
        timedelta, typer.Option(parser=length, metavar="DURATION", help="How long the former secret signs too.")
    ] = "24h",  # type: ignore[assignment]
    secret: Secret = None,
    json: Json = False,
) -> None:
    """Give a subscription a new signing secret, and print it this once; the former one signs too for the overlap."""
    path, key = f"/v1/subscriptions/{segment(id)}/rotate", str(uuid.uuid4())
    body = {"overlap_h": overlap / timedelta(hours=1), **({"secret": secret} if secret else {})}
    until = f"; the former one signs too for {format_duration(overlap)}" if overlap else ""
    client.post(path, body, _show_secret(f"has a new secret{until}"), as_json=json, idempotency_key=key)


@app.command("enable")
def enable_subscription(id: Id, json: Json = False) -> None:
    """Enable a subscription; the deliveries that were held are sent."""
    _post(id, "enable", f"Subscription {id} is enabled; what was held is sent.", as_json=json)


@app.command("disable")
def disable_subscription(id: Id, json: Json = False) -> None:
    """Disable a subscription; its deliveries are held until it is enabled."""
    _post(id, "disable", f"Subscription {id} is disabled; its deliveries are held.", as_json=json)


@app.command("delete")
def delete_subscription(id: Id, yes: Yes = False) -> None:
    """Delete a subscription with its deliveries."""
    consequence = f"Subscription {id} is deleted: its deliveries go with it, also those that are still to be sent."
    client.delete(f"/v1/subscriptions/{segment(id)}", f"Subscription {id} is deleted.", consequence, yes=yes)


app.command("deliveries")(deliveries.list_deliveries)
app.command("resend")(deliveries.resend)
app.command("recover")(deliveries.recover)


def _post(id: str, verb: str, message: str, *, as_json: bool) -> None:
    client.post(f"/v1/subscriptions/{segment(id)}/{verb}", {}, lambda *_: output.say(message), as_json=as_json)


def _show_secret(what: str) -> Any:
    """Prints the secret of a subscription that was created or rotated, or the public key to verify with."""

    def show(_: Api, subscription: Mapping[str, Any]) -> None:
        id = subscription["id"]
        if key := subscription.get("public_key"):
            output.say(f"Subscription {id} {what}. Receivers verify its deliveries with this public key:")
            output.show(key)
        else:
            generated = subscription.get("secret", "").startswith("wh")
            output.say(f"Subscription {id} {what}.{' The signing secret is not shown again:' if generated else ''}")
            output.show(subscription["secret"] if generated else id)

    return show


def _show(_: Api, subscription: Mapping[str, Any]) -> None:
    retired = (f"until {shown(secret['until'])}" for secret in subscription.get("retired_secrets", ()))
    pairs: list[tuple[str, output.Cell]] = [
        ("id", subscription["id"]),
        ("description", subscription.get("description")),
        ("url", subscription.get("url") or _NO_URL),
        ("events", ", ".join(subscription["events"])),
        ("accounts", ", ".join(subscription["accounts"])),
        ("format", subscription["format"]),
        ("payload", subscription["payload"]),
        ("ordered", "yes, by order" if subscription["ordered"] else "no"),
        ("concurrency", str(subscription["concurrency"])),
        ("rate per s", str(subscription.get("rate_per_s") or "")),
        ("public key", subscription.get("public_key")),
        ("headers", ", ".join(subscription.get("headers", ()))),
        ("former secret", ", ".join(retired)),
        ("expires", shown_with_distance(subscription.get("expires_at"))),
        ("version", str(subscription["version"])),
    ]
    output.show(output.fields(pairs))
    delivery = subscription["delivery"]
    more: list[tuple[str, output.Cell]] = [
        ("state", output.word(delivery["state"])),
        ("why", delivery["reason"]),
        ("since", shown_with_distance(delivery["since"])),
        ("last success", shown_with_distance(delivery["last_success_at"])),
        ("next attempt", shown_with_distance(delivery["next_attempt_at"])),
        ("pending", _pending(subscription)),
        ("oldest pending", shown_with_distance(delivery["oldest_pending_at"])),
    ]
    output.show(output.heading("Deliveries"), output.fields(more))


def _pending(row: Row) -> str:
    delivery = row["delivery"]
    return f"{delivery['pending']}{'' if delivery['pending_complete'] else ' or more'}"


SUBSCRIPTIONS = (
    Column("ID", lambda row: row["id"]),
    Column("STATE", lambda row: output.word(row["delivery"]["state"])),
    Column("PENDING", _pending),
    Column("LAST SUCCESS", lambda row: shown(row["delivery"]["last_success_at"])),
    Column("EVENTS", lambda row: ", ".join(row["events"]), wraps=True),
    Column("ACCOUNTS", lambda row: ", ".join(row["accounts"]), wraps=True),
    Column("URL", lambda row: row.get("url") or _NO_URL, wraps=True),
    Column("WHY", lambda row: row["delivery"]["reason"], wraps=True),
)
