"""Which events forbid a cancel, worked out once more and in another way than the code under test does."""

from __future__ import annotations

from datetime import datetime, timedelta

from unit.core.support import CUTOFF_S

from app.contract import Phase, Source
from app.core.event import Event

RANKS = [None, Phase.OPEN, Phase.UNKNOWN, Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED]


def closing_evidence(facts: list[Event], now: datetime) -> set[str] | None:
    """The events that forbid a cancel at `now`; None where nothing does."""
    order_phase, of, starts_at, booked = Phase.UNKNOWN, "", None, ""
    turn: list[Event] = []
    for told in sorted(facts, key=lambda each: (each.occurred_at, RANKS.index(each.facts.phase), each.id)):
        racers = [each for each in turn if told.facts.snapshot and races(each, told)]
        turn = [*(each for each in turn if each not in racers), told, *racers]
    for each in turn:
        said = each.facts.phase
        stuck = order_phase is Phase.CANCELED or (order_phase is Phase.COMPLETED and said is not Phase.CANCELED)
        if said is not None and (each.facts.snapshot or not stuck):
            order_phase, of = said, each.id
        if each.facts.appointments:
            starts_at, booked = each.facts.appointments[0].starts_at, each.id
    if order_phase is Phase.UNKNOWN:
        return None
    if order_phase is not Phase.OPEN:
        return {of}
    too_close = starts_at is not None and starts_at - timedelta(seconds=CUTOFF_S) <= now
    return {booked} if too_close else None


def races(event: Event, snapshot: Event) -> bool:
    """It came in after the question, is hardly older by its own clock, and further along than the answer."""
    heard_later = event.source is Source.WEBHOOK and event.received_at > snapshot.occurred_at
    close = snapshot.occurred_at - event.occurred_at <= timedelta(seconds=120)
    further = RANKS.index(event.facts.phase) > RANKS.index(snapshot.facts.phase)
    return heard_later and close and further and event.facts.phase is not None and not event.facts.snapshot
