"""Worked examples: what follows when no answer comes, and when probes fail."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from unit.core.book import Book, answered, due_s, opened, sent, unseen
from unit.core.support import BLIND, IDEMPOTENT, PROBED, phase, rebuilt

from app.contract import CancelOutcome, Handler, Phase
from app.core.aggregate import PROBE_RETRIES, JobKind, job_for
from app.core.cancellation import Cause, State, Waiting
from app.core.results import CANCEL_RETRIES
from app.core.unit_of_work import WEBHOOK_WAIT_S

Outcome = CancelOutcome


# -- No answer -------------------------------------------------------------------------------


def lost_calls(handler: Handler) -> list[Book]:
    interrupted = sent(handler)
    interrupted.interrupt(11)
    return [answered(Outcome.INDETERMINATE, handler), interrupted]


def test_without_an_answer_nothing_is_sent_before_a_probe() -> None:
    for book in lost_calls(PROBED):
        assert (book.cancellation.state, book.job().kind) == (State.INDETERMINATE, JobKind.PROBE)
        assert book.cancellation.may_have_applied
        assert due_s(book) == PROBE_RETRIES.delay_s(1, 0.5), "the provider has a moment to settle"
        book.ask()
        book.fail_to_tell()
        assert book.job().kind is JobKind.PROBE
        book.ask()
        book.tell(Phase.OPEN)
        assert book.cancellation.state is State.SCHEDULED
        assert not book.cancellation.may_have_applied
        book.send()
        assert book.cancellation.attempts == 2


def test_a_snapshot_asked_for_before_the_call_was_lost_settles_nothing() -> None:
    for book in lost_calls(PROBED):
        book.tell(Phase.OPEN, 12, asked=10.5)

        assert (book.cancellation.state, book.job().kind) == (State.INDETERMINATE, JobKind.PROBE)


def test_a_canceled_order_is_canceled_whenever_the_snapshot_was_asked_for() -> None:
    for book in lost_calls(PROBED):
        book.tell(Phase.CANCELED, 12, asked=10.5)

        assert book.cancellation.state is State.SUCCEEDED


def test_the_webhook_may_tell_before_the_probe() -> None:
    for handler in (PROBED, BLIND, IDEMPOTENT):
        for book in lost_calls(handler):
            book.hear(phase("canceled", 12, Phase.CANCELED))

            assert book.cancellation.state is State.SUCCEEDED, "it was our call that canceled it"
            assert job_for(book.aggregate) is None


def test_where_the_provider_cannot_be_asked_a_webhook_or_a_person_has_a_day_to_tell() -> None:
    for book in lost_calls(BLIND):
        assert (book.cancellation.state, book.cancellation.waiting) == (State.INDETERMINATE, Waiting.WEBHOOK)
        assert due_s(book) == WEBHOOK_WAIT_S


def test_an_idempotent_cancel_is_sent_again_without_a_probe() -> None:
    for book in lost_calls(IDEMPOTENT):
        assert (book.cancellation.state, book.job().kind) == (State.SCHEDULED, JobKind.CANCEL)
        book.send()
        assert book.cancellation.attempts == 2


def test_a_refusal_is_not_believed_after_an_idempotent_call_without_an_answer() -> None:
    for book in lost_calls(IDEMPOTENT):
        book.send()
        book.answer(Outcome.REFUSED)

        assert book.cancellation.state is State.INDETERMINATE, "the first call may have made the second impossible"


@pytest.mark.parametrize(("found", "state"), [(Phase.CANCELED, State.SUCCEEDED), (Phase.OPEN, State.REFUSED)])
def test_the_refusal_that_follows_a_lost_call_is_looked_into_once(found: Phase, state: State) -> None:
    """The lost call may have arrived after the probe that did not see it."""
    for book in lost_calls(PROBED):
        book.ask()
        book.tell(Phase.OPEN)
        book.send()
        book.answer(Outcome.REFUSED)
        assert (book.cancellation.state, book.cancellation.cause) == (State.INDETERMINATE, Cause.OUTCOME_UNCERTAIN)
        book.ask()
        book.tell(found)
        if not book.cancellation.final:
            book.send()
            book.answer(Outcome.REFUSED)

        assert book.cancellation.state is state


def test_each_lost_call_makes_the_next_refusal_distrusted() -> None:
    for book, lose in zip(lost_calls(PROBED), [LOSSES["time-outs"], LOSSES["interruptions"]], strict=True):
        for number in range(2):
            book.ask()
            book.tell(Phase.OPEN)
            book.send()
            book.answer(Outcome.REFUSED)
            assert (book.cancellation.state, book.cancellation.cause) == (State.INDETERMINATE, Cause.OUTCOME_UNCERTAIN)
            book.ask()
            book.tell(Phase.OPEN)
            book.send()
            lose(book, number)


LOSSES: dict[str, Callable[[Book, int], None]] = {
    "time-outs": lambda book, _: book.answer(Outcome.INDETERMINATE),
    "interruptions": lambda book, _: book.interrupt(),
    "time-outs and refusals": lambda book, n: book.answer(Outcome.REFUSED if n % 2 else Outcome.INDETERMINATE),
}


@pytest.mark.parametrize("lose", LOSSES.values(), ids=LOSSES)
def test_calls_that_are_lost_without_end_are_given_up(lose: Callable[[Book, int], None]) -> None:
    book = sent()
    for number in range(5 * CANCEL_RETRIES.attempts):
        lose(book, number)
        if not book.cancellation.final:
            book.ask()
            book.tell(Phase.OPEN)
        if book.cancellation.final:
            break
        book.send()

    assert book.cancellation.final


def test_an_interruption_touches_only_what_was_out() -> None:
    for book in (opened(), answered(Outcome.ACCEPTED), answered(Outcome.RETRY), answered(Outcome.INDETERMINATE)):
        before = list(book.log)
        book.interrupt()
        assert book.log == before


# -- Probes that fail ------------------------------------------------------------------------


def test_probes_of_a_lost_call_are_bounded_and_then_a_person_must_look() -> None:
    book = answered(Outcome.RETRY)
    book.send()
    book.answer(Outcome.INDETERMINATE)
    for _ in range(PROBE_RETRIES.attempts):
        assert book.cancellation.state is State.INDETERMINATE
        book.ask()
        book.fail_to_tell()

    assert (book.cancellation.state, book.cancellation.cause) == (State.FAILED, Cause.ATTEMPTS_USED_UP)
    assert "no luck" in book.cancellation.detail


@pytest.mark.parametrize("outcome", [Outcome.THROTTLED, Outcome.UNAUTHORIZED])
def test_a_probe_that_was_throttled_or_unauthorized_does_not_count(outcome: Outcome) -> None:
    book = answered(Outcome.INDETERMINATE)
    for _ in range(3 * PROBE_RETRIES.attempts):
        book.ask()
        book.fail_to_tell(outcome)

    assert (book.cancellation.state, book.cancellation.failures) == (State.INDETERMINATE, 0)
    assert book.unit.pause_reason == ("no luck" if outcome is Outcome.UNAUTHORIZED else None)


def test_a_probe_may_be_told_to_come_back_later() -> None:
    book = answered(Outcome.INDETERMINATE)
    book.ask()
    book.fail_to_tell(after_s=555.0)

    assert due_s(book) == 555.0


def test_a_snapshot_counts_as_of_when_it_was_asked_for() -> None:
    book = answered(Outcome.INDETERMINATE)
    completed = phase("completed", 12, Phase.COMPLETED)
    book.hear(completed)
    book.tell(Phase.OPEN, 14, asked=11.5)

    assert book.aggregate.order.phase is Phase.COMPLETED
    assert (book.cancellation.state, book.cancellation.evidence) == (State.REFUSED, (completed.id,))
    assert book.aggregate == rebuilt(book.log)


# -- The provider does not know the order ----------------------------------------------------


def test_a_cancel_of_an_order_that_the_provider_does_not_know_is_refused_unsent() -> None:
    book = unseen()
    book.ask()
    book.fail_to_tell(Outcome.REFUSED)

    assert (book.cancellation.state, book.cancellation.cause) == (State.REFUSED, Cause.ORDER_UNKNOWN)
    assert (book.cancellation.detail, book.cancellation.attempts) == ("no luck", 0)
    assert job_for(book.aggregate) is None


def test_after_a_lost_call_it_is_asked_for_again_within_limits() -> None:
    book = answered(Outcome.INDETERMINATE)
    for failures in range(PROBE_RETRIES.attempts):
        assert (book.cancellation.state, book.cancellation.failures) == (State.INDETERMINATE, failures)
        book.ask()
        book.fail_to_tell(Outcome.REFUSED)

    assert book.cancellation.state is State.FAILED


def test_with_a_pending_probe_it_is_not_requested_again() -> None:
    book = opened()
    book.hear(phase("odd", 5, Phase.UNKNOWN))
    book.ask()
    book.fail_to_tell(Outcome.REFUSED)

    assert job_for(book.aggregate) is None
    assert book.aggregate == rebuilt(book.log)


# -- A provider that cannot be asked about the order -----------------------------------------


def test_what_waits_for_a_probe_that_cannot_be_is_sent() -> None:
    book = unseen()
    book.ask()
    book.fail_to_tell(Outcome.INDETERMINATE)

    assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.SEND_SLOT)
    assert book.job().kind is JobKind.CANCEL


@pytest.mark.parametrize("outcome", [Outcome.INDETERMINATE, Outcome.ACCEPTED])
def test_what_is_out_waits_a_day_for_a_webhook_and_then_for_a_person(outcome: Outcome) -> None:
    book = answered(outcome)
    book.ask()
    book.fail_to_tell(Outcome.INDETERMINATE)
    waiting = book.cancellation

    assert waiting.waiting is Waiting.WEBHOOK
    assert due_s(book) == pytest.approx(24 * 3600, abs=5)
    book.ask()
    book.fail_to_tell(Outcome.INDETERMINATE)
    assert (book.cancellation.state, book.cancellation.cause) == (State.FAILED, Cause.ATTEMPTS_USED_UP)


def test_a_webhook_settles_what_waits_for_it() -> None:
    book = answered(Outcome.INDETERMINATE)
    book.ask()
    book.fail_to_tell(Outcome.INDETERMINATE)
    book.hear(phase("gone", 20, Phase.CANCELED))

    assert book.cancellation.state is State.SUCCEEDED


def test_an_uncertain_outcome_that_no_probe_can_settle_is_given_up() -> None:
    book = opened()
    book.hear(phase("odd", 5, Phase.UNKNOWN))
    assert book.job().kind is JobKind.PROBE
    book.ask()
    book.fail_to_tell(Outcome.INDETERMINATE)

    assert job_for(book.aggregate) is None


def test_a_webhook_that_completes_the_order_ends_the_wait_at_a_provider_that_cannot_be_asked() -> None:
    book = answered(Outcome.INDETERMINATE, BLIND)
    assert book.cancellation.waiting is Waiting.WEBHOOK
    book.hear(phase("done", 20, Phase.COMPLETED))

    assert (book.cancellation.state, book.cancellation.cause) == (State.REFUSED, Cause.ORDER_CLOSED)


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.REFUSED, Outcome.THROTTLED])
def test_a_probe_that_fails_otherwise_after_the_day_of_waiting_moves_it_on(outcome: Outcome) -> None:
    book = answered(Outcome.INDETERMINATE)
    book.ask()
    book.fail_to_tell(Outcome.INDETERMINATE)
    book.ask()
    before = len(book.log)
    book.fail_to_tell(outcome)

    assert len(book.log) > before
    assert due_s(book) > 0, "and not at once again"
