"""Decisions of policies in words, for `policies`, `orders explain` and `events`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from app.cli import output
from app.cli.output import Column, Row
from app.cli.times import shown, shown_with_distance

WOULD_ACT = "shadowed"
"""The outcome of a policy test in which the policy would act."""
_AS_OF_NOW = frozenset({"unmatched", "waiting", "held", "dormant"})
"""Outcomes that are evaluated now. The others rest on the clauses as they were when the policy decided."""
_CANCEL_IS_WRONG = "The cancel's "
"""The start of the detail if the provider does not accept the policy's cancel."""


def outcome_in_words(evaluated: Mapping[str, Any]) -> str:
    """The outcome: `It waits until 2026-03-03T12:00:00Z (in 3 h): 48 h since order.opened_at.`."""
    outcome, detail = evaluated["outcome"], _detail(evaluated) or "Its condition does not hold."
    if outcome == "waiting":
        until = f" until {shown_with_distance(evaluated['due_at'])}" if evaluated.get("due_at") else ""
        return f"It waits{until}: {detail}"
    if outcome == "refrained":
        return f"It would act, but refrains: {detail}"
    if outcome == "failed" and not detail.startswith(_CANCEL_IS_WRONG):
        return f"Its condition cannot be evaluated: {detail}"
    return detail


def clauses_table(clauses: Sequence[Row]) -> RenderableType:
    """Every clause with its value, and the error of a clause that has none."""
    has_errors = any(clause.get("error") for clause in clauses)
    return output.table((*CLAUSES, ERROR) if has_errors else CLAUSES, clauses)


def clause_in_words(clause: Row) -> Text:
    """A clause and its value: `order.phase == "open" → true`."""
    error = _error(clause)
    return Text.assemble(f"{_plain(clause['text'])} → ", _value(clause), f": {error}" if error else "")


def decision_in_words(data: Mapping[str, Any], *, whole: bool = False) -> Text:
    """A decision on one line: its detail, and the clauses that did not hold; with `whole` all clauses."""
    parts = [Text(detail)] if (detail := _detail(data)) else []
    if data.get("due_at"):
        parts.append(Text(f"Until {shown(data['due_at'])}."))
    fails = data["outcome"] in ("unmatched", "failed")
    clauses = [clause for clause in data["clauses"] if whole or (fails and clause["value"] is not True)]
    if clauses:
        parts.append(Text("; ").join(map(clause_in_words, clauses)))
    return Text(" ").join(parts)


def policy_states(policies: Sequence[Mapping[str, Any]], timeline: Sequence[Mapping[str, Any]]) -> Iterator[Text]:
    """The outcome of every policy on an order, with the value of every clause."""
    for state in policies:
        decision = None if state["outcome"] in _AS_OF_NOW else _last_decision(state["policy"], timeline)
        when = "" if decision is None else f" ({shown(decision['received_at'])})"
        why = f"{when}  {outcome_in_words(state)}"
        yield Text.assemble("  ", (output.clean(state["policy"]), "bold"), ": ", output.word(state["outcome"]), why)
        clauses = state["clauses"] if decision is None else decision["data"]["clauses"]
        for clause in clauses:
            yield Text.assemble("    ", clause_in_words(clause))


def _last_decision(policy: str, timeline: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    decisions = [entry["event"] for entry in timeline if entry["kind"] == "decision"]
    return next((event for event in reversed(decisions) if event["data"].get("policy") == policy), None)


def _detail(decision: Mapping[str, Any]) -> str:
    detail = output.clean(decision.get("detail", ""))
    return f"{detail}." if detail and detail[-1] not in ".!?" else detail


def _value(clause: Row) -> Text:
    if clause.get("error"):
        return output.word("error")
    return output.word("true" if clause["value"] else "false")


def _error(clause: Row) -> str:
    """The error of a clause, without the clause itself, which is in the next column."""
    return _plain(clause.get("error", "")).removeprefix(f"{_plain(clause['text'])}: ")


def _plain(text: str) -> str:
    """A condition on one line."""
    return output.clean(" ".join(text.split()))


CLAUSES = (
    Column("CLAUSE", lambda row: _plain(row["text"]), wraps=True),
    Column("VALUE", _value),
)
ERROR = Column("ERROR", _error, wraps=True)
