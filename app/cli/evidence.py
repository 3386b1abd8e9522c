"""Verdicts and the events they rest on, in words: what `orders`, `cancel` and `cancellations` have in common."""

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
    """The events of these ids; one that cannot be had is left with its id."""
    wanted = ids[:EVIDENCE_MAX]
    found = api.get_all([f"/v1/events/{segment(id)}" for id in wanted])
    return [event or {"id": id} for id, event in zip(wanted, found, strict=True)]


def spelled(events: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Events as evidence: what each is, and what it states."""
    for event in events:
        if "type" not in event:
            yield Text(f"  {output.clean(event['id'])}  (not in the log)")
            continue
        kind, id, when = output.clean(event["type"]), output.clean(event["id"]), shown(event["occurred_at"])
        yield Text.assemble("  ", (kind, "bold"), f"  {when}  ", (f"{id} ({event['source']})", "dim"))
        stated = facts_in_words(event["facts"])
        if stated:
            yield Text(f"    {stated}")


def event_in_words(event: Mapping[str, Any]) -> str:
    """What an event says, in one line: of its order, or of what became of our dealings with it."""
    data = event["data"]
    if "clauses" in data:
        return decision_in_words(data).plain
    if "tags" in data:
        return output.clean(f"tags {', '.join(data['tags']) or 'none'}")
    # Only a cause is a word of ours: what a provider or a person wrote keeps its spelling.
    said = data.get("changes", {}).get("detail") or data.get("detail") or data.get("reason")
    return facts_in_words(event["facts"]) or output.clean(said or str(data.get("cause") or "").replace("_", " "))


def facts_in_words(facts: Mapping[str, Any]) -> str:
    """What an event states of its order, in one line."""
    said = [f"{name.replace('_', ' ')} {facts[name]}" for name in ("phase", "provider_status") if facts.get(name)]
    if facts.get("opened_at"):
        said.append(f"opened at {shown(facts['opened_at'])}")
    said += [appointment_in_words(each) for each in facts.get("appointments", ())]
    if facts.get("appointments_complete") and not facts.get("appointments"):
        said.append("no appointments")
    if facts.get("aliases"):
        said.append(f"also named {', '.join(facts['aliases'])}")
    if facts.get("shared_aliases"):
        said.append(f"refers to {', '.join(facts['shared_aliases'])}")
    if facts.get("snapshot"):
        said.append("the provider's present word")
    return output.clean("; ".join(said))


def appointment_in_words(appointment: Mapping[str, Any]) -> str:
    """`appointment a1 scheduled for 2026-03-03T12:00:00Z`."""
    start, end = appointment.get("starts_at"), appointment.get("ends_at")
    when = f" for {shown(start)}" if start else ""
    until = f" to {shown(end)}" if start and end else ""
    # Where the provider numbers no appointments their start is their id, and need not be said twice.
    named = "" if start and str(appointment["id"]).startswith(start[:19]) else f"{appointment['id']} "
    return f"appointment {named}{appointment['status']}{when}{until}"


def block(value: object) -> Text:
    """Any JSON as an indented block."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    return Text("\n".join(f"  {output.clean(line)}" for line in text.splitlines()))
