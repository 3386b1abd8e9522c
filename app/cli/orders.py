"""`rescind orders`: orders, their verdicts and timelines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from app.cli import client, completion, output
from app.cli.client import Api, connect, segment, write_list
from app.cli.decisions import decision_in_words
from app.cli.evidence import (
    appointment_in_words,
    block,
    event_in_words,
    show_evidence,
    verdict_fields,
    verdict_of,
)
from app.cli.options import At, Cursor, Everything, Json, KnownAt, Limit, OfAccount, check_range, moments
from app.cli.output import Column, Row
from app.cli.paging import LIMIT, Paging
from app.cli.times import ahead, rfc3339, shown, shown_with_distance

app = typer.Typer(help="Show orders, their verdicts, and the evidence for these.", no_args_is_help=True)

Account = Annotated[
    str,
    typer.Argument(
        metavar="ACCOUNT", help="The account that the order belongs to.", autocompletion=completion.accounts
    ),
]
Order = Annotated[str, typer.Argument(metavar="ORDER", help="The provider's id of the order, or any alias.")]


# `rescind --help` must not load the models, so these are repeated here; a test compares them.
PhaseChoice = Literal["open", "in_progress", "completed", "canceled", "unknown"]
CancelableChoice = Literal["yes", "no", "unknown"]

COLUMNS = (
    Column("ACCOUNT", lambda row: row["account"]),
    Column("ORDER", lambda row: row["id"]),
    Column("PHASE", lambda row: row["phase"]),
    Column("STATUS", lambda row: row["provider_status"], wraps=True),
    Column("CANCELABLE", lambda row: output.word(row["verdict"]["cancelable"])),
    Column("REASON", lambda row: row["verdict"]["reason"], wraps=True),
    Column("LAST EVENT", lambda row: shown(row["last_event_at"])),
)


@app.command("list")
def list_orders(
    account: OfAccount = None,
    phase: Annotated[PhaseChoice | None, typer.Option(help="Only orders in this phase.")] = None,
    cancelable: Annotated[
        CancelableChoice | None, typer.Option(help="Only orders with this verdict when they last changed.")
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="CODE", help="Only with this reason of the verdict when they last changed.")
    ] = None,
    closes_after: Annotated[
        datetime | None,
        typer.Option(parser=ahead, metavar="TIME", help="Time alone closes them then or later; 1h is in an hour."),
    ] = None,
    closes_before: Annotated[
        datetime | None,
        typer.Option(
            parser=ahead, metavar="TIME", help="Time alone closes them before this time, and after now: 1h, in an hour."
        ),
    ] = None,
    text: Annotated[str | None, typer.Option(help="The beginning of the order's id or of an alias.")] = None,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List orders with their verdicts, the most recently first seen first; by closing time, the next to close first."""
    columns = COLUMNS
    check_range(closes_after, closes_before, "--closes-after and --closes-before")
    if closes_before is not None and closes_after is None:
        closes_after = datetime.now(UTC)
    if closes_after is not None:
        columns = (*COLUMNS[:-1], Column("CLOSES", lambda row: shown_with_distance(row["closes_at"])))
    query = {
        "account": account,
        "phase": phase,
        "cancelable": cancelable,
        "reason": reason,
        "closes_after": closes_after and rfc3339(closes_after),
        "closes_before": closes_before and rfc3339(closes_before),
        "text": text,
    }
    with connect(json) as api:
        write_list(api, "/v1/orders", query, Paging(limit, everything, cursor), columns, as_json=json)


@app.command("show")
def show_order(account: Account, order: Order, at: At = None, known_at: KnownAt = None, json: Json = False) -> None:
    """Show an order with its verdict, the evidence for it, and its live cancellation; also as it was known earlier."""
    query = moments(at, known_at)

    def show(api: Api, shown_order: Mapping[str, Any]) -> None:
        _show(api, shown_order, path_of(account, order), query)

    client.get(path_of(account, order), show, as_json=json, query=query)


