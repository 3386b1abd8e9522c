"""Worked examples: what a provider's answers mean."""

from __future__ import annotations

import pytest
from unit.core.book import MAY_HAVE_APPLIED, answered, due_s, sent, unseen
from unit.core.support import ACCOUNT, BLIND, CANCELLATION, ORDER, at, phase, rebuilt

from app.contract import CancelOutcome, CancelResult, Facts, Phase, Source
from app.core.aggregate import JobKind, job_for
from app.core.cancellation import Cause, State, Waiting
from app.core.results import ACCEPTED_POLLS, CANCEL_RETRIES, RecordResult
from app.core.unit_of_work import WEBHOOK_WAIT_S

Outcome = CancelOutcome


# -- Clear answers ---------------------------------------------------------------------------


def test_a_success_is_also_a_fact_of_the_order() -> None:
    book = answered(Outcome.SUCCEEDED)

    assert book.cancellation.state is State.SUCCEEDED
    assert book.aggregate.order.phase is Phase.CANCELED
    assert book.log[-1].source is Source.PROVIDER
    assert book.aggregate.order.evidence("phase") == (book.log[-1].id,)
    assert job_for(book.aggregate) is None


def test_what_the_answer_says_of_the_order_is_recorded() -> None:
    succeeded = answered(CancelResult(Outcome.SUCCEEDED, facts=Facts(phase=Phase.CANCELED, provider_status="void")))
    refused = answered(CancelResult(Outcome.REFUSED, facts=Facts(phase=Phase.COMPLETED, provider_status="done")))

    assert (succeeded.aggregate.order.phase, succeeded.aggregate.order.provider_status) == (Phase.CANCELED, "void")
    assert refused.cancellation.state is State.REFUSED
    assert (refused.aggregate.order.phase, refused.aggregate.order.provider_status) == (Phase.COMPLETED, "done")


def test_a_refusal_is_final() -> None:
    book = answered(CancelResult(Outcome.REFUSED, "it is on its way"))

    assert (book.cancellation.state, book.cancellation.detail) == (State.REFUSED, "it is on its way")
    assert book.aggregate.order.phase is Phase.OPEN


def test_after_a_refusal_that_the_verdict_did_not_foresee_the_order_is_looked_at_again() -> None:
    book = answered(CancelResult(Outcome.REFUSED, "it is on its way"))

    assert (book.job().kind, book.job().cancellation) == (JobKind.PROBE, None)
    book.ask()
    book.tell(Phase.IN_PROGRESS)
    assert book.aggregate.order.phase is Phase.IN_PROGRESS
    assert job_for(book.aggregate) is None


@pytest.mark.parametrize("asked", [None, 10.5])
def test_and_what_is_older_than_the_refusal_does_not_spare_the_look(asked: float | None) -> None:
    """The cancel request was judged by it, and was wrong."""
    book = answered(Outcome.REFUSED)
    if asked is None:
        book.hear(phase("old news", 5, Phase.OPEN, heard=12))
    else:
        book.tell(Phase.OPEN, 12, asked=asked)

    assert book.job().kind is JobKind.PROBE


def test_a_refusal_that_tells_why_or_that_the_verdict_knew_of_needs_no_look() -> None:
    told = answered(CancelResult(Outcome.REFUSED, facts=Facts(phase=Phase.IN_PROGRESS)))
    known = sent()
    known.hear(phase("closing", 11, Phase.IN_PROGRESS))
    known.answer(Outcome.REFUSED)

    assert job_for(told.aggregate) is None
    assert job_for(known.aggregate) is None


def test_an_order_canceled_while_the_call_was_out_and_then_refused_has_succeeded() -> None:
    book = sent()
    canceled = phase("canceled", 11, Phase.CANCELED)
    book.hear(canceled)
    assert book.cancellation.state is State.SENDING, "its answer is still to come"
    book.answer(Outcome.REFUSED, 12)

    assert (book.cancellation.state, book.cancellation.cause) == (State.SUCCEEDED, Cause.ORDER_CANCELED)
    assert book.cancellation.evidence == (canceled.id,)


def test_an_answer_in_the_very_moment_of_a_late_event_is_folded_as_it_is_replayed() -> None:
    book = sent()
    book.hear(phase("completed", 11, Phase.COMPLETED))
    book.answer(CancelResult(Outcome.REFUSED, facts=Facts(phase=Phase.IN_PROGRESS)), 11)

    assert book.aggregate == rebuilt(book.log)
    assert book.aggregate.order.anomalies == ()


