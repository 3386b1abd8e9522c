"""Cancelability by the account's own conditions in CEL, or by the phase where none of them holds."""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, Field

from app.contract import Cancelable, InvalidCancel, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_choice, check_length, check_no_note
from app.kit.cel import order_expression
from app.kit.cel.expression import ExpressionFailed, InvalidExpression, Kind
from app.kit.clauses import clause
from app.kit.verdicts import IN_PROGRESS, STATUS_UNCLEAR, final, in_parentheses, is_in
from handlers.generic.words import Part

OPEN = "open"
CONDITION_UNCLEAR = "condition_unclear"
_FIELDS = ("phase", "provider_status", "appointments", "attributes")
"""The order's fields that have evidence: a condition may depend on any of them."""


def _checked(text: str, wanted: Kind) -> str:
    try:
        order_expression.compile(text, wanted)
    except InvalidExpression as error:
        raise ValueError(str(error)) from None
    return text


def _condition(text: str) -> str:
    return _checked(text, Kind.BOOL)


def _moment(text: str) -> str:
    return _checked(text, Kind.TIMESTAMP)


class Condition(Part):
    """One condition, and the verdict where it holds."""

    when: Annotated[str, AfterValidator(_condition)] = Field(
        description="In CEL, over the order: order.phase == 'open' && size(order.appointments) == 0."
    )
    cancelable: Cancelable = Field(description="The verdict: yes, no or unknown.")
    reason: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60, description="Its code, lower_snake_case.")
    explanation: str = Field("", max_length=500, description="Why, in a sentence for people.")
    changes_at: Annotated[str, AfterValidator(_moment)] | None = Field(
        None, description="In CEL: when `when` begins or ceases to hold by time alone; null: never."
    )


class Rules(BaseRules):
    """The source's rules; every account may have its own."""

    conditions: tuple[Condition, ...] = Field(
        (), max_length=50, description="The first that holds decides; if none holds, the phase does."
    )
    in_progress: Cancelable = Field(
        Cancelable.NO, description="The verdict on an order in progress if no condition holds."
    )
    reasons: tuple[str, ...] = Field((), description="Words that the source accepts as a reason; none: any.")
    reason_required: bool = Field(default=True, description="Whether a cancel needs a reason.")
    reason_chars_max: int = Field(255, ge=1, le=10_000, description="The length of a reason, at most.")
    note_required: bool = Field(default=False, description="Whether a cancel needs a note.")
    note_chars_max: int = Field(
        1000,
        ge=0,
        le=10_000,
        description="The length of a note, at most; 0 if the source takes none: then one is refused.",
    )


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:
    """May the order be canceled? Total over phases and statuses."""
    return final(order, "The order is completed.") or _by_conditions(order, rules, now)


def check(reason: str, note: str | None, rules: Rules) -> None:
    """Raise `InvalidCancel` where this account's source would not accept the arguments."""
    if rules.reason_required and not reason.strip():
        raise InvalidCancel("reason", "give a reason: the source wants one (rule reason_required)")
    if rules.reasons and reason.strip():
        check_choice("reason", reason, rules.reasons, "the source accepts only these reasons")
    if not rules.note_chars_max:
        check_no_note("The source", note)
    if rules.note_required and (note is None or not note.strip()):
        raise InvalidCancel("note", "the source requires a note: say why in your words")
    for field, words, most in (("reason", reason, rules.reason_chars_max), ("note", note or "", rules.note_chars_max)):
        check_length(field, words, most, f"the {field} may have {most} characters")


def _by_conditions(order: Order, rules: Rules, now: datetime) -> Verdict:
    changes: list[datetime] = []
    for number, condition in enumerate(rules.conditions):
        when = order_expression.compile(condition.when)
        try:
            holds = when.evaluate(order, now)
            changes_at = _changes_at(condition, order, now, holds=holds)
        except ExpressionFailed as error:
            return _unclear(order, condition, error, changes)
        if changes_at is not None:
            changes.append(changes_at)
        if clause(f"conditions.{number}", condition.when, holds, *_fields(when.names), setting="conditions"):
            return _by_condition(order, condition, changes)
    return _by_phase(order, rules, changes)


@cache
def _fields(names: frozenset[str]) -> tuple[str, ...]:
    """The order's fields that a condition with these names reads, and `now`."""
    return tuple(sorted(name.removeprefix("order.") for name in names))


def _changes_at(condition: Condition, order: Order, now: datetime, *, holds: bool) -> datetime | None:
    if condition.changes_at is None:
        return None
    try:
        moment: datetime | None = order_expression.compile(condition.changes_at, Kind.TIMESTAMP).evaluate(order, now)
    except ExpressionFailed:
        if holds:
            raise
        # The expression names what the order does not have, such as an appointment.
        return None
    return moment if moment is not None and moment > now else None


def _unclear(order: Order, condition: Condition, error: ExpressionFailed, changes: list[datetime]) -> Verdict:
    text = f"The condition {condition.reason} cannot be judged on what is known of this order ({error})."
    return _verdict(order, Cancelable.UNKNOWN, CONDITION_UNCLEAR, text, changes)


def _by_condition(order: Order, condition: Condition, changes: list[datetime]) -> Verdict:
    text = condition.explanation.strip() or f"The account's condition {condition.reason} holds."
    text = text if text.endswith((".", "!")) else f"{text}."
    cancelable = condition.cancelable
    if cancelable is Cancelable.NO and order.phase is Phase.UNKNOWN:
        # A later event made the phase uncertain: what was known before proves nothing.
        cancelable, text = Cancelable.UNKNOWN, f"{text} But it is uncertain how the order stands; probe it."
    elif cancelable is Cancelable.NO and not order.evidence(*_FIELDS):
        cancelable, text = Cancelable.UNKNOWN, f"{text} But no event proves it."
    return _verdict(order, cancelable, condition.reason, text, changes)


def _by_phase(order: Order, rules: Rules, changes: list[datetime]) -> Verdict:
    status = in_parentheses(order.provider_status)
    if is_in(order, Phase.OPEN, OPEN):
        return _verdict(order, Cancelable.YES, OPEN, f"The order is open{status}.", changes)
    if is_in(order, Phase.IN_PROGRESS, IN_PROGRESS):
        return _verdict(order, rules.in_progress, IN_PROGRESS, f"The order is in progress{status}.", changes)
    text = f"What is known of the order{status} does not tell how it stands; probe it."
    return _verdict(order, Cancelable.UNKNOWN, STATUS_UNCLEAR, text, changes)


def _verdict(order: Order, cancelable: Cancelable, reason: str, text: str, changes: list[datetime]) -> Verdict:
    return Verdict(cancelable, reason, text, order.evidence(*_FIELDS), min(changes, default=None))
