"""Events in words: one line that says what an event states or did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.web.console.rendering import absolute, words

LINE_MAX = 300


def event_in_words(event: Mapping[str, Any]) -> str:
    """The facts of an event, or what happened to a cancellation, a probe, tags."""
    parts, size = list[str](), 0
    for part in _facts(event["facts"]):
        parts.append(part)
        size += len(part)
        if size > LINE_MAX:
            break  # An event may have 100 appointments, and a page 50 such events.
    line = "; ".join(parts) or _data(event["data"])
    return line if len(line) <= LINE_MAX else line[: LINE_MAX - 1] + "…"


def _facts(facts: Mapping[str, Any]) -> Iterator[str]:
    if facts.get("phase"):
        yield f"phase {words(facts['phase'])}"
    if facts.get("provider_status"):
        yield f"provider status {facts['provider_status']}"
    if facts.get("opened_at"):
        yield f"opened at {absolute(facts['opened_at'])}"
    appointments = facts.get("appointments", ())
    yield from map(_appointment, appointments)
    if facts.get("appointments_complete") and not appointments:
        yield "no appointments"
    if facts.get("aliases"):
        yield f"also named {', '.join(facts['aliases'])}"
    if facts.get("shared_aliases"):
        yield f"refers to {', '.join(facts['shared_aliases'])}"
    if facts.get("snapshot"):
        yield "a snapshot of the order"


def _appointment(appointment: Mapping[str, Any]) -> str:
    start, end = appointment.get("starts_at"), appointment.get("ends_at")
    when = f" for {absolute(start)}" if start else ""
    until = f" to {absolute(end)}" if start and end else ""
    # An appointment without a number has its start as its id.
    named = "" if start and str(appointment["id"]).startswith(start[:19]) else f"{appointment['id']} "
    return f"appointment {named}{appointment['status']}{when}{until}"


def _data(data: Mapping[str, Any]) -> str:
    if "decisions" in data:
        return " ".join(f"{one['policy']}: {one.get('detail') or words(one['outcome'])}" for one in data["decisions"])
    if "clauses" in data:
        by = f"policy {data['policy']}: " if data.get("policy") else ""
        return f"{by}{data.get('detail') or words(data.get('outcome'))}"
    if "tags" in data:
        return f"tags {', '.join(data['tags']) or 'none'}"
    # A cause is our own word; what a provider or a person wrote keeps its spelling.
    detail = data.get("changes", {}).get("detail") or data.get("detail") or data.get("reason")
    return str(detail or words(data.get("cause")))