@pytest.mark.parametrize("outcome", [Outcome.REFUSED, Outcome.INDETERMINATE, Outcome.RETRY, Outcome.ACCEPTED])
def test_an_answer_to_a_call_that_nobody_waits_for_changes_nothing(outcome: CancelOutcome) -> None:
    book = answered(outcome)
    before = list(book.log)
    for id in (CANCELLATION, "can-2"):
        book.enter(RecordResult(ACCOUNT, ORDER, at(12), "att-9", id, CancelResult(Outcome.REFUSED)))

    assert book.log == before


# -- Not sent, for what is not known ---------------------------------------------------------


def test_what_is_not_known_enough_to_be_sent_is_probed_and_then_sent() -> None:
    book = answered(Outcome.PROBE_FIRST)
    known = book.cancellation
    assert (known.state, known.waiting, known.attempts) == (State.SCHEDULED, Waiting.PROBE, 0)
    assert (book.job().kind, due_s(book)) == (JobKind.PROBE, 0)
    book.ask()
    book.tell(Phase.OPEN)
    assert (book.cancellation.waiting, book.job().kind) == (Waiting.SEND_SLOT, JobKind.CANCEL)
    book.send()
    book.answer(Outcome.SUCCEEDED)
    assert (book.cancellation.state, book.cancellation.attempts) == (State.SUCCEEDED, 1)


def test_the_probe_may_tell_that_it_is_too_late() -> None:
    book = answered(Outcome.PROBE_FIRST)
    book.ask()
    book.tell(Phase.IN_PROGRESS)
    assert (book.cancellation.final, book.cancellation.attempts) == (True, 0)


def test_probes_that_never_tell_enough_are_bounded() -> None:
    book = answered(Outcome.PROBE_FIRST)
    for tries in range(2, CANCEL_RETRIES.attempts + 1):
        assert book.cancellation.state is State.SCHEDULED
        book.ask()
        book.tell(Phase.OPEN)
        book.send()
        book.answer(CancelResult(Outcome.PROBE_FIRST, "no key"))
        assert book.cancellation.failures == tries

    assert (book.cancellation.state, book.cancellation.cause) == (State.FAILED, Cause.ATTEMPTS_USED_UP)
    assert "no key" in book.cancellation.detail
    assert book.aggregate == rebuilt(book.log)


# -- Accepted --------------------------------------------------------------------------------


def test_what_the_provider_has_queued_is_polled_until_it_tells() -> None:
    book = answered(Outcome.ACCEPTED)
    assert (book.cancellation.state, book.job().kind) == (State.ACCEPTED, JobKind.PROBE)

    book.ask()
    book.tell(Phase.OPEN)
    assert (book.cancellation.state, book.cancellation.failures) == (State.ACCEPTED, 1)
    book.ask()
    book.tell(Phase.CANCELED)
    assert book.cancellation.state is State.SUCCEEDED


def test_polls_of_what_is_queued_are_bounded() -> None:
    book = answered(Outcome.ACCEPTED)
    for _ in range(ACCEPTED_POLLS.attempts):
        assert book.cancellation.state is State.ACCEPTED
        book.ask()
        book.tell(Phase.OPEN)

    assert book.cancellation.state is State.FAILED


def test_where_the_provider_cannot_be_asked_its_webhook_has_a_day_to_tell_of_what_it_has_queued() -> None:
    book = answered(Outcome.ACCEPTED, BLIND)
    assert due_s(book) == WEBHOOK_WAIT_S
    book.hear(phase("canceled", 600, Phase.CANCELED))

    assert book.cancellation.state is State.SUCCEEDED


# -- It failed -------------------------------------------------------------------------------


def test_a_failed_call_is_sent_again_with_growing_delays_and_then_given_up() -> None:
    book = sent()
    delays = []
    for _ in range(CANCEL_RETRIES.attempts - 1):
        book.answer(CancelResult(Outcome.RETRY, "503"))
        assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.RETRY)
        delays.append(due_s(book))
        book.send()
    assert delays == [CANCEL_RETRIES.delay_s(n, 0.5) for n in range(1, CANCEL_RETRIES.attempts)]
    book.answer(CancelResult(Outcome.RETRY, "503"))

    assert (book.cancellation.state, book.cancellation.cause) == (State.FAILED, Cause.ATTEMPTS_USED_UP)
    assert book.cancellation.attempts == CANCEL_RETRIES.attempts
    assert "503" in book.cancellation.detail


def test_what_has_a_deadline_is_sent_again_until_then() -> None:
    book, calls = sent(deadline=72 * 3600.0), 1
    book.answer(CancelResult(Outcome.RETRY, "503"))
    while book.claim((book.job().due_at - at(0)).total_seconds()) is not None:
        calls += 1
        book.answer(CancelResult(Outcome.RETRY, "503"))
    assert book.cancellation.state is State.EXPIRED
    assert calls > 5 * CANCEL_RETRIES.attempts, "and bounded: no more than one call each 15 minutes"
    assert calls < 72 * 3600 / (0.75 * 900) + 20


