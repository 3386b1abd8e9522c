"""When subscribers are told that an order closes soon."""

from __future__ import annotations

from datetime import timedelta

from unit.core.support import at

from app.contract import Cancelable
from app.core.outbound.told import NOTHING, Told, closing

MINUTE = timedelta(minutes=1)
LEADS = (60 * MINUTE, 10 * MINUTE)


def told(notice: str | None) -> Told:
    return Told(Cancelable.YES, "open", None, notice)


def test_each_lead_is_due_once_for_each_closing_time() -> None:
    early = closing(None, at(7200), LEADS, at(0))
    assert (early.due, early.next_at, early.notice) == ((), at(3600), None)
    first = closing(None, at(7200), LEADS, at(3600))
    assert (first.due, first.next_at) == (LEADS[:1], at(6600))
    assert closing(told(first.notice), at(7200), LEADS, at(3700)) == closing(None, at(7200), LEADS[1:], at(3700))
    second = closing(told(first.notice), at(7200), LEADS, at(6600))
    assert (second.due, second.next_at) == (LEADS[1:], None)
    assert closing(told(second.notice), at(7200), LEADS, at(6601)).due == ()
    assert closing(told(second.notice), at(7201), LEADS, at(6601)).due == LEADS, "it has moved"


def test_nothing_is_due_of_what_is_closed_or_does_not_close() -> None:
    assert closing(None, None, LEADS, at(0)) is NOTHING
    assert closing(None, at(10), (), at(0)) is NOTHING
    assert closing(None, at(10), LEADS, at(10)) is NOTHING, "whatever a handler says"
