"""`rescind orders`: how orders stand, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.text import Text

from app.cli import output
from app.cli.client import connect, segment, write_list
from app.cli.decisions import decision_in_words, standings
from app.cli.evidence import appointment_in_words, block, event_in_words, events_of, spelled, verdict_fields, verdict_of
from app.cli.options import LIMIT, Cursor, Everything, Json, Limit, OfAccount, Paging
from app.cli.output import Column, Row
from app.cli.times import ahead, rfc3339, shown, shown_with_distance

app = typer.Typer(help="Show orders, their verdicts, and what these rest on.", no_args_is_help=True)

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account that the order belongs to.")]
Order = Annotated[str, typer.Argument(metavar="ORDER", help="The provider's id of the order, or any alias.")]


class PhaseChoice(StrEnum):
    """Phases to choose from."""

    OPEN = "open"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    CANCELED = "canceled"
    UNKNOWN = "unknown"


class CancelableChoice(StrEnum):
    """Verdicts to choose from."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


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
        CancelableChoice | None, typer.Option(help="Only orders whose verdict was this when they last changed.")
    ] = None,
    limit: Limit = LIMIT,
    everything: Everything = False,
    cursor: Cursor = None,
    json: Json = False,
) -> None:
    """List orders with their verdicts, the latest first seen first."""
    query = {"account": account, "phase": phase, "cancelable": cancelable}
    with connect(json) as api:
        write_list(api, "/v1/orders", query, Paging(limit, everything, cursor), COLUMNS, as_json=json)


@app.command("show")
def show_order(account: Account, order: Order, json: Json = False) -> None:
    """Show an order with its verdict, the evidence for it, and the cancellation that is under way."""
    with connect(json) as api:
        known = api.get(path_of(account, order))
        if json:
            output.print_json(known)
            return
        output.show(output.fields(_order_fields(known)))
        output.show(output.heading("Verdict"), output.fields(verdict_fields(known["verdict"])))
        if known["verdict"]["evidence"]:
            output.show(output.heading("Evidence"), *spelled(events_of(api, known["verdict"]["evidence"])))
        if known["cancellation"]:
            live = api.get(f"/v1/cancellations/{segment(known['cancellation'])}")
            output.show(output.heading("Cancellation under way"), output.fields(cancellation_fields(live)))
        if known["attributes"]:
            output.show(output.heading("Attributes"), block(known["attributes"]))


@app.command("explain")
def explain_order(
    account: Account,
    order: Order,
    at: Annotated[
        datetime | None,
        typer.Option(parser=ahead, metavar="TIME", help="The verdict as of this time, or this span from now."),
    ] = None,
    known_at: Annotated[
        datetime | None, typer.Option(parser=ahead, metavar="TIME", help="Only what had been received by then.")
    ] = None,
    json: Json = False,
) -> None:
    """Explain a verdict and what policies make of the order: the evidence, clause by clause, and all that happened."""
    path = path_of(account, order)
    query = {"at": at and rfc3339(at), "known_at": known_at and rfc3339(known_at)}
    with connect(json) as api:
        verdict = api.get(f"{path}/verdict", query)
        pages = api.pages(f"{path}/timeline", {}, Paging(everything=True))
        timeline = [entry for page in pages for entry in page["data"]]
        policies = api.get(f"{path}/policies")["data"]
        events = events_of(api, verdict["evidence"])
    decisions = [entry for entry in timeline if entry["kind"] == "decision"]
    if known_at is not None:
        timeline = [entry for entry in timeline if datetime.fromisoformat(entry["at"]) <= known_at]
    if json:
        output.print_json({"verdict": verdict, "evidence": events, "policies": policies, "timeline": timeline})
        return
    output.show(output.fields(verdict_fields(verdict)))
    output.show(output.heading("Evidence"), *(list(spelled(events)) or ["  none"]))
    if policies:
        title = "Policies" if at is None and known_at is None else "Policies, as they stand now"
        output.show(output.heading(title), *standings(policies, decisions))
    output.show(output.heading("Timeline"))
    output.show_rows(TIMELINE, timeline)