def test_what_has_a_deadline_is_asked_about_until_then() -> None:
    for book in (answered(Outcome.INDETERMINATE, deadline=72 * 3600.0), unseen(deadline=72 * 3600.0)):
        probes = 0
        while not book.cancellation.final:
            if book.claim((book.job().due_at - at(0)).total_seconds()) is None:
                break
            book.fail_to_tell()
            probes += 1
        assert book.cancellation.state in (State.FAILED, State.EXPIRED)
        assert book.unit.now >= at(72 * 3600.0 - 600)
        assert probes > 72 * 3600 / 700


def test_calls_that_are_lost_are_repeated_until_the_deadline_and_ever_more_slowly() -> None:
    book, calls = answered(Outcome.INDETERMINATE, deadline=24 * 3600.0), 1
    while not book.cancellation.final:
        if book.claim((book.job().due_at - at(0)).total_seconds()) is None:
            break
        if book.cancellation.state is State.SENDING:
            calls += 1
            book.answer(Outcome.INDETERMINATE)
        else:
            book.tell(Phase.OPEN)
    assert book.cancellation.state is State.EXPIRED
    assert CANCEL_RETRIES.attempts < calls < 24 * 3600 / 600


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.THROTTLED])
def test_the_provider_may_ask_for_a_longer_wait(outcome: Outcome) -> None:
    assert due_s(answered(CancelResult(outcome, after_s=777.0))) == 777.0


@pytest.mark.parametrize("outcome", [Outcome.RETRY, Outcome.THROTTLED])
@pytest.mark.parametrize("after_s", [1e15, float("inf"), float("nan"), -5.0])
def test_no_wait_that_it_may_ask_for_keeps_the_answer_from_being_recorded(outcome: Outcome, after_s: float) -> None:
    book = answered(CancelResult(outcome, after_s=after_s))

    assert book.cancellation.state is State.SCHEDULED
    assert due_s(book) > 0


def test_being_throttled_does_not_count_as_a_failure() -> None:
    book = sent()
    for _ in range(3 * CANCEL_RETRIES.attempts):
        book.answer(Outcome.THROTTLED)
        assert (book.cancellation.waiting, book.cancellation.failures) == (Waiting.THROTTLED, 0)
        assert due_s(book) >= 1.0
        book.send()
    book.answer(Outcome.SUCCEEDED)

    assert book.cancellation.state is State.SUCCEEDED


def test_wrong_credentials_pause_the_account_and_count_for_nothing() -> None:
    book = sent()
    book.answer(CancelResult(Outcome.UNAUTHORIZED, "401: the key is revoked"))

    assert book.unit.pause_reason == "401: the key is revoked"
    assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.CREDENTIALS)
    assert book.cancellation.failures == 0
    assert due_s(book) == 0, "as soon as somebody resumes"
    assert answered(Outcome.RETRY).unit.pause_reason is None


# -- It failed, and may have worked ----------------------------------------------------------


def test_a_refusal_after_a_failure_that_may_have_applied_is_not_believed_before_a_probe() -> None:
    book = answered(MAY_HAVE_APPLIED)
    book.send()
    book.answer(Outcome.REFUSED)
    assert (book.cancellation.state, book.cancellation.cause) == (State.INDETERMINATE, Cause.OUTCOME_UNCERTAIN)
    assert book.aggregate.pending_probe is None, "the cancellation asks for itself"

    book.ask()
    book.tell(Phase.CANCELED)
    assert book.cancellation.state is State.SUCCEEDED


def test_and_is_final_when_the_probe_shows_the_order_closed() -> None:
    book = answered(MAY_HAVE_APPLIED)
    book.send()
    book.answer(Outcome.REFUSED)
    book.ask()
    book.tell(Phase.COMPLETED)

    assert (book.cancellation.state, book.cancellation.cause) == (State.REFUSED, Cause.ORDER_CLOSED)
    assert book.cancellation.evidence == book.aggregate.order.evidence("phase")


def test_a_failure_that_may_have_applied_makes_the_last_of_all_tries_uncertain() -> None:
    book = answered(MAY_HAVE_APPLIED)
    for _ in range(CANCEL_RETRIES.attempts - 1):
        book.send()
        book.answer(Outcome.RETRY)

    assert (book.cancellation.state, book.cancellation.cause) == (State.INDETERMINATE, Cause.OUTCOME_UNCERTAIN)


def test_a_window_that_closes_after_a_failure_that_may_have_applied_is_no_reason_to_revoke_before_a_probe() -> None:
    book = answered(MAY_HAVE_APPLIED)
    book.hear(phase("closing", 12, Phase.IN_PROGRESS))

    assert (book.cancellation.state, book.job().kind) == (State.INDETERMINATE, JobKind.PROBE)
