"""What `force` overrules where a verdict cites no events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.contract import Cancelable, Verdict
from app.core.cancellation import Cancellation
from app.core.unit_of_work import forbids_sending

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("overruled", "now", "stopped"), [("late", "late", False), ("late", "shipped", True), ("", "shipped", True)]
)
def test_a_no_without_evidence_is_overruled_by_its_reason_only(overruled: str, now: str, stopped: bool) -> None:
    judged = Verdict(Cancelable.NO, overruled) if overruled else None
    known = Cancellation("can-1", "acme", "1", "so", NOW, NOW, overridden_evidence=(), verdict=judged)
    assert forbids_sending(known, Verdict(Cancelable.NO, now)) is stopped
