from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from app.contract import Cancelable, InvalidCancel, Order, Phase
from handlers.notpanel.rules import Rules, check, verdict

NOW = datetime(2026, 3, 2, 16, tzinfo=UTC)
YES, NO, UNKNOWN = Cancelable.YES, Cancelable.NO, Cancelable.UNKNOWN


def order(phase: Phase, flag: Any = None, status: str | None = None, /, **sources: str) -> Order:
    known = {"phase": "evt_p", "provider_status": "evt_p", **sources}
    attributes = {"service": "7", "service_cancel": flag}
    return Order("a", "1", phase=phase, provider_status=status, attributes=attributes, version=2, sources=known)


@pytest.mark.parametrize(
    ("known", "cancelable", "reason"),
    [
        (order(Phase.CANCELED), NO, "already_canceled"),
        (order(Phase.CANCELED, True), NO, "already_canceled"),
        (order(Phase.COMPLETED, True), NO, "completed"),
        (order(Phase.OPEN), YES, "not_started"),
        (order(Phase.OPEN, True), YES, "not_started"),
        (order(Phase.OPEN, False), YES, "not_started"),
        (order(Phase.IN_PROGRESS, True), YES, "service_cancelable"),
        (order(Phase.IN_PROGRESS, False), NO, "service_not_cancelable"),
        (order(Phase.IN_PROGRESS), UNKNOWN, "service_unclear"),
        (order(Phase.IN_PROGRESS, "true"), UNKNOWN, "service_unclear"),
        (order(Phase.UNKNOWN, True), UNKNOWN, "status_unclear"),
        (order(Phase.UNKNOWN, False), UNKNOWN, "status_unclear"),
    ],
)
def test_the_verdict(known: Order, cancelable: Cancelable, reason: str) -> None:
    found = verdict(known, Rules(), NOW)
    assert (found.cancelable, found.reason) == (cancelable, reason)
    assert found.evidence == ("evt_p",)
    assert found.changes_at is None


@pytest.mark.parametrize(
    ("flag", "cancelable", "reason"),
    [
        (None, YES, "assumed_cancelable"),
        (True, YES, "service_cancelable"),
        (False, NO, "service_not_cancelable"),
    ],
)
def test_a_missing_flag_may_be_assumed_and_a_known_one_counts(flag: Any, cancelable: Cancelable, reason: str) -> None:
    found = verdict(order(Phase.IN_PROGRESS, flag), Rules(in_flight_without_flag="yes"), NOW)
    assert (found.cancelable, found.reason) == (cancelable, reason)


def test_a_missing_flag_is_never_a_no() -> None:
    with pytest.raises(ValueError, match="in_flight_without_flag"):
        Rules.model_validate({"in_flight_without_flag": "no"})


def test_an_explanation_names_the_service_and_the_present_status_only() -> None:
    assert "service 7" in verdict(order(Phase.IN_PROGRESS, False), Rules(), NOW).explanation
    assert "partial" in verdict(order(Phase.COMPLETED, None, "partial"), Rules(), NOW).explanation
    behind = order(Phase.COMPLETED, None, "in_progress", phase="evt_later")
    assert "in_progress" not in verdict(behind, Rules(), NOW).explanation
    assert verdict(behind, Rules(), NOW).evidence == ("evt_later",)


@pytest.mark.parametrize(("reason", "note"), [("", None), ("x" * 5000, ""), ("changed my mind\n", " ")])
def test_notpanel_takes_no_words_so_any_reason_is_good(reason: str, note: str | None) -> None:
    check(reason, note, Rules())


@pytest.mark.parametrize("words", ["a\0b", "a\udcff"])
def test_words_that_cannot_be_kept_are_refused(words: str) -> None:
    for given, field in (((words, None), "reason"), (("why", words), "note")):
        with pytest.raises(InvalidCancel) as caught:
            check(*given, Rules())
        assert caught.value.field == field
