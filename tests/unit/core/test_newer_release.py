"""The log of a newer release: what this one does not know is kept as it stands, and nothing is sent in spite of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from unit.core.book import Book, opened
from unit.core.support import ACCOUNT, CANCELLATION, ORDER, at, decoded, phase, rebuilt

from app.contract import Facts, Phase, Source
from app.core import cancellation
from app.core.aggregate import OrderAggregate, is_fact, job_for
from app.core.cancellation import NEWER, Cancellation, Cause, State, Waiting
from app.core.event import Event, event_id, internal_event
from app.core.policy.model import Outcome


def step(book: Book, to: str, cause: str, **changes: Any) -> None:
    """A step that only a newer release takes."""
    known = book.cancellation
    number = known.step + 1
    data = {"cancellation": known.id, "step": number, "cause": cause, "changes": changes}
    event = internal_event(ACCOUNT, ORDER, f"cancellation.{to}", "", at(20), Source.CLOCK, data)
    id = event_id(ACCOUNT, ORDER, cancellation.EVENT_PREFIX, f"{known.id}\0{number}".encode())
    book.log.append(decoded(replace(event, id=id)))
    book.unit.aggregate = rebuilt(book.log)
    moved = cancellation.apply(known, book.log[-1])
    assert moved is not None
    book.moved[known.id] = moved


def waiting() -> Book:
    book = opened()
    book.request_cancel(10)
    return book


def test_a_cause_that_is_not_known_leads_where_its_type_says() -> None:
    book = waiting()
    step(book, "revoked", "superseded", detail="Another one was better.")
    assert (book.cancellation.state, book.cancellation.cause) == (State.REVOKED, "superseded")
    assert book.cancellation.detail == "Another one was better."
    assert job_for(book.aggregate) is None
    assert msgspec.json.decode(msgspec.json.encode(book.cancellation), type=Cancellation) == book.cancellation


def test_so_does_a_known_cause_from_a_state_from_which_it_leads_nowhere_here() -> None:
    book = waiting()
    step(book, "accepted", str(Cause.STILL_CANCELABLE), waiting="webhook")
    assert book.cancellation.state is State.ACCEPTED


@pytest.mark.parametrize(
    ("to", "cause", "changes"),
    [
        ("scheduled", "second_approval_wanted", {"waiting": "second_approval", "due_at": at(30).isoformat()}),
        ("scheduled", "retimed", {"waiting": "second_approval", "due_at": at(30).isoformat()}),
        ("deferred", "deferred", {"waiting": "turn", "due_at": at(30).isoformat()}),
    ],
    ids=["cause", "what it waits for", "state"],
)
def test_what_cannot_be_read_is_not_sent_and_can_be_revoked(to: str, cause: str, changes: dict[str, Any]) -> None:
    book = waiting()
    step(book, to, cause, **changes)
    known = book.cancellation
    assert (known.state, known.waiting, known.due_at, known.detail) == (State.SCHEDULED, Waiting.NOTHING, None, NEWER)
    assert known.cause == cause
    assert book.aggregate.live == (known,)
    assert job_for(book.aggregate) is None
    book.revoke()
    assert book.cancellation.state is State.REVOKED
    assert len({each.id for each in book.log}) == len(book.log), "the number of the unknown step is not used again"
    assert book.aggregate == rebuilt(book.log)


def test_an_event_closes_it_as_ever() -> None:
    book = waiting()
    step(book, "deferred", "deferred")
    book.hear(phase("canceled", 30, Phase.CANCELED))
    assert book.cancellation.state is State.REVOKED


def test_a_cancellation_that_begins_in_an_unknown_way_is_not_there() -> None:
    data = {"cancellation": CANCELLATION, "step": 1, "cause": "dreamed", "changes": {"id": CANCELLATION}}
    event = internal_event(ACCOUNT, ORDER, "cancellation.scheduled", "1", at(1), Source.OPERATOR, data)
    assert cancellation.apply(None, event) is None
    assert rebuilt([phase("opens", 0, Phase.OPEN), event]).live == ()


@pytest.mark.parametrize("source", [Source.CLOCK, Source.OPERATOR])
@pytest.mark.parametrize("type", ["delivery.failed", "probe.postponed", "cancellations.counted"])
def test_types_of_its_own_are_no_facts(type: str, source: Source) -> None:
    book = opened()
    event = internal_event(ACCOUNT, ORDER, type, "1", at(50), source, {"some": "thing"})
    assert not is_fact(event)
    assert rebuilt([*book.log, event]) == book.aggregate


def test_a_fact_of_an_unknown_type_is_folded_by_what_it_says() -> None:
    event = replace(phase("blessed", 50, Phase.IN_PROGRESS), type="order.blessed")
    assert rebuilt([*opened().log, event]).order.phase is Phase.IN_PROGRESS


def test_decisions_that_are_not_known_are_kept() -> None:
    book = opened()
    said = {"policy": "p", "outcome": "pondered", "condition_hash": "s", "number": 7}
    log = [*book.log, internal_event(ACCOUNT, ORDER, "policy.pondered", "7", at(50), Source.CLOCK, said)]
    aggregate = rebuilt(log)
    (state,) = aggregate.policy_states
    assert (state.outcome, state.number) == ("pondered", 7)
    assert msgspec.json.decode(msgspec.json.encode(aggregate), type=OrderAggregate) == aggregate
    odd = internal_event(
        ACCOUNT, ORDER, "policy.pondered", "8", at(51), Source.CLOCK, {**said, "trigger": ["by", "what"]}
    )
    assert rebuilt([*log, odd]) == aggregate


def test_a_source_that_is_not_known_stands_as_it_is() -> None:
    event = decoded(Event("evt_1", ACCOUNT, ORDER, "order.seen", at(0), at(0), Source("satellite"), Facts()))
    assert (event.source, isinstance(event.source, Source)) == ("satellite", True)
    assert not is_fact(event)
    assert list(Source) == [Source.WEBHOOK, Source.PROVIDER, Source.CLOCK, Source.OPERATOR]
    with pytest.raises(ValueError, match="7"):
        Outcome(7)
