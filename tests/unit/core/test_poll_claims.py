"""A question that nothing stored asks for: when it may be put, and that its answer harms nothing."""

from __future__ import annotations

import pytest
from unit.core.book import Book, answered, opened, sent, unseen
from unit.core.support import ACCOUNT, LEASE_S, ORDER, at, phase, rebuilt

from app.contract import CancelOutcome, Facts, Phase
from app.core.aggregate import JobKind, job_for
from app.core.cancellation import State
from app.core.commands import ClaimJob, Granted
from app.core.results import RecordProbe


def poll(book: Book, now: float = 100) -> Granted | None:
    granted: Granted | None = book.enter(
        ClaimJob(ACCOUNT, ORDER, at(now), f"poll-{now}", JobKind.PROBE, None, LEASE_S, poll=True)
    )
    return granted


def fails(book: Book, outcome: CancelOutcome, now: float = 101) -> None:
    book.enter(RecordProbe(ACCOUNT, ORDER, at(now), f"poll-{now}", at(now - 1), failure="no luck", outcome=outcome))


def test_an_order_that_is_open_and_that_nothing_is_due_for_may_be_asked_about() -> None:
    book = opened()
    before = list(book.log)
    granted = poll(book)
    assert granted is not None
    assert (granted.order.id, granted.cancellation) == (ORDER, None)
    assert book.log == before, "to ask is no event"


@pytest.mark.parametrize("over", [Phase.CANCELED, Phase.COMPLETED])
def test_an_order_that_ended_meanwhile_is_not_asked_about(over: Phase) -> None:
    book = opened()
    book.hear(phase("over", 5, over))
    assert poll(book) is None


def test_an_order_with_a_job_of_its_own_is_not_asked_about_besides() -> None:
    uncertain = opened()
    uncertain.hear(phase("odd", 5, Phase.UNKNOWN))
    for book in (uncertain, unseen(), sent(), answered(CancelOutcome.ACCEPTED), answered(CancelOutcome.INDETERMINATE)):
        assert job_for(book.aggregate) is not None
        assert poll(book) is None


@pytest.mark.parametrize("outcome", [each for each in CancelOutcome if each is not CancelOutcome.SUCCEEDED])
def test_a_question_that_is_not_answered_leaves_no_job_behind(outcome: CancelOutcome) -> None:
    book = opened()
    before = list(book.log)
    assert poll(book) is not None
    fails(book, outcome)
    assert (book.log, job_for(book.aggregate)) == (before, None)


def test_a_cancel_requested_meanwhile_goes_on_with_the_result() -> None:
    book = opened()
    assert poll(book, 100) is not None
    book.request_cancel(100)
    book.enter(RecordProbe(ACCOUNT, ORDER, at(101), "poll-100", at(100), Facts(phase=Phase.COMPLETED)))
    assert book.cancellation.state is State.REVOKED
    assert book.aggregate == rebuilt(book.log)


def test_the_answer_to_an_old_question_undoes_no_webhook_that_came_since() -> None:
    book = opened()
    assert poll(book, 100) is not None
    book.hear(phase("done", 99, Phase.COMPLETED, heard=101))
    book.enter(RecordProbe(ACCOUNT, ORDER, at(102), "poll-100", at(100), Facts(phase=Phase.OPEN)))
    assert book.aggregate.order.phase is Phase.COMPLETED
    assert book.aggregate == rebuilt(book.log)
