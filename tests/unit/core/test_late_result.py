"""Worked examples: answers of other attempts, and to former credentials."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from unit.core.book import sent, unseen
from unit.core.support import ACCOUNT, CANCELLATION, IDEMPOTENT, ORDER, at, rebuilt

from app.contract import CancelOutcome, CancelResult, Phase
from app.core.cancellation import Cause, State, Waiting
from app.core.commands import ReleaseClaim
from app.core.event import Event
from app.core.results import RecordProbe, RecordResult

Outcome = CancelOutcome


LATE = CancelResult(Outcome.SUCCEEDED, "It is canceled.")


def test_the_answer_of_another_attempt_changes_nothing() -> None:
    book = sent()
    before = list(book.log)
    for outcome in Outcome:
        if outcome is not Outcome.SUCCEEDED:
            book.enter(RecordResult(ACCOUNT, ORDER, at(12), "att-other", CANCELLATION, CancelResult(outcome)))
    assert book.log == before
    assert not book.recheck_of("att-other")
    book.enter(ReleaseClaim(ACCOUNT, ORDER, at(12), "att-other", CANCELLATION))
    assert book.log == before
    book.answer(Outcome.REFUSED, 13)
    assert book.cancellation.state is State.REFUSED


def test_a_late_success_is_what_the_provider_said_and_settles_what_was_indeterminate() -> None:
    book = sent()
    attempt = book.cancellation.last_attempt
    book.interrupt(11)
    assert book.cancellation.state is State.INDETERMINATE
    book.enter(RecordResult(ACCOUNT, ORDER, at(12), attempt, CANCELLATION, LATE))
    assert book.aggregate.order.phase is Phase.CANCELED
    assert (book.cancellation.state, book.cancellation.cause) == (State.SUCCEEDED, Cause.ORDER_CANCELED)
    assert book.cancellation.evidence == book.aggregate.order.evidence("phase")
    assert book.aggregate == rebuilt(book.log)
    before = list(book.log)
    book.enter(RecordResult(ACCOUNT, ORDER, at(13), attempt, CANCELLATION, LATE))
    assert book.log == before, "told again, it is no news"


def test_a_late_success_beside_another_attempt_leaves_that_one_to_its_answer() -> None:
    book = sent(IDEMPOTENT)
    first = book.cancellation.last_attempt
    book.interrupt(11)
    book.send()
    assert book.cancellation.last_attempt != first
    book.enter(RecordResult(ACCOUNT, ORDER, at(12), first, CANCELLATION, LATE))
    assert (book.aggregate.order.phase, book.cancellation.state) == (Phase.CANCELED, State.SENDING)
    book.answer(Outcome.REFUSED, 13)
    assert book.cancellation.state is State.SUCCEEDED


def test_a_log_of_before_attempts_were_noted_replays_as_it_did() -> None:
    book = sent()
    old = [without_attempt(each) for each in book.log]
    folded = rebuilt(old)
    assert folded == replace(book.aggregate, live=(replace(book.cancellation, last_attempt=""),))
    book.unit.aggregate, book.log = folded, old
    book.enter(RecordResult(ACCOUNT, ORDER, at(12), "att-any", CANCELLATION, LATE))
    assert book.cancellation.state is State.SUCCEEDED


def without_attempt(event: Event) -> Event:
    if "changes" not in event.data:
        return event
    changes = {key: value for key, value in event.data["changes"].items() if key != "last_attempt"}
    return replace(event, data={**event.data, "changes": changes})


# -- Refused credentials ---------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, 0, 1])
def test_credentials_that_were_replaced_meanwhile_pause_nothing(version: int | None) -> None:
    book = sent()
    refused = CancelResult(Outcome.UNAUTHORIZED, "no such key")
    answer = RecordResult(ACCOUNT, ORDER, at(12), book.cancellation.last_attempt, CANCELLATION, refused, version)
    book.enter(answer)
    late = version == 1
    assert (book.unit.pause_reason, book.cancellation.waiting) == (
        (None, Waiting.RETRY) if late else ("no such key", Waiting.CREDENTIALS)
    )
    asks = unseen()
    asks.request_cancel(10)
    asks.ask()
    failed = RecordProbe(ACCOUNT, ORDER, at(12), "prb", at(11), failure="no such key", outcome=Outcome.UNAUTHORIZED)
    asks.enter(replace(failed, version=version))
    assert (asks.unit.pause_reason is None) is late
