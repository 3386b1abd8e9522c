"""Cancels whose orders are probed before each try, by the attempt itself: the verdict on what it says decides."""

from __future__ import annotations

from datetime import timedelta

import pytest
from unit.core.book import Book, opened, sent, unseen
from unit.core.support import ACCOUNT, ORDER, phase, rebuilt

from app.contract import CancelOutcome, Facts, Phase, Source
from app.core.aggregate import JobKind
from app.core.cancellation import Cause, State, Waiting
from app.core.commands import PROBE_FRESH
from app.core.results import CANCEL_RETRIES, RecordProbeBefore

Outcome = CancelOutcome


def tell_before(book: Book, found: Phase | Facts, now: float | None = None, asked: float | None = None) -> None:
    """The attempt that is out probed its order instead of canceling it."""
    cancel = book.aggregate.live[0]
    facts = found if isinstance(found, Facts) else Facts(phase=found)
    asked_at = book.at(now if asked is None else asked)
    book.enter(
        RecordProbeBefore(ACCOUNT, ORDER, book.at(now), cancel.last_attempt, asked_at, facts, cancellation=cancel.id)
    )


def test_what_the_probe_says_is_known_before_the_cancel_is_sent() -> None:
    book = sent()
    tell_before(book, Facts(phase=Phase.OPEN, attributes={"version": 7}))
    cancel = book.cancellation
    assert (cancel.state, cancel.waiting, cancel.cause) == (State.SCHEDULED, Waiting.SEND_SLOT, Cause.PROBED)
    assert (cancel.attempts, cancel.failures, cancel.due_at) == (0, 0, book.at(None))
    granted = book.send()
    assert granted.order.attributes == {"version": 7}
    assert granted.request is not None
    assert (granted.request.id, granted.request.attempt, granted.request.probed) == (cancel.id, 1, True)
    book.answer(Outcome.SUCCEEDED)
    assert (book.cancellation.state, book.cancellation.attempts) == (State.SUCCEEDED, 1)
    assert book.aggregate == rebuilt(book.log)


@pytest.mark.parametrize("found", [Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED])
def test_the_verdict_on_it_may_be_no(found: Phase) -> None:
    book = sent()
    tell_before(book, found)
    cancel = book.cancellation
    assert (cancel.state, cancel.cause, cancel.attempts) == (State.REJECTED, Cause.NOT_CANCELABLE, 0)
    assert cancel.evidence, "the probe's own event"
    assert book.aggregate.order.phase is found
    assert book.aggregate == rebuilt(book.log)


def test_what_was_heard_since_the_probe_was_sent_outranks_it() -> None:
    book = sent()
    book.hear(phase("closing", 12, Phase.IN_PROGRESS))
    tell_before(book, Phase.OPEN, 13, asked=11)
    assert (book.cancellation.state, book.aggregate.order.phase) == (State.REJECTED, Phase.IN_PROGRESS)


def test_an_order_nobody_heard_of_is_probed_once() -> None:
    book = unseen()
    book.ask()
    book.tell(Phase.OPEN)
    granted = book.send()
    assert granted.request is not None
    assert granted.request.probed


def test_what_was_not_just_probed_is_probed_again() -> None:
    """After a failed try, after a while, and before the first try."""
    book = opened()
    book.request_cancel(10)
    first = book.send()
    assert first.request is not None
    assert not first.request.probed
    tell_before(book, Phase.OPEN)
    book.send()
    book.answer(Outcome.RETRY)
    after_failure = book.send()
    assert after_failure.request is not None
    assert (after_failure.request.probed, after_failure.request.attempt) == (False, 2)
    assert after_failure.request.id == first.request.id
    tell_before(book, Phase.OPEN)
    assert book.cancellation.failures == 1, "tries are counted, and not their probes"
    late = (book.at(None) + PROBE_FRESH + timedelta(seconds=1) - book.at(0)).total_seconds()
    granted = book.claim(late)
    assert granted is not None
    assert granted.request is not None
    assert not granted.request.probed


def test_tries_are_bounded_as_without_it() -> None:
    book = sent()
    for _ in range(CANCEL_RETRIES.attempts):
        assert book.cancellation.state is State.SENDING
        tell_before(book, Phase.OPEN)
        book.send()
        book.answer(Outcome.RETRY)
        if not book.cancellation.final:
            book.send()
    assert (book.cancellation.state, book.cancellation.attempts) == (State.FAILED, CANCEL_RETRIES.attempts)


def test_a_probe_that_nobody_waits_for_is_still_a_fact() -> None:
    book = sent()
    tell_before(book, Phase.OPEN)
    cancel = book.cancellation
    book.enter(
        RecordProbeBefore(
            ACCOUNT, ORDER, book.at(None), "att-other", book.at(None), Facts(phase=Phase.OPEN), cancellation=cancel.id
        )
    )
    assert book.cancellation == cancel
    assert book.log[-1].source is Source.PROVIDER


def test_what_cannot_be_recorded_is_probed_again() -> None:
    book = sent()
    cancel = book.aggregate.live[0]
    told = RecordProbeBefore(
        ACCOUNT,
        ORDER,
        book.at(None),
        cancel.last_attempt,
        book.at(None),
        Facts(phase=Phase.OPEN),
        cancellation=cancel.id,
    )
    book.enter(told.without_facts("too odd"))
    assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.PROBE)
    assert book.job().kind is JobKind.PROBE
