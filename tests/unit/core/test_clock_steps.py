"""Our clock is set back or forward: what came in later still counts as newer, for sources that state no times."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random

import pytest
from unit.core.book import Book
from unit.core.support import ACCOUNT, ORDER, T0, at, phase

from app.contract import CancelOutcome, CancelResult, Facts, ParsedEvent, Phase, Source
from app.core.commands import ClaimJob, RecordEvents
from app.core.event import to_event
from app.core.folding import replay
from app.core.results import RecordProbe, RecordResult, asked_at


def untimed(key: str, phase: Phase, heard: float) -> RecordEvents:
    """A webhook whose source states no time, heard of at `heard` by our clock."""
    seen = ParsedEvent(ORDER, "order.updated", key.encode(), Facts(phase=phase))
    return RecordEvents(ACCOUNT, ORDER, at(heard), (to_event(seen, ACCOUNT, at(heard), Source.WEBHOOK, None),))


def test_a_closing_event_is_not_older_than_an_opening_one_that_came_before_it() -> None:
    book = Book()
    book.enter(untimed("opens", Phase.OPEN, 10))
    book.enter(untimed("closes", Phase.IN_PROGRESS, 7))
    assert book.aggregate.order.phase is Phase.IN_PROGRESS
    received = [each.received_at for each in book.log]
    assert received == sorted(set(received))
    book.enter(untimed("opens again", Phase.OPEN, 8))
    assert book.aggregate.order.phase is Phase.OPEN
    again = replay(book.log)
    assert again is not None
    assert again.aggregate == book.aggregate


def test_what_one_webhook_says_stays_of_one_moment() -> None:
    book = Book()
    book.enter(untimed("opens", Phase.OPEN, 10))
    closes, opens = untimed("closes", Phase.COMPLETED, 7).events + untimed("opens again", Phase.OPEN, 7).events
    book.enter(RecordEvents(ACCOUNT, ORDER, at(7), (closes, opens)))
    assert book.aggregate.order.phase is Phase.COMPLETED, "the one further along, as ever"
    assert len({each.received_at for each in book.log[1:]}) == 1


def test_a_time_that_the_source_states_stays() -> None:
    book = Book()
    book.hear(phase("opens", 10, Phase.OPEN))
    book.hear(phase("earlier", 5, Phase.IN_PROGRESS, heard=7))
    assert [each.occurred_at for each in book.log] == [at(10), at(5)]
    assert book.aggregate.order.phase is Phase.OPEN


def test_what_is_read_again_keeps_its_time_of_receipt() -> None:
    book = Book()
    book.enter(untimed("closes", Phase.IN_PROGRESS, 10))
    kept = untimed("opened long ago", Phase.OPEN, 7)
    book.enter(RecordEvents(ACCOUNT, ORDER, kept.now, kept.events, again=True))
    assert book.aggregate.order.phase is Phase.IN_PROGRESS


@pytest.mark.parametrize("set_back_s", [0.0, 3.0])
def test_a_webhook_after_a_snapshot_outruns_it(set_back_s: float) -> None:
    """The source states times, but the clock by which the probe was timed was ahead."""
    book = Book()
    book.hear(phase("opens", 0, Phase.OPEN))
    book.enter(RecordProbe(ACCOUNT, ORDER, at(10), "att", at(10), Facts(phase=Phase.OPEN)))
    book.hear(phase("closes", 10.5 - 3, Phase.COMPLETED, heard=10.5 - set_back_s))
    assert book.aggregate.order.phase is Phase.COMPLETED


def test_a_cancel_that_succeeded_is_newer_than_what_was_known() -> None:
    book = Book()
    book.hear(phase("opens", 10, Phase.OPEN))
    book.request_cancel(10)
    book.send()
    done = CancelResult(CancelOutcome.SUCCEEDED, "done")
    book.enter(
        RecordResult(ACCOUNT, ORDER, at(5), book.aggregate.live[0].last_attempt, book.aggregate.live[0].id, done)
    )
    assert book.aggregate.order.phase is Phase.CANCELED
    assert book.log[-1].occurred_at > at(10)


@dataclass
class World:
    """Webhooks and probes of one order, none with a time of its own, under a clock that is set now and then."""

    random: Random
    book: Book = field(default_factory=Book)
    true_s: float = 0.0
    """What no clock shows."""
    ahead_s: float = 0.0
    told: list[tuple[int, Phase]] = field(default_factory=list)
    """What was learned, with the number of the moment of which it is."""
    moment: int = 0
    asked: tuple[int, float, datetime, datetime | None] | None = None
    was_set: bool = False

    @property
    def clock(self) -> datetime:
        return T0 + timedelta(seconds=self.true_s + self.ahead_s)

    def hear(self) -> None:
        said = self.random.choice([Phase.OPEN, Phase.IN_PROGRESS])
        seen = ParsedEvent(ORDER, "order.updated", str(self.moment).encode(), Facts(phase=said))
        event = to_event(seen, ACCOUNT, self.clock, Source.WEBHOOK, None)
        self.book.enter(RecordEvents(ACCOUNT, ORDER, self.clock, (event,)))
        self.told.append((self.moment, said))

    def probe(self) -> None:
        if self.asked is None:
            self.asked, self.was_set = (self.moment, self.true_s, self.clock, self.book.aggregate.latest), False
            return
        moment, began_s, began_at, latest = self.asked
        self.asked, said = None, self.random.choice([Phase.OPEN, Phase.IN_PROGRESS])
        when = asked_at(began_at, self.true_s - began_s, self.clock, latest)
        self.book.enter(RecordProbe(ACCOUNT, ORDER, self.clock, f"att-{moment}", when, Facts(phase=said)))
        self.told.append((moment, said))

    def set_clock(self) -> None:
        if not self.was_set:
            self.was_set = True
            self.ahead_s += self.random.choice([-3600, -3, -1, 1, 3, 3600])


@pytest.mark.parametrize("seed", range(4))
def test_the_latest_knowledge_counts_however_the_clock_is_set(seed: int) -> None:
    for number in range(40):
        world = World(Random(f"{seed}-{number}"))  # noqa: S311 - a seed makes it repeatable
        for world.moment in range(30):
            world.true_s += world.random.choice([0.01, 0.3, 2.0])
            world.random.choice([world.hear, world.hear, world.probe, world.set_clock])()
            if world.asked is None:
                world.was_set = False
            if world.told:
                assert world.book.aggregate.order.phase is max(world.told)[1], number
        again = replay(world.book.log)
        assert again is not None
        assert again.aggregate == world.book.aggregate


def test_a_probe_s_claim_says_what_was_known() -> None:
    book = Book()
    book.hear(phase("unclear", 10, Phase.UNKNOWN))
    claim = ClaimJob(ACCOUNT, ORDER, at(20), "att", book.job().kind, None, 60)
    assert book.enter(claim).latest == at(10)
