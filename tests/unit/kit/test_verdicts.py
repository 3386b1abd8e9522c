"""Verdict makers: their evidence, and the verdicts that no provider is asked for."""

from __future__ import annotations

from datetime import UTC, datetime

from app.contract import Cancelable, Order, Phase
from app.kit import verdicts

AT = datetime(2026, 3, 2, 16, tzinfo=UTC)
ORDER = Order("a", "1", provider_status="held", sources={"phase": "evt_1", "provider_status": "evt_2", "x": "evt_1"})


def test_a_verdict_cites_the_events_behind_its_fields() -> None:
    for make, cancelable in (
        (verdicts.yes, Cancelable.YES),
        (verdicts.no, Cancelable.NO),
        (verdicts.unknown, Cancelable.UNKNOWN),
    ):
        verdict = make(ORDER, "held", "It is held.", "phase", "x", "provider_status", "unheard", changes_at=AT)
        assert (verdict.cancelable, verdict.reason, verdict.explanation) == (cancelable, "held", "It is held.")
        assert verdict.evidence == ("evt_1", "evt_2")
        assert verdict.changes_at == AT
        assert make(ORDER, "held", "It is held.").changes_at is None


def test_what_has_ended_is_not_canceled() -> None:
    ends = {Phase.CANCELED: verdicts.ALREADY_CANCELED, Phase.COMPLETED: verdicts.COMPLETED}
    for phase in Phase:
        verdict = verdicts.final(Order("a", "1", phase=phase, sources={"phase": "evt_1"}), "It is done.", "It is gone.")
        if phase not in ends:
            assert verdict is None
            continue
        assert verdict is not None
        assert (verdict.cancelable, verdict.reason, verdict.evidence) == (Cancelable.NO, ends[phase], ("evt_1",))
        assert verdict.explanation == {Phase.CANCELED: "It is gone.", Phase.COMPLETED: "It is done."}[phase]


def test_a_status_is_current_if_it_came_with_the_phase() -> None:
    assert not verdicts.status_is_current(ORDER)
    assert verdicts.status_is_current(Order("a", "1", sources={"phase": "evt_1", "provider_status": "evt_1"}))
    assert (verdicts.in_parentheses("held"), verdicts.in_parentheses(None)) == (" (status held)", "")
