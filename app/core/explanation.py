"""Why an order can or cannot be canceled: the verdict, clause by clause.

A clause is a condition that the verdict tested. What would have to change for another verdict is found by judging the
order again, with one clause at a time taken for its opposite; when a clause changes by time alone, by judging it as of
the verdict's `changes_at`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, to_builtins

from app.contract import Order, Verdict
from app.core.unit_of_work import AccountView
from app.core.verdict import RULE_FAILED
from app.kit.clauses import Clause, tracing

OPPOSITES_MAX = 50
"""Clauses that are taken for their opposite, so that the work is bounded where an account has many conditions."""
_NOW = "now"
_ATTRIBUTE = "attributes."


class Operand(Struct, frozen=True):
    """What a clause was tested on."""

    field: str
    """A field of the order, `attributes.<key>`, or `now`."""
    value: Any
    """Its value at that moment; null where nothing is known."""
    event: str | None
    """The id of the event that last set it."""


class Setting(Struct, frozen=True):
    """The parameter of the account's rules with which a clause compared."""

    name: str
    value: Any


class ExplainedClause(Struct, frozen=True, kw_only=True):
    """A condition that the verdict tested."""

    rule: str
    """Its code, lower_snake_case."""
    text: str
    """The condition in a sentence; or in CEL, where it is the account's own."""
    holds: bool
    decisive: bool
    """Whether the verdict follows from this clause: it is the first that decides, and the last here."""
    operands: list[Operand]
    setting: Setting | None
    changes_at: datetime | None
    """When it changes by time alone, if that is when the verdict changes."""
    opposite: Verdict | None
    """The verdict if this clause were the other way round; null where it would be the same, or cannot be told."""


class VerdictExplanation(Struct, frozen=True):
    """A verdict, its clauses in the order in which they were tested, and the verdict that time alone brings."""

    verdict: Verdict
    clauses: list[ExplainedClause]
    then: Verdict | None
    """The verdict as of its `changes_at`."""


def explain(account: AccountView, order: Order, now: datetime) -> Iterator[VerdictExplanation | None]:
    """Explain the verdict on an order at `now`: None after each piece of work, at last the explanation."""
    with tracing() as trace:
        verdict = account.judge(order, now)
    clauses = list(trace.clauses.values())
    if not clauses or not clauses[-1].holds:
        # None of those that were tested decides: the verdict is what remains.
        clauses.append(Clause(verdict.reason, verdict.explanation, holds=True, fields=(), setting=None))
    then, changing = None, set[str]()
    if verdict.changes_at is not None:
        with tracing() as later:
            then = account.judge(order, verdict.changes_at)
        changing = {
            one.rule for one in clauses if one.rule in later.clauses and later.clauses[one.rule].holds != one.holds
        }
    explained = []
    for number, one in enumerate(clauses, 1):
        yield None
        explained.append(
            ExplainedClause(
                rule=one.rule,
                text=one.text,
                holds=one.holds,
                decisive=number == len(clauses),
                operands=[_operand(order, field, now) for field in one.fields],
                setting=_setting(account.rules, one.setting),
                changes_at=verdict.changes_at if one.rule in changing else None,
                opposite=_opposite(account, order, now, one, verdict) if number <= OPPOSITES_MAX else None,
            )
        )
    yield VerdictExplanation(verdict, explained, then)


def _opposite(account: AccountView, order: Order, now: datetime, clause: Clause, verdict: Verdict) -> Verdict | None:
    """The verdict if the clause were the other way round, where that is another one."""
    if not clause.fields and clause.setting is None:
        return None  # what it says of the order or the account cannot be otherwise
    with tracing(opposite=clause.rule):
        other = account.judge(order, now)
    same = (other.cancelable, other.reason) == (verdict.cancelable, verdict.reason)
    # A handler may take for granted what its clause said, and fail without it.
    return None if same or other.reason == RULE_FAILED else other


def _operand(order: Order, field: str, now: datetime) -> Operand:
    if field == _NOW:
        return Operand(_NOW, to_builtins(now), None)
    if field.startswith(_ATTRIBUTE):
        value = order.attributes.get(field.removeprefix(_ATTRIBUTE))
        return Operand(field, value, order.sources.get("attributes"))
    value = to_builtins(getattr(order, field, None))
    return Operand(field, None if value is UNSET else value, order.sources.get(field))


def _setting(rules: Any, name: str | None) -> Setting | None:
    value = None if name is None else getattr(rules, name, UNSET)
    return None if name is None or value is UNSET else Setting(name, rules.model_dump(mode="json")[name])
