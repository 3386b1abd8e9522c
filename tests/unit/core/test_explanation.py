"""A verdict explained: what was tested, what would change it, and until when it holds."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace

from app.contract import Appointment, Cancelable, Order, Phase, Verdict
from app.core.explanation import ExplainedClause, VerdictExplanation, explain
from app.core.unit_of_work import AccountView
from handlers.generic import HANDLER as GENERIC
from handlers.notpanel import HANDLER as NOTPANEL
from handlers.planomatic import HANDLER as PLANOMATIC
from handlers.superloop import HANDLER as SUPERLOOP
from handlers.superloop.words import ACTIVE_STATUSES

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def explained(handler: Any, order: Order, now: datetime = NOW, **rules: Any) -> VerdictExplanation:
    view = AccountView("acme", handler, handler.rules(**rules))
    *_, result = explain(view, order, now)
    assert result is not None
    assert result.verdict == view.judge(order, now)
    assert [clause.decisive for clause in result.clauses] == [False] * (len(result.clauses) - 1) + [True]
    assert result.clauses[-1].holds
    return result


def order(phase: Phase = Phase.OPEN, **more: Any) -> Order:
    sources = {"phase": "evt_1", "provider_status": "evt_1", "appointments": "evt_2", "attributes": "evt_1"}
    return Order("acme", "1", phase=phase, version=2, last_event_at=NOW, **{"sources": sources, **more})


def by_rule(explanation: VerdictExplanation) -> dict[str, ExplainedClause]:
    return {clause.rule: clause for clause in explanation.clauses}


def summary(verdict: Verdict | None) -> tuple[str, str] | None:
    return None if verdict is None else (verdict.cancelable.value, verdict.reason)


def test_each_condition_names_what_decided_it_and_what_would_follow_otherwise() -> None:
    appointment = Appointment("a-1", "scheduled", NOW + timedelta(days=3))
    known = order(provider_status="ordered", appointments=(appointment,), attributes={"status_version": "v3"})
    known = replace(known, sources={**known.sources, "phase": "evt_2"})
    result = explained(PLANOMATIC, replace(known, phase=Phase.IN_PROGRESS))
    assert summary(result.verdict) == ("no", "appointment_confirmed")
    rules = list(by_rule(result))
    assert rules == ["never_seen", "already_canceled", "completed", "appointment_confirmed"]
    decisive = result.clauses[-1]
    (operand,) = decisive.operands
    assert (operand.field, operand.event) == ("appointments", "evt_2")
    assert operand.value[0]["status"] == "scheduled"
    assert decisive.setting is not None
    assert (decisive.setting.name, decisive.setting.value) == (
        "confirmed_appointment_statuses",
        ["scheduled", "confirmed"],
    )
    assert summary(decisive.opposite) == ("unknown", "appointment_unclear"), "as the handler judges without it"
    assert summary(by_rule(result)["completed"].opposite) == ("no", "completed")
    assert by_rule(result)["never_seen"].opposite is None, "what is known cannot be unknown"


def test_what_remains_decides_where_no_condition_holds() -> None:
    result = explained(NOTPANEL, order(Phase.UNKNOWN))
    assert summary(result.verdict) == ("unknown", "status_unclear")
    assert [clause.holds for clause in result.clauses] == [False] * (len(result.clauses) - 1) + [True]
    assert (result.clauses[-1].rule, result.clauses[-1].text) == ("status_unclear", result.verdict.explanation)
    assert summary(by_rule(result)["not_started"].opposite) == ("yes", "not_started")


def test_a_clause_says_until_when_it_holds() -> None:
    appointment = Appointment("a-1", ACTIVE_STATUSES[0], NOW + timedelta(hours=30))
    known = order(appointments=(appointment,))
    result = explained(SUPERLOOP, known)
    assert summary(result.verdict) == ("yes", "appointment_far")
    assert result.verdict.changes_at == NOW + timedelta(hours=4)
    assert summary(result.then) == ("no", "appointment_near")
    changing = {rule: clause.changes_at for rule, clause in by_rule(result).items() if clause.changes_at}
    assert changing == {"appointment_near": NOW + timedelta(hours=4)}
    assert [operand.field for operand in by_rule(result)["appointment_near"].operands] == ["appointments", "now"]
    near = explained(SUPERLOOP, known, NOW + timedelta(hours=4))
    assert summary(near.clauses[-1].opposite) == ("yes", "appointment_far")


def test_the_account_s_own_conditions_are_clauses() -> None:
    conditions = [
        {"when": "order.attributes.size == 'big'", "cancelable": "no", "reason": "too_big"},
        {"when": "order.phase == 'open'", "cancelable": "yes", "reason": "is_open"},
    ]
    result = explained(GENERIC, order(attributes={"size": "small"}), conditions=conditions)
    assert summary(result.verdict) == ("yes", "is_open")
    first = by_rule(result)["conditions.0"]
    assert (first.text, first.holds) == ("order.attributes.size == 'big'", False)
    assert [operand.field for operand in first.operands] == ["attributes"]
    assert summary(first.opposite) == ("no", "too_big")
    assert result.clauses[-1].rule == "conditions.1"


def test_old_evidence_is_a_clause() -> None:
    view = AccountView("acme", NOTPANEL, NOTPANEL.rules(), stale_after_s=60.0)
    *_, fresh = explain(view, order(), NOW)
    *_, stale = explain(view, order(), NOW + timedelta(seconds=61))
    assert fresh is not None
    assert stale is not None
    assert by_rule(fresh)["stale"].changes_at == NOW + timedelta(seconds=60)
    assert summary(stale.verdict) == ("unknown", "stale")
    assert (stale.clauses[-1].rule, summary(stale.clauses[-1].opposite)) == ("stale", ("yes", "not_started"))


def test_a_rule_that_fails_is_explained() -> None:
    def broken(_order: Order, _rules: Any, _now: datetime) -> Verdict:
        raise RuntimeError("out of order")

    handler = dataclasses.replace(NOTPANEL, verdict=broken)
    result = explained(handler, order())
    assert result.verdict.cancelable is Cancelable.UNKNOWN
    assert (result.clauses[-1].rule, result.clauses[-1].text) == ("rule_failed", result.verdict.explanation)
