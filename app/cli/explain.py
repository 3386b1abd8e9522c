"""`rescind orders explain`: why an order can or cannot be canceled, and why policies did or did not cancel it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from app.cli import output
from app.cli.client import connect
from app.cli.decisions import policy_states
from app.cli.evidence import event_lines, events_of, verdict_fields, verdict_of
from app.cli.options import At, Json, KnownAt, moments
from app.cli.orders import TIMELINE, Account, Order, path_of
from app.cli.paging import Paging
from app.cli.times import shown, shown_with_distance

_VALUE_MAX = 200


def explain_order(account: Account, order: Order, at: At = None, known_at: KnownAt = None, json: Json = False) -> None:
    """Explain the verdict and the policies' outcomes for an order: clause by clause, evidence and timeline."""
    path = path_of(account, order)
    with connect(json) as api:
        explained = api.get(f"{path}/explanation", moments(at, known_at))
        pages = api.pages(f"{path}/timeline", {}, Paging(everything=True))
        timeline = [entry for page in pages for entry in page["data"]]
        events = events_of(api, explained["verdict"]["evidence"])
    if known_at is not None:
        timeline = [entry for entry in timeline if datetime.fromisoformat(entry["at"]) <= known_at]
    if json:
        output.print_json({**explained, "evidence": events, "timeline": timeline})
        return
    output.show(output.fields(_verdict_lines(explained)))
    output.show(output.heading("Clauses"), *_clauses(explained))
    output.show(output.heading("Evidence"), *(list(event_lines(events)) or ["  none"]))
    if explained["policies"]:
        decisions = [entry for entry in timeline if entry["kind"] == "decision"]
        output.show(output.heading("Policies"), *policy_states(explained["policies"], decisions))
    output.show(output.heading("Timeline"))
    output.show_rows(TIMELINE, timeline)


def _verdict_lines(explained: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    then, known_at = explained["then"], explained["known_at"]
    return [
        *verdict_fields(explained["verdict"]),
        ("then", None if then is None else verdict_of(then)),
        ("closes at", shown_with_distance(explained["closes_at"])),
        ("known at", shown(known_at)),
    ]


def _clauses(explained: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Each clause with what it was tested on, and what another value would lead to; the last one decides."""
    events = {event["id"]: event for event in explained["events"]}
    for clause in explained["clauses"]:
        decides = ", which decides" if clause["decisive"] else ""
        told = Text.assemble(output.word("true" if clause["holds"] else "false"), decides)
        yield _at(2, Text.assemble((output.clean(clause["rule"]), "bold"), ": ", told))
        yield _at(4, Text(output.clean(clause["text"])))
        for operand in clause["operands"]:
            event = events.get(operand["event"] or "")
            source = "" if event is None else f" by {event['type']} of {shown(event['occurred_at'])} [{event['id']}]"
            yield _at(
                4, Text.assemble(f"{operand['field']} = {_value(operand['value'])}", (output.clean(source), "dim"))
            )
        if clause["setting"] is not None:
            yield _at(4, Text(f"rules.{clause['setting']['name']} = {_value(clause['setting']['value'])}"))
        if clause["changes_at"] is not None:
            yield _at(4, Text(f"until {shown_with_distance(clause['changes_at'])}"))
        if clause["opposite"] is not None:
            otherwise = "not so" if clause["holds"] else "so"
            yield _at(4, Text.assemble(f"if it were {otherwise}: ", verdict_of(clause["opposite"])))


def _at(indent: int, text: Text) -> RenderableType:
    """A paragraph that wraps within its indent."""
    return Padding(text, (0, 0, 0, indent))


def _value(value: object) -> str:
    text = output.clean(msgspec.json.encode(value).decode())
    return text if len(text) <= _VALUE_MAX else f"{text[:_VALUE_MAX]}…"