@app.command("tag")
def tag_order(
    account: Account,
    order: Order,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG", help="A tag to add.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="TAG", help="A tag to remove; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Add or remove tags of an order; policies see them at once."""
    if not tags and not remove:
        raise typer.BadParameter("give a tag to add, or --remove")
    body = {"add": tags or [], "remove": remove or []}

    def show(_: Api, result: Mapping[str, Any]) -> None:
        output.show(output.fields([("order", order), ("tags", ", ".join(result["tags"]) or "none")]))

    client.post(f"{path_of(account, order)}/tags", body, show, as_json=json)


def _show(api: Api, order: Mapping[str, Any], path: str, query: Mapping[str, Any]) -> None:
    output.show(output.fields(_order_fields(order)))
    output.show(output.heading("Verdict"), output.fields(verdict_fields(order["verdict"])))
    show_evidence(api, order["verdict"]["evidence"])
    if order["cancellation"]:
        output.show(
            output.heading("Live cancellation"), output.fields(cancellation_fields(_live(api, order, path, query)))
        )
    if order["attributes"]:
        output.show(output.heading("Attributes"), block(order["attributes"]))


def _live(api: Api, order: Mapping[str, Any], path: str, query: Mapping[str, Any]) -> Mapping[str, Any]:
    """The order's live cancellation, as it was known at the time that is asked for."""
    id, known_at = order["cancellation"], query["known_at"]
    if known_at is not None:
        for page in api.pages(f"{path}/cancellations", {"known_at": known_at}, Paging(everything=True)):
            for cancellation in page["data"]:
                if cancellation["id"] == id:
                    return dict(cancellation)
    return dict(api.get(f"/v1/cancellations/{segment(id)}"))


def path_of(account: str, order: str) -> str:
    """The path of an order in the API."""
    return f"/v1/accounts/{segment(account)}/orders/{segment(order)}"


def cancellation_fields(cancellation: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    """A cancellation, line by line."""
    return [
        ("id", cancellation["id"]),
        ("account", cancellation["account"]),
        ("order", cancellation["order"]),
        ("state", output.word(cancellation["state"])),
        ("policy", cancellation["policy"]),
        ("cause", cancellation["cause"]),
        ("detail", cancellation["detail"]),
        ("waits for", waits_for(cancellation["waiting"], shown_with_distance)),
        ("reason", cancellation["reason"]),
        ("note", cancellation["note"]),
        ("deadline", shown_with_distance(cancellation["deadline"])),
        ("window closes", shown_with_distance(cancellation["closes_at"])),
        ("must be sent by", shown_with_distance(cancellation["send_by"])),
        ("attempts", str(cancellation["attempts"])),
        ("forced", "yes" if cancellation["forced"] else None),
        ("requested", f"{shown(cancellation['requested_at'])} by {cancellation['requested_by']}"),
        ("updated", shown(cancellation["updated_at"])),
    ]


def waits_for(waiting: Mapping[str, Any] | None, show_time: Callable[[str], str] = shown) -> str:
    """`paused (a break), until 2026-03-03T12:00:00Z`."""
    if not waiting:
        return ""
    because = f" ({waiting['reason']})" if waiting["reason"] else ""
    until = f", until {show_time(waiting['until'])}" if waiting["until"] else ""
    return output.clean(f"{waiting['for'].replace('_', ' ')}{because}{until}")


def _order_fields(order: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    pairs: list[tuple[str, output.Cell]] = [
        ("order", order["id"]),
        ("account", order["account"]),
        ("aliases", ", ".join(order["aliases"])),
        ("phase", order["phase"]),
        ("status", order["provider_status"]),
        ("opened", shown_with_distance(order["opened_at"])),
        ("last event", shown_with_distance(order["last_event_at"])),
        ("tags", ", ".join(order["tags"])),
        ("version", str(order["version"])),
        ("anomalies", ", ".join(order["anomalies"])),
    ]
    return [*pairs, *(("appointment", appointment_in_words(appointment)[12:]) for appointment in order["appointments"])]


def _what(entry: Row) -> Text:
    if entry["kind"] == "event":
        return Text(output.clean(entry["event"]["type"]))
    if entry["kind"] == "verdict":
        return verdict_of(entry["verdict"])
    if entry["kind"] == "decision":
        decision = entry["event"]["data"]
        return Text.assemble(f"policy {output.clean(decision['policy'])}: ", output.word(decision["outcome"]))
    outcome = entry["attempt"]["outcome"] or "no response yet"
    return Text.assemble(f"{entry['attempt']['kind']} call: ", output.word(outcome))


def _detail(entry: Row) -> output.Cell:
    if entry["kind"] == "verdict":
        return str(entry["verdict"]["explanation"])
    if entry["kind"] == "attempt":
        return str(entry["attempt"]["detail"])
    event = entry["event"]
    if entry["kind"] == "decision":
        return Text.assemble(decision_in_words(event["data"], whole=True), f" [{event['id']}]")
    return f"{event_in_words(event)} [{event['id']}]".lstrip()


TIMELINE = (
    Column("TIME", lambda row: shown(row["at"])),
    Column("KIND", lambda row: row["kind"]),
    Column("WHAT", _what),
    Column("DETAIL", _detail, wraps=True),
)
