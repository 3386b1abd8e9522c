"""Failures that may also mean “not cancelable”: a probe decides after the second one, or what is known."""

from __future__ import annotations

from datetime import timedelta

from unit.core.book import CRASH, Book, answered, sent
from unit.core.support import BLIND, PROBED, at, rebuilt

from app.contract import CancelOutcome, Phase
from app.core.aggregate import JobKind
from app.core.ambiguous import TRIES_ALONE, TRIES_OF_CANCELABLE
from app.core.cancellation import Cause, State, Waiting
from app.core.results import CANCEL_RETRIES

DAYS_S = 3 * 86_400.0


def crashes(book: Book, *, others: bool = True) -> None:
    moment = book.at(None) + timedelta(seconds=1) if others else None
    book.answer(CRASH, others_at=moment)


def strange() -> Book:
    """A cancel call about an order of which nothing is known, and which nobody can ask about."""
    book = Book(BLIND, "send")
    book.request_cancel(10, deadline=DAYS_S)
    book.send()
    return book


def test_after_the_first_it_is_sent_again_and_after_the_second_it_is_probed() -> None:
    book = answered(CRASH)
    assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.RETRY)
    book.send()
    crashes(book)
    assert (book.cancellation.state, book.cancellation.waiting) == (State.INDETERMINATE, Waiting.PROBE)
    assert book.job().kind is JobKind.PROBE


def test_what_the_probe_says_decides() -> None:
    for found, state in (
        (Phase.CANCELED, State.SUCCEEDED),
        (Phase.COMPLETED, State.REFUSED),
        (Phase.OPEN, State.SCHEDULED),
    ):
        book = answered(CRASH)
        book.send()
        crashes(book)
        book.ask()
        book.tell(found)
        assert book.cancellation.state is state
        assert state is not State.REFUSED or book.cancellation.evidence
        assert rebuilt(book.log) == book.aggregate


def test_where_no_probe_can_tell_and_nothing_says_that_it_can_be_canceled_it_is_refused() -> None:
    book = strange()
    crashes(book)
    book.send()
    crashes(book)
    assert (book.cancellation.state, book.cancellation.cause) == (State.REFUSED, Cause.REFUSED)
    assert "2 cancels of this order failed" in book.cancellation.detail
    assert "500." in book.cancellation.detail
    assert rebuilt(book.log) == book.aggregate


def crashed_twice() -> Book:
    """An order whose cancel was answered with 500 twice, and that a probe is to settle."""
    book = Book(PROBED, "send")
    book.request_cancel(10, deadline=DAYS_S)
    book.send()
    crashes(book)
    book.send()
    crashes(book)
    return book


def test_a_probe_that_cannot_be_made_is_as_good_as_none() -> None:
    book = crashed_twice()
    book.ask()
    book.fail_to_tell(CancelOutcome.INDETERMINATE)
    assert book.cancellation.state is State.REFUSED


def test_a_probe_that_leaves_it_open_is_as_good_as_none() -> None:
    book = crashed_twice()
    book.ask()
    book.tell(Phase.UNKNOWN)
    assert book.cancellation.state is State.REFUSED


def test_probes_that_fail_again_and_again_are_as_good_as_none() -> None:
    book = crashed_twice()
    for _ in range(12):
        book.ask()
        book.fail_to_tell()
    assert book.cancellation.state is State.REFUSED


def test_what_can_be_canceled_by_all_that_is_known_is_tried_a_few_times_more() -> None:
    book, tries = sent(BLIND, deadline=DAYS_S), 1
    crashes(book)
    while not book.cancellation.final:
        book.send()
        tries += 1
        crashes(book)
    assert (tries, book.cancellation.state) == (TRIES_OF_CANCELABLE, State.FAILED)
    assert "ask the provider" in book.cancellation.detail
    assert book.cancellation.evidence


def test_the_same_with_a_probe_that_says_so_each_time() -> None:
    book, tries = sent(deadline=DAYS_S), 1
    crashes(book)
    while not book.cancellation.final:
        if book.job().kind is JobKind.PROBE:
            book.ask()
            book.tell(Phase.OPEN)
        else:
            book.send()
            tries += 1
            crashes(book)
    assert (tries, book.cancellation.state) == (TRIES_OF_CANCELABLE, State.FAILED)


def test_while_nobody_else_s_cancel_is_answered_it_may_be_the_provider_and_is_tried_for_longer() -> None:
    book, tries = strange(), 1
    crashes(book, others=False)
    while not book.cancellation.final:
        book.send()
        tries += 1
        crashes(book, others=False)
    assert (tries, book.cancellation.state) == (TRIES_ALONE, State.REFUSED)
    book, tries = sent(deadline=DAYS_S), 1
    crashes(book, others=False)
    while not book.cancellation.final:
        if book.job().kind is JobKind.PROBE:
            book.ask()
            book.tell(Phase.OPEN)
            continue
        if book.claim((book.job().due_at - at(0)).total_seconds()) is None:
            break
        tries += 1
        crashes(book, others=False)
    assert book.cancellation.state is State.EXPIRED, "until its deadline"
    assert tries > 3 * CANCEL_RETRIES.attempts


def test_while_the_provider_is_down_it_says_nothing_of_the_order() -> None:
    book = strange()
    for _ in range(20):
        book.answer(CRASH, down=True)
        assert (book.cancellation.state, book.cancellation.ambiguous_failures) == (State.SCHEDULED, 0)
        book.send()


def test_a_call_that_was_lost_before_is_not_sent_again_blindly() -> None:
    book = sent(deadline=DAYS_S)
    book.answer(CancelOutcome.INDETERMINATE)
    book.ask()
    book.tell(Phase.OPEN)
    for _ in range(2):
        book.send()
        crashes(book)
    book.ask()
    book.fail_to_tell(CancelOutcome.INDETERMINATE)
    assert (book.cancellation.state, book.cancellation.waiting) == (State.INDETERMINATE, Waiting.WEBHOOK)


def test_past_its_deadline_it_ends() -> None:
    book = Book(BLIND, "send")
    book.request_cancel(10, deadline=100.0)
    book.send()
    crashes(book, others=False)
    book.send()
    book.answer(CRASH, 200)
    assert book.cancellation.state is State.REFUSED


def test_an_order_that_crashes_stands_behind_the_others() -> None:
    book = answered(CRASH)
    assert book.job().failures > 0
    book.send()
    crashes(book)
    assert book.job().failures > 0
    book.ask()
    book.tell(Phase.OPEN)
    assert book.job().failures > 0, "whatever the probe said"