@app.command("tag")
def tag_order(
    account: Account,
    order: Order,
    tags: Annotated[list[str] | None, typer.Argument(metavar="TAG", help="A tag to put on.")] = None,
    remove: Annotated[list[str] | None, typer.Option(metavar="TAG", help="A tag to take off; may be repeated.")] = None,
    json: Json = False,
) -> None:
    """Put tags on an order, or take some off; policies see them at once."""
    if not tags and not remove:
        raise typer.BadParameter("name a tag to put on, or give --remove")
    with connect(json) as api:
        answer = api.post(f"{path_of(account, order)}/tags", {"add": tags or [], "remove": remove or []})
    if json:
        output.print_json(answer)
    else:
        output.show(output.fields([("order", order), ("tags", ", ".join(answer["tags"]) or "none")]))


def path_of(account: str, order: str) -> str:
    """Where the API has an order."""
    return f"/v1/accounts/{segment(account)}/orders/{segment(order)}"


def cancellation_fields(known: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    """A cancellation, line by line."""
    return [
        ("id", known["id"]),
        ("account", known["account"]),
        ("order", known["order"]),
        ("state", output.word(known["state"])),
        ("policy", known["policy"]),
        ("cause", known["cause"]),
        ("detail", known["detail"]),
        ("waits for", waits_for(known["waiting"], shown_with_distance)),
        ("reason", known["reason"]),
        ("note", known["note"]),
        ("deadline", shown_with_distance(known["deadline"])),
        ("window closes", shown_with_distance(known["closes_at"])),
        ("must leave by", shown_with_distance(known["send_by"])),
        ("attempts", str(known["attempts"])),
        ("forced", "yes" if known["forced"] else None),
        ("requested", f"{shown(known['requested_at'])} by {known['requested_by']}"),
        ("updated", shown(known["updated_at"])),
    ]


def waits_for(waiting: Mapping[str, Any] | None, show_time: Callable[[str], str] = shown) -> str:
    """`paused (a break), until 2026-03-03T12:00:00Z`."""
    if not waiting:
        return ""
    because = f" ({waiting['reason']})" if waiting["reason"] else ""
    until = f", until {show_time(waiting['until'])}" if waiting["until"] else ""
    return output.clean(f"{waiting['for'].replace('_', ' ')}{because}{until}")


def _order_fields(known: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    pairs: list[tuple[str, output.Cell]] = [
        ("order", known["id"]),
        ("account", known["account"]),
        ("aliases", ", ".join(known["aliases"])),
        ("phase", known["phase"]),
        ("status", known["provider_status"]),
        ("opened", shown_with_distance(known["opened_at"])),
        ("last event", shown_with_distance(known["last_event_at"])),
        ("tags", ", ".join(known["tags"])),
        ("version", str(known["version"])),
        ("anomalies", ", ".join(known["anomalies"])),
    ]
    return [*pairs, *(("appointment", appointment_in_words(each)[12:]) for each in known["appointments"])]


def _what(entry: Row) -> Text:
    if entry["kind"] == "event":
        return Text(output.clean(entry["event"]["type"]))
    if entry["kind"] == "verdict":
        return verdict_of(entry["verdict"])
    if entry["kind"] == "decision":
        decided = entry["event"]["data"]
        return Text.assemble(f"policy {output.clean(decided['policy'])}: ", output.word(decided["outcome"]))
    outcome = entry["attempt"]["outcome"] or "no answer yet"
    return Text.assemble(f"{entry['attempt']['kind']} call: ", output.word(outcome))


def _detail(entry: Row) -> output.Cell:
    if entry["kind"] == "verdict":
        return str(entry["verdict"]["explanation"])
    if entry["kind"] == "attempt":
        return str(entry["attempt"]["detail"])
    event = entry["event"]
    if entry["kind"] == "decision":
        return Text.assemble(decision_in_words(event["data"], whole=True), f" [{event['id']}]")
    said = event_in_words(event)
    return f"{said} [{event['id']}]" if said else f"[{event['id']}]"


TIMELINE = (
    Column("TIME", lambda row: shown(row["at"])),
    Column("KIND", lambda row: row["kind"]),
    Column("WHAT", _what),
    Column("DETAIL", _detail, wraps=True),
)
