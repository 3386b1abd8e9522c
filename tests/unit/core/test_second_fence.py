"""The fence once more, before a call that another one preceded; and what becomes of a call that it held back."""

from __future__ import annotations

import pytest
from unit.core.book import MAY_HAVE_APPLIED, Book, answered, opened, sent
from unit.core.support import ACCOUNT, ORDER, at, phase, rebuilt

from app.contract import CancelOutcome, Phase
from app.core.aggregate import JobKind
from app.core.cancellation import Cause, State, Waiting
from app.core.commands import CheckFence, ReleaseClaim

NOT_OUT = [
    lambda: answered(CancelOutcome.RETRY),
    lambda: answered(CancelOutcome.INDETERMINATE),
    lambda: answered(CancelOutcome.ACCEPTED),
]


def test_what_may_still_leave_leaves_and_nothing_is_noted_of_it() -> None:
    book = sent()
    before = list(book.log)
    assert book.recheck(20) is True
    assert book.log == before


def test_what_was_closed_meanwhile_ends_with_the_evidence() -> None:
    book = sent()
    done = phase("done", 15, Phase.COMPLETED)
    book.hear(done)
    assert book.cancellation.state is State.SENDING, "it might have left by then"
    assert book.recheck(20) is False
    assert (book.cancellation.state, book.cancellation.cause) == (State.REVOKED, Cause.WINDOW_CLOSED)
    assert book.cancellation.evidence == (done.id,)
    assert book.aggregate == rebuilt(book.log)


def test_a_deadline_that_passed_meanwhile_ends_it() -> None:
    book = sent(deadline=15)
    assert book.recheck(15) is False
    assert (book.cancellation.state, book.cancellation.cause) == (State.EXPIRED, Cause.DEADLINE_PASSED)


@pytest.mark.parametrize("deadline", [None, 60.0])
def test_where_an_earlier_call_may_have_worked_that_is_looked_into_first(deadline: float | None) -> None:
    book = answered(MAY_HAVE_APPLIED, deadline=deadline)
    book.send()
    if deadline is None:
        book.hear(phase("done", 15, Phase.COMPLETED))
    assert book.recheck(70) is False
    assert (book.cancellation.state, book.cancellation.waiting) == (State.INDETERMINATE, Waiting.PROBE)


def test_of_what_was_forced_only_new_evidence_holds_it_back() -> None:
    book = Book()
    book.hear(phase("done", 0, Phase.COMPLETED))
    book.request_cancel(10, force=True)
    book.send()
    assert book.recheck(20) is True
    book.hear(phase("gone", 25, Phase.CANCELED))
    assert book.recheck(30) is False


@pytest.mark.parametrize("make", NOT_OUT, ids=["retry", "indeterminate", "accepted"])
def test_what_is_no_longer_on_its_way_may_not_leave_and_was_not_held_back(make: type[Book]) -> None:
    book = make()
    before, known = list(book.log), book.cancellation
    assert book.recheck(20) is False
    book.hold_back()
    assert (book.log, book.cancellation) == (before, known)


def test_what_nobody_knows_may_not_leave() -> None:
    book = opened()
    before = list(book.log)
    assert book.enter(CheckFence(ACCOUNT, ORDER, at(20), "att-nobody", "can-nobody")) is False
    book.enter(ReleaseClaim(ACCOUNT, ORDER, at(20), "att-nobody", "can-nobody"))
    assert book.log == before


def test_what_was_held_back_waits_for_its_turn_and_has_failed_in_nothing() -> None:
    book = sent()
    book.hold_back()
    assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.SEND_SLOT)
    assert (book.cancellation.failures, book.cancellation.may_have_applied) == (0, False)
    assert (book.job().kind, book.job().due_at) == (JobKind.CANCEL, book.unit.now), "at once"
    book.send()
    book.answer(CancelOutcome.REFUSED)
    assert book.cancellation.state is State.REFUSED, "the refusal is believed"
    assert book.aggregate == rebuilt(book.log)
