"""Classes of explanations."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import field

from rescind_client.model import Model
from rescind_client.models.orders import Cancelable, Source, Verdict


class Operand(Model, kw_only=True):
    """What a clause was tested on."""

    field: str
    """A field of the order, `attributes.<key>`, or `now`."""
    value: Any
    """Its value at that moment; null where nothing is known."""
    event: str | None
    """The id of the event that last set it."""


class Setting(Model, kw_only=True):
    """The parameter of the account's rules with which a clause compared."""

    name: str
    value: Any


class VerdictSummary(Model, kw_only=True):
    """The verdict that a decision rests on."""

    cancelable: Cancelable
    """Whether the order could be canceled."""
    reason: str
    """A code of the handler's, lower_snake_case."""


class Clause(Model, kw_only=True):
    """A condition that the verdict tested."""

    rule: str
    """Its code, lower_snake_case."""
    text: str
    """The condition in a sentence; or in CEL, where it is the account's own."""
    holds: bool
    decisive: bool
    """Whether the verdict follows from this clause: it is the first that decides, and the last here."""
    operands: list[Operand]
    """What it was tested on, and which events set that."""
    setting: Setting | None
    """The parameter of the account's rules that it was compared with."""
    changes_at: datetime | None
    """When time alone turns it round, if the verdict changes then."""
    opposite: VerdictSummary | None
    """The verdict if it were the other way round; null where that is the same, or cannot be told."""


class ExplainedEvent(Model, kw_only=True):
    """An event that a clause or the verdict rests on."""

    id: str
    type: str
    source: Source
    occurred_at: datetime
    received_at: datetime


class PolicyTest(Model, kw_only=True):
    """What a policy would decide."""

    policy: str
    account: str
    order: str
    at: datetime
    outcome: str
    """`shadowed`: it would cancel the order; else an outcome of its decisions."""
    detail: str = ""
    due_at: str | None = None
    clauses: list[dict[str, Any]]
    verdict: dict[str, Any]
    evidence: list[str] = field(default_factory=list)
    decided: list[dict[str, Any]] = field(default_factory=list)
    """Its decisions on the order so far, oldest first; empty in a test."""


class Explanation(Model, kw_only=True):
    """Why an order can or cannot be canceled."""

    account: str
    order: str
    known_at: datetime | None
    """Only events received by then were counted; null: all."""
    verdict: Verdict
    closes_at: datetime | None
    """When time alone closes the order's window."""
    then: Verdict | None
    """The verdict as of its `changes_at`, unless an event comes before."""
    clauses: list[Clause]
    """In the order in which they were tested; the last is decisive."""
    events: list[ExplainedEvent]
    """The events that clauses and verdict rest on."""
    policies: list[PolicyTest]
    """What the account's policies decided, with the value of each clause of their conditions."""
