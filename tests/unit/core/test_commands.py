"""Worked examples: cancel requests, claims, the clock, and people."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from unit.core.book import MAY_HAVE_APPLIED, Book, answered, opened, sent, unseen
from unit.core.support import BLIND, CANCELLATION, ORDER, PROBED, appointment, at, fact, phase

from app.contract import Cancelable, CancelOutcome, Facts, Handler, Phase, Source
from app.core.aggregate import JobKind, job_for
from app.core.cancellation import FINAL, Cause, State, Waiting
from app.core.commands import Conflict, Requested
from app.core.verdict import ALREADY_CANCELED, NEVER_SEEN

# -- Cancel requests ----------------------------------------------------------------------


def test_a_cancelable_order_gets_its_cancel_scheduled_at_once() -> None:
    book = opened()
    answer = book.request_cancel(10)

    assert answer == Requested(book.cancellation)
    assert book.cancellation.verdict == book.unit.verdict()
    assert book.unit.verdict().cancelable is Cancelable.YES
    assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.SEND_SLOT)
    assert (book.job().kind, book.job().due_at, book.job().cancellation) == (JobKind.CANCEL, at(10), CANCELLATION)


@pytest.mark.parametrize("order_phase", [Phase.IN_PROGRESS, Phase.COMPLETED, Phase.CANCELED])
def test_a_doomed_cancel_is_rejected_at_once_with_the_evidence(order_phase: Phase) -> None:
    book = opened()
    closing = phase("closing", 5, order_phase)
    book.hear(closing)
    answer = book.request_cancel(10)

    assert answer == Requested(book.cancellation)
    assert book.cancellation.state is State.REJECTED
    assert book.cancellation.evidence == (closing.id,)
    assert book.cancellation.verdict == book.unit.verdict()
    assert book.cancellation.detail == book.unit.verdict().explanation != ""
    assert job_for(book.aggregate) is None


def test_a_cancel_that_time_has_overtaken_is_rejected_with_what_set_the_time() -> None:
    book = opened()
    booked = fact("booked", 5, Facts(appointments=(appointment(3700),)))
    book.hear(booked)

    book.request_cancel(99, id="can-0")
    assert book.moved["can-0"].state is State.SCHEDULED
    book.revoke("can-0")
    book.request_cancel(100)
    assert (book.cancellation.state, book.cancellation.evidence) == (State.REJECTED, (booked.id,))


UNSEEN = [
    ("probe", PROBED, State.SCHEDULED, Waiting.PROBE),
    ("probe", BLIND, State.SCHEDULED, Waiting.SEND_SLOT),
    ("send", PROBED, State.SCHEDULED, Waiting.SEND_SLOT),
    ("reject", PROBED, State.REJECTED, Waiting.NOTHING),
    ("reject", BLIND, State.REJECTED, Waiting.NOTHING),
]


@pytest.mark.parametrize(("policy", "handler", "state", "waiting"), UNSEEN)
def test_what_becomes_of_a_cancel_for_an_order_never_seen(
    policy: str, handler: Handler, state: State, waiting: Waiting
) -> None:
    book = Book(handler, policy)
    answer = book.request_cancel(10)

    assert answer == Requested(book.cancellation)
    assert book.cancellation.verdict is not None
    assert book.cancellation.verdict.reason == NEVER_SEEN
    assert (book.cancellation.state, book.cancellation.waiting) == (state, waiting)


@pytest.mark.parametrize("policy", ["send", "reject"])
def test_an_order_that_was_seen_and_whose_standing_is_unknown_is_probed_first(policy: str) -> None:
    book = Book(PROBED, policy)
    book.hear(phase("odd", 5, Phase.UNKNOWN))
    book.request_cancel(10)

    assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.PROBE)
    assert book.job().kind is JobKind.PROBE


def test_what_is_probed_first_is_sent_rejected_or_tried_by_what_the_probe_says() -> None:
    yes, no, unknown = unseen(), unseen(), unseen()
    for book in (yes, no, unknown):
        book.ask()
    yes.tell(Phase.OPEN, 11)
    no.tell(Phase.IN_PROGRESS, 11)
    unknown.tell(Phase.UNKNOWN, 11)

    assert yes.send().cancellation == yes.cancellation
    assert (no.cancellation.state, no.cancellation.cause) == (State.REJECTED, Cause.NOT_CANCELABLE)
    assert no.cancellation.evidence == (no.aggregate.order.sources["phase"],)
    assert no.cancellation.verdict == no.unit.verdict()
    assert unknown.send(), "only the provider's answer can tell"


@pytest.mark.parametrize("found", [Phase.CANCELED, Phase.COMPLETED])
def test_what_a_probe_shows_to_be_over_is_rejected_with_the_probe_as_evidence(found: Phase) -> None:
    book = unseen()
    book.ask()
    book.tell(found, 11)
    assert (book.cancellation.state, book.cancellation.attempts) == (State.REJECTED, 0)
    (evidence,) = book.cancellation.evidence
    assert next(each.type for each in book.log if each.id == evidence) == "order.probed"


def test_a_probe_that_a_webhook_outran_is_evidence_beside_it() -> None:
    book = unseen()
    book.ask()
    book.hear(fact("closes", 9, Facts(phase=Phase.UNKNOWN), heard=10.5))
    book.tell(Phase.IN_PROGRESS, 11, asked=10)
    assert book.cancellation.state is State.REJECTED
    assert book.log[-2].id in book.cancellation.evidence


def test_what_was_sent_before_is_not_rejected() -> None:
    book = answered(CancelOutcome.INDETERMINATE)
    book.ask()
    book.tell(Phase.OPEN)
    assert (book.cancellation.state, book.cancellation.waiting) == (State.SCHEDULED, Waiting.SEND_SLOT)
    book.tell(Phase.IN_PROGRESS, 300)
    assert (book.cancellation.state, book.cancellation.cause) == (State.REVOKED, Cause.WINDOW_CLOSED)


def test_what_is_over_says_no_more_whether_it_will_be_in_time() -> None:
    book = unseen()
    known = replace(book.cancellation, expected_at=at(20))
    assert known.in_time is True
    assert {replace(known, state=state).in_time for state in FINAL} == {None}


def test_force_overrules_a_no_and_the_evidence_that_was_known() -> None:
    book = opened()
    closing = phase("closing", 5, Phase.IN_PROGRESS)
    book.hear(closing)
    book.request_cancel(10, force=True)

    assert book.cancellation.overridden_evidence == (closing.id,)
    granted = book.send()
    assert granted.cancellation == book.cancellation


def test_new_evidence_stops_even_a_forced_cancel() -> None:
    book = opened()
    book.hear(phase("closing", 5, Phase.IN_PROGRESS))
    book.request_cancel(10, force=True)
    new = phase("new", 11, Phase.COMPLETED)
    book.hear(new)

    assert (book.cancellation.state, book.cancellation.cause) == (State.REVOKED, Cause.WINDOW_CLOSED)
    assert book.cancellation.evidence == (new.id,)


def test_a_forced_cancel_request_in_vain_overrules_nothing_that_comes_later() -> None:
    book = opened()
    book.request_cancel(10, force=True)
    assert book.cancellation.overridden_evidence is None
    book.hear(phase("closing", 11, Phase.IN_PROGRESS))

    assert book.cancellation.state is State.REVOKED


def test_force_spares_the_probe_and_the_policy_but_cancels_no_canceled_order() -> None:
    rejecting, probing, canceled = Book(PROBED, "reject"), Book(PROBED, "probe"), opened()
    canceled.hear(phase("canceled", 5, Phase.CANCELED))
    for book in (rejecting, probing, canceled):
        book.request_cancel(10, force=True)

    assert rejecting.send()
    assert probing.send()
    assert canceled.cancellation.state is State.REJECTED
    assert canceled.unit.verdict().reason == ALREADY_CANCELED


def test_an_expired_cancel_request_does_not_block_the_next() -> None:
    book = opened()
    book.hear(fact("booked", 5, Facts(appointments=(appointment(3700),))))
    book.request_cancel(99)

    assert book.request_cancel(100, id="can-2") == Requested(book.moved["can-2"])
    assert [each.state for each in book.moved.values()] == [State.REVOKED, State.REJECTED]


@pytest.mark.parametrize("force", [True, False])
def test_a_second_cancel_request_conflicts_with_the_one_that_is_under_way(force: bool) -> None:
    book = sent()
    before = list(book.log)

    assert book.request_cancel(11, id="can-2", force=force) == Conflict(book.cancellation)
    assert book.log == before
    book.answer(CancelOutcome.REFUSED)
    assert isinstance(book.request_cancel(12, id="can-2"), Requested)


def test_a_cancellation_bears_the_name_of_the_order_and_not_the_alias_it_was_asked_by() -> None:
    book = Book()
    book.hear(fact("first", 0, Facts(phase=Phase.OPEN, aliases=(ORDER,)), order="real"))
    book.request_cancel(10)

    assert book.cancellation.order == book.job().order == "real"


# -- Elapsed ---------------------------------------------------------------------------------


def test_a_deadline_ends_what_was_not_sent() -> None:
    book = answered(CancelOutcome.THROTTLED, deadline=30)
    book.elapse(29.9)
    assert book.cancellation.state is State.SCHEDULED
    book.elapse(30)

    assert (book.cancellation.state, book.cancellation.cause) == (State.EXPIRED, Cause.DEADLINE_PASSED)


def test_a_deadline_does_not_touch_what_was_sent() -> None:
    for book in (sent(deadline=30), answered(CancelOutcome.INDETERMINATE, deadline=30)):
        state = book.cancellation.state
        book.elapse(31)
        assert book.cancellation.state is state


def test_at_its_deadline_a_call_that_may_have_worked_is_probed_before_it_is_given_up() -> None:
    book = answered(MAY_HAVE_APPLIED, deadline=30)
    book.elapse(30)
    assert (book.cancellation.state, book.cancellation.cause) == (State.INDETERMINATE, Cause.OUTCOME_UNCERTAIN)

    book.ask()
    book.tell(Phase.OPEN, 31)
    assert book.cancellation.cause is Cause.STILL_CANCELABLE
    assert book.claim(31) is None
    assert book.cancellation.state is State.EXPIRED


# -- Withdrawal and Resolution ---------------------------------------------------------------


def test_a_cancellation_can_be_revoked_while_it_is_scheduled() -> None:
    book = opened()
    book.request_cancel(10)
    answer = book.revoke()

    assert answer == book.cancellation
    assert (answer.state, answer.cause) == (State.REVOKED, Cause.REVOKE_REQUESTED)
    assert "ann" in answer.detail
    assert book.log[-1].source is Source.OPERATOR
    assert book.revoke() is None, "it is over"


@pytest.mark.parametrize(
    "book",
    [sent(), answered(CancelOutcome.INDETERMINATE), answered(CancelOutcome.ACCEPTED)],
    ids=["sent", "indeterminate", "accepted"],
)
def test_and_not_when_it_was_sent(book: Book) -> None:
    before = book.cancellation

    assert book.revoke() == Conflict(before)
    assert book.cancellation == before


def test_revoking_a_call_that_may_have_worked_is_not_final_before_a_probe() -> None:
    worked, failed = answered(MAY_HAVE_APPLIED), answered(MAY_HAVE_APPLIED)
    for book in (worked, failed):
        assert book.revoke() == book.cancellation
        assert book.cancellation.state is State.INDETERMINATE
        book.ask()
    worked.tell(Phase.CANCELED)
    failed.tell(Phase.OPEN)

    assert worked.cancellation.state is State.SUCCEEDED
    assert (failed.cancellation.state, failed.cancellation.cause) == (State.REVOKED, Cause.REVOKE_REQUESTED)


@pytest.mark.parametrize("outcome", [CancelOutcome.INDETERMINATE, CancelOutcome.ACCEPTED])
@pytest.mark.parametrize(("succeeded", "state"), [(True, State.SUCCEEDED), (False, State.REFUSED)])
def test_a_person_settles_what_is_unknown(outcome: CancelOutcome, succeeded: bool, state: State) -> None:
    book = answered(outcome)
    answer = book.resolve(succeeded=succeeded)

    assert answer == book.cancellation
    assert answer.state is state
    assert "ann" in answer.detail
    assert "they rang back" in answer.detail
    assert book.log[-1].source is Source.OPERATOR
    assert job_for(book.aggregate) is None


def test_and_nothing_else() -> None:
    for book in (sent(), unseen()):
        before = book.cancellation
        assert book.resolve(succeeded=True) == Conflict(before)
        assert book.cancellation == before
    book = opened()
    assert book.resolve(succeeded=True) is None
    assert book.revoke() is None


# -- After a refusal that nobody had foreseen ------------------------------------------------


def test_the_next_cancel_request_after_an_unforeseen_refusal_asks_first() -> None:
    book = answered(CancelOutcome.REFUSED)
    assert book.cancellation.state is State.REFUSED
    assert book.aggregate.pending_probe is not None
    again = book.request_cancel(12, id="can-2")

    assert isinstance(again, Requested)
    assert again.cancellation.waiting is Waiting.PROBE, "the verdict says yes, and has just been proved wrong"
    book.tell(Phase.COMPLETED, 20)
    assert book.moved["can-2"].state is State.REJECTED


def test_force_does_not_ask_first() -> None:
    book = answered(CancelOutcome.REFUSED)
    again = book.request_cancel(12, id="can-2", force=True)

    assert isinstance(again, Requested)
    assert again.cancellation.waiting is Waiting.SEND_SLOT
