"""Decisions in the log: one event for one decision, or for several policies that decided at the same moment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import asdict, replace

from app.core.event import Event
from app.core.event_types import (
    POLICY_DECIDED,
    POLICY_PREFIX,
    JoinedDecision,
    PolicyDecision,
    PolicyDecisions,
)

DECISIONS_MAX = 500
"""Decisions in one event at most."""


def is_decision(event: Event) -> bool:
    """Whether a policy decided by the event, or several did."""
    return event.type.startswith(POLICY_PREFIX)


def together(decisions: Sequence[PolicyDecision]) -> PolicyDecisions:
    """Decisions on one order at one moment, with what they have in common written once."""
    texts: dict[str, int] = {}
    joined = []
    for decision in decisions:
        places = [texts.setdefault(clause.text, len(texts)) for clause in decision.clauses]
        errors = tuple(clause.error for clause in decision.clauses)
        fields = asdict(decision)
        del fields["verdict"], fields["evidence"]
        fields |= {"clauses": places, "values": [clause.value for clause in decision.clauses]}
        joined.append(JoinedDecision(**fields, errors=errors if any(errors) else ()))
    return PolicyDecisions(
        decisions=joined, clauses=list(texts), verdict=decisions[0].verdict, evidence=decisions[0].evidence
    )


def decisions_of(event: Event) -> list[dict[str, Any]]:
    """The decisions of an event, each with the fields of a `PolicyDecision`; none of an event of another kind."""
    if not is_decision(event):
        return []
    if event.type != POLICY_DECIDED:
        return [event.data]
    common = {name: event.data[name] for name in ("verdict", "evidence")}
    return [_alone(decision, event.data["clauses"], common) for decision in event.data["decisions"]]


def decision_of(event: Event, policy: str) -> Event:
    """The event as if it were about one of the policies that decided by it, with its id."""
    return next((alone for alone in split(event) if alone.data.get("policy") == policy), event)


def split(event: Event) -> list[Event]:
    """The event as one for each decision, all with its id; any other event as it is."""
    if event.type != POLICY_DECIDED:
        return [event]
    return [replace(event, type=POLICY_PREFIX + data["outcome"], data=data) for data in decisions_of(event)]


def _alone(decision: Mapping[str, Any], texts: Sequence[str], common: Mapping[str, Any]) -> dict[str, Any]:
    values, errors = decision["values"], decision.get("errors") or [""] * len(decision["values"])
    clauses = [
        {"text": texts[place], "value": value, **({"error": error} if error else {})}
        for place, value, error in zip(decision["clauses"], values, errors, strict=True)
    ]
    own = {name: value for name, value in decision.items() if name not in ("values", "errors")}
    return {**own, "clauses": clauses, **common}
