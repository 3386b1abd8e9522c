"""The picture of an order's life: what stands where."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from app.web.console.picture import Picture, draw

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
YES, NO = {"cancelable": "yes", "reason": "open"}, {"cancelable": "no", "reason": "delivery_near"}


def picture(now: datetime, *appointments: datetime, closes_at: datetime | None = None, phase: str = "open") -> Picture:
    entries: list[dict[str, Any]] = []
    for number in range(3):
        at = (START + number * HOUR).isoformat()
        event = {"id": f"evt_{number}", "type": "order.updated", "received_at": at, "data": {}}
        entries.append({"kind": "event", "at": at, "event": event})
    changes_at = closes_at and closes_at.isoformat()
    verdict = {**YES, "changes_at": changes_at}
    entries.append({"kind": "verdict", "at": START.isoformat(), "verdict": verdict})
    booked = [{"status": "booked", "starts_at": time.isoformat(), "ends_at": None} for time in appointments]
    then = {**NO, "changes_at": None} if closes_at else None
    explained = {"verdict": verdict, "then": then, "closes_at": changes_at}
    drawn = draw(entries, {"phase": phase, "appointments": booked}, explained, now)
    assert drawn is not None
    return drawn


def test_what_follows_the_window_is_drawn_as_expected() -> None:
    drawn = picture(START + 3 * HOUR, closes_at=START + 4 * HOUR)
    past, ahead, then = drawn.windows
    assert [(window.kind, window.later) for window in drawn.windows] == [("yes", False), ("yes", True), ("no", True)]
    assert past.x + past.width == ahead.x
    assert drawn.now is not None
    assert drawn.closes is not None
    assert (ahead.x, then.x) == (drawn.now.x, drawn.closes.x)


def test_what_is_far_ahead_does_not_press_the_events_together() -> None:
    near = picture(START + 3 * HOUR, START + 8 * HOUR)
    far = picture(START + 3 * HOUR, START + timedelta(days=9), START + timedelta(days=10))
    assert (len(near.appointments), near.further) == (1, "")
    assert (far.appointments, far.further) == ([], "booked 11 Mar 09:00 and 1 more →")
    for drawn in (near, far):
        assert drawn.dots[-1].x > 20


def test_labels_do_not_cover_each_other() -> None:
    crowded = picture(START + 400 * HOUR)
    assert [dot.label for dot in crowded.dots] == ["order.updated", "", ""] or len(crowded.dots) == 1
    roomy = picture(START + 2 * HOUR, phase="completed")
    assert [(dot.label, dot.anchor) for dot in roomy.dots][-1] == ("order.updated", "end")
