"""Decisions of policies, in words: what `policies`, `orders explain` and `events` have in common."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from app.cli import output
from app.cli.output import Column, Row
from app.cli.times import shown, shown_with_distance

WOULD_ACT = "shadowed"
"""The outcome of a trial in which the policy would act."""
_AS_OF_NOW = frozenset({"unmatched", "waiting", "held", "dormant"})
"""What may come out differently any time. All else rests on what the clauses gave when it was decided."""
_CANCEL_IS_WRONG = "The cancel's "
"""How the detail begins where not the condition failed, but the provider takes no such cancel."""


def outcome_in_words(told: Mapping[str, Any]) -> str:
    """How it stands: `It waits until 2026-03-03T12:00:00Z (in 3 h): 48 h since order.opened_at.`."""
    outcome, detail = told["outcome"], _detail(told) or "Its condition does not hold."
    if outcome == "waiting":
        until = f" until {shown_with_distance(told['due_at'])}" if told.get("due_at") else ""
        return f"It waits{until}: {detail}"
    if outcome == "refrained":
        return f"It would act, but refrains: {detail}"
    if outcome == "failed" and not detail.startswith(_CANCEL_IS_WRONG):
        return f"Its condition cannot be evaluated: {detail}"
    return detail


def clauses_table(clauses: Sequence[Row]) -> RenderableType:
    """Every clause with what it gives; and where one gives neither true nor false, why."""
    has_errors = any(each.get("error") for each in clauses)
    return output.table((*CLAUSES, ERROR) if has_errors else CLAUSES, clauses)


def clause_in_words(clause: Row) -> Text:
    """A clause and its value: `order.phase == "open" → true`."""
    error = _error(clause)
    return Text.assemble(f"{_plain(clause['text'])} → ", _value(clause), f": {error}" if error else "")


def decision_in_words(data: Mapping[str, Any], *, whole: bool = False) -> Text:
    """Why a decision was made, on one line: its detail, and where the condition did not hold, the clauses at fault.

    With `whole` every clause is told.
    """
    parts = [Text(detail)] if (detail := _detail(data)) else []
    if data.get("due_at"):
        parts.append(Text(f"Until {shown(data['due_at'])}."))
    fails = data["outcome"] in ("unmatched", "failed")
    told = [each for each in data["clauses"] if whole or (fails and each["value"] is not True)]
    if told:
        parts.append(Text("; ").join(clause_in_words(each) for each in told))
    return Text(" ").join(parts)


def standings(policies: Sequence[Mapping[str, Any]], timeline: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """How every policy stands to an order, with the value of every clause that led to it."""
    for each in policies:
        decided = _last_decision(each["policy"], timeline)
        rests_on_it = decided is not None and each["outcome"] not in _AS_OF_NOW
        when = f" ({shown(decided['received_at'])})" if decided is not None and rests_on_it else ""
        why = f"{when}  {outcome_in_words(each)}"
        yield Text.assemble("  ", (output.clean(each["policy"]), "bold"), ": ", output.word(each["outcome"]), why)
        clauses = decided["data"]["clauses"] if decided is not None and rests_on_it else each["clauses"]
        for clause in clauses:
            yield Text.assemble("    ", clause_in_words(clause))


def _last_decision(policy: str, timeline: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    made = [each["event"] for each in timeline if each["kind"] == "decision"]
    return next((each for each in reversed(made) if each["data"].get("policy") == policy), None)


def _detail(told: Mapping[str, Any]) -> str:
    detail = output.clean(told.get("detail", ""))
    return f"{detail}." if detail and detail[-1] not in ".!?" else detail


def _value(clause: Row) -> Text:
    if clause.get("error"):
        return output.word("error")
    return output.word("true" if clause["value"] else "false")


def _error(clause: Row) -> str:
    """Why a clause gives neither; without the clause itself, which stands beside it."""
    return _plain(clause.get("error", "")).removeprefix(f"{_plain(clause['text'])}: ")


def _plain(text: str) -> str:
    """A condition on one line, however it is written."""
    return output.clean(" ".join(text.split()))


CLAUSES = (
    Column("CLAUSE", lambda row: _plain(row["text"]), wraps=True),
    Column("VALUE", _value),
)
ERROR = Column("ERROR", _error, wraps=True)
