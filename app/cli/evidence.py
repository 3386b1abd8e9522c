"""Verdicts and the events they rest on in words, for `orders`, `cancel` and `cancellations`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.text import Text

from app.cli import output
from app.cli.client import Api, segment
from app.cli.decisions import decision_in_words
from app.cli.times import shown, shown_with_distance

EVIDENCE_MAX = 20


def verdict_of(verdict: Mapping[str, Any]) -> Text:
    """`no (appointment_confirmed)`."""
    return Text.assemble(output.word(verdict["cancelable"]), f" ({output.clean(verdict['reason'])})")


def verdict_fields(verdict: Mapping[str, Any]) -> list[tuple[str, output.Cell]]:
    """A verdict, line by line."""
    return [
        ("cancelable", verdict_of(verdict)),
        ("why", verdict["explanation"]),
        ("changes at", shown_with_distance(verdict["changes_at"])),
        ("as of", shown(verdict["as_of"])),
    ]


def events_of(api: Api, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The first events of these ids; of one that cannot be fetched, only the id."""
    ids = ids[:EVIDENCE_MAX]
    events = api.get_all([f"/v1/events/{segment(id)}" for id in ids])
    return [event or {"id": id} for id, event in zip(ids, events, strict=True)]


def show_evidence(api: Api, ids: Sequence[str]) -> None:
    """Print the events of these ids under a heading, if there are any."""
    if ids:
        output.show(output.heading("Evidence"), *event_lines(events_of(api, ids)))


def event_lines(events: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Events as evidence: the type and the facts of each."""
    for event in events:
        if "type" not in event:
            yield Text(f"  {output.clean(event['id'])}  (not in the log)")
            continue
        kind, id, when = output.clean(event["type"]), output.clean(event["id"]), shown(event["occurred_at"])
        yield Text.assemble("  ", (kind, "bold"), f"  {when}  ", (f"{id} ({event['source']})", "dim"))
        if facts := facts_in_words(event["facts"]):
            yield Text(f"    {facts}")


def event_in_words(event: Mapping[str, Any]) -> str:
    """An event on one line: its facts, or what happened to a cancellation, a probe, tags."""
    data = event["data"]
    if "decisions" in data:
        decided = [f"{one['policy']}: {one.get('detail') or one['outcome']}" for one in data["decisions"]]
        return output.clean(" ".join(decided))
    if "clauses" in data:
        return decision_in_words(data).plain
    if "tags" in data:
        return output.clean(f"tags {', '.join(data['tags']) or 'none'}")
    # A cause is our own word; what a provider or a person wrote keeps its spelling.
    detail = data.get("changes", {}).get("detail") or data.get("detail") or data.get("reason")
    return facts_in_words(event["facts"]) or output.clean(detail or str(data.get("cause") or "").replace("_", " "))


def facts_in_words(facts: Mapping[str, Any]) -> str:
    """Facts on one line."""
    parts = [f"{name.replace('_', ' ')} {facts[name]}" for name in ("phase", "provider_status") if facts.get(name)]
    if facts.get("opened_at"):
        parts.append(f"opened at {shown(facts['opened_at'])}")
    parts += map(appointment_in_words, facts.get("appointments", ()))
    if facts.get("appointments_complete") and not facts.get("appointments"):
        parts.append("no appointments")
    if facts.get("aliases"):
        parts.append(f"also named {', '.join(facts['aliases'])}")
    if facts.get("shared_aliases"):
        parts.append(f"refers to {', '.join(facts['shared_aliases'])}")
    if facts.get("snapshot"):
        parts.append("a snapshot of the order")
    return output.clean("; ".join(parts))


def appointment_in_words(appointment: Mapping[str, Any]) -> str:
    """`appointment a1 scheduled for 2026-03-03T12:00:00Z`."""
    start, end = appointment.get("starts_at"), appointment.get("ends_at")
    when = f" for {shown(start)}" if start else ""
    until = f" to {shown(end)}" if start and end else ""
    # An appointment without a number has its start as its id, which is not repeated.
    named = "" if start and str(appointment["id"]).startswith(start[:19]) else f"{appointment['id']} "
    return f"appointment {named}{appointment['status']}{when}{until}"


def block(value: object) -> Text:
    """Any JSON as an indented block."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return Text("\n".join(f"  {output.clean(line)}" for line in text.splitlines()))
