"""Verdicts with their evidence, and the reasons that mean the same at every provider."""

from __future__ import annotations

from datetime import datetime

from app.contract import Cancelable, Order, Phase, Verdict
from app.kit.clauses import clause, current_trace

ALREADY_CANCELED = "already_canceled"
COMPLETED = "completed"
IN_PROGRESS = "in_progress"
STATUS_CANCELABLE = "status_cancelable"
STATUS_NOT_CANCELABLE = "status_not_cancelable"
STATUS_UNCLEAR = "status_unclear"


def yes(order: Order, reason: str, text: str, *fields: str, changes_at: datetime | None = None) -> Verdict:
    """The order can be canceled. The evidence is the events that last set `fields` of the order."""
    return Verdict(Cancelable.YES, reason, text, order.evidence(*fields), changes_at)


def no(order: Order, reason: str, text: str, *fields: str, changes_at: datetime | None = None) -> Verdict:
    """The order cannot be canceled; `fields` as in `yes`, at least one: a rejection carries evidence."""
    return Verdict(Cancelable.NO, reason, text, order.evidence(*fields), changes_at)


def unknown(order: Order, reason: str, text: str, *fields: str, changes_at: datetime | None = None) -> Verdict:
    """Nobody knows whether the order can be canceled; `fields` as in `yes`."""
    return Verdict(Cancelable.UNKNOWN, reason, text, order.evidence(*fields), changes_at)


def final(order: Order, completed: str, canceled: str = "The order is canceled already.") -> Verdict | None:
    """No, for an order that is canceled or completed; None for any other. The texts are one sentence each."""
    if is_in(order, Phase.CANCELED, ALREADY_CANCELED):
        return no(order, ALREADY_CANCELED, canceled, "phase")
    if is_in(order, Phase.COMPLETED, COMPLETED):
        return no(order, COMPLETED, completed, "phase")
    return None


_PHASES = {
    Phase.OPEN: "The order is open.",
    Phase.IN_PROGRESS: "The order is in progress.",
    Phase.COMPLETED: "The order is completed.",
    Phase.CANCELED: "The order is canceled.",
    Phase.UNKNOWN: "The order's phase is unknown.",
}


def is_in(order: Order, phase: Phase, rule: str) -> bool:
    """Whether the order is in the phase, as the clause `rule`."""
    is_so = order.phase is phase
    return is_so if current_trace() is None else clause(rule, _PHASES[phase], is_so, "phase")


def status_is_current(order: Order) -> bool:
    """Did one event set both the status and the phase? Otherwise something happened after the status was stated."""
    return order.sources.get("phase") == order.sources.get("provider_status")


def in_parentheses(status: str | None) -> str:
    """The status for the middle of a sentence, with a space before it; "" without one."""
    return f" (status {status})" if status else ""
