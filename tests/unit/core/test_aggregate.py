from __future__ import annotations

import pytest
from unit.core.book import Book, answered, opened
from unit.core.support import ACCOUNT, BLIND, ORDER, appointment, at, fact, phase, rebuilt

from app.contract import CancelOutcome, Facts, Order, Phase
from app.core import aggregate as aggregates
from app.core.aggregate import PROBE_RETRIES, Job, JobKind, OrderAggregate, PendingProbe, is_fact, job_for
from app.core.cancellation import Cancellation, State, Waiting

# -- Pending probes: the phase of an order is uncertain, and no cancellation asks for it ------


def refusal_distrusted() -> Book:
    book = opened()
    book.hear(phase("odd", 5, Phase.UNKNOWN))
    return book


def test_an_uncertain_standing_is_probed_at_once() -> None:
    book = refusal_distrusted()

    assert book.aggregate.pending_probe == PendingProbe(since=at(5), due_at=at(5))
    assert job_for(book.aggregate) == Job(ACCOUNT, ORDER, JobKind.PROBE, at(5))
    granted = book.ask()
    assert (granted.order, granted.cancellation) == (book.aggregate.order, None)


@pytest.mark.parametrize("order_phase", Phase)
def test_a_snapshot_ends_a_pending_probe_even_if_it_is_uncertain_itself(order_phase: Phase) -> None:
    book = refusal_distrusted()
    book.tell(order_phase, 6)

    assert book.aggregate.pending_probe is None
    assert job_for(book.aggregate) is None


def test_a_webhook_that_is_certain_ends_a_pending_probe_and_one_that_says_nothing_does_not() -> None:
    book = refusal_distrusted()
    book.hear(fact("note", 6, Facts(provider_status="x")))
    assert book.aggregate.pending_probe == PendingProbe(since=at(5), due_at=at(5))
    book.hear(phase("open", 7, Phase.OPEN))
    assert book.aggregate.pending_probe is None


def test_what_is_heard_of_an_order_without_a_phase_keeps_the_probe_pending() -> None:
    book = Book()
    book.hear(fact("note", 6, Facts(appointments=(appointment(9000),))))

    assert book.aggregate.pending_probe == PendingProbe(since=at(6), due_at=at(6))


def test_an_uncertain_event_that_others_outrank_requires_no_probe() -> None:
    book = opened()
    book.hear(phase("progress", 5, Phase.IN_PROGRESS))
    book.hear(phase("odd", 4, Phase.UNKNOWN, heard=6))

    assert book.aggregate.pending_probe is None


def test_a_snapshot_from_before_a_pending_probe_does_not_end_it() -> None:
    book = refusal_distrusted()
    book.tell(Phase.OPEN, 6, asked=4)

    assert book.aggregate.order.phase is Phase.UNKNOWN
    assert book.job().kind is JobKind.PROBE


def test_pending_probes_are_bounded_until_an_event_requires_another() -> None:
    book = refusal_distrusted()
    for failures in range(PROBE_RETRIES.attempts):
        assert book.aggregate.pending_probe is not None
        assert book.aggregate.pending_probe.failures == failures
        book.ask()
        book.fail_to_tell()
    assert job_for(book.aggregate) is None

    book.hear(phase("odd again", 9000, Phase.UNKNOWN))
    assert book.job().due_at == at(9000)


def test_a_throttled_probe_does_not_count() -> None:
    book = refusal_distrusted()
    for _ in range(3 * PROBE_RETRIES.attempts):
        book.ask()
        book.fail_to_tell(CancelOutcome.THROTTLED)

    assert book.job().due_at > book.unit.now


def test_a_provider_that_cannot_be_probed_gets_no_pending_probe() -> None:
    book = Book(BLIND)
    book.hear(phase("odd", 5, Phase.UNKNOWN))

    assert book.claim(6) is None
    assert job_for(book.aggregate) is None, "a lane would claim it without end"
    assert book.aggregate == rebuilt(book.log)


# -- The job ---------------------------------------------------------------------------------


def live(id: str, state: State, requested: float, **more: object) -> Cancellation:
    """A cancellation that waits for something at second 50."""
    known = Cancellation(id, ACCOUNT, ORDER, "because", at(requested), at(requested), state=state, due_at=at(50))
    return known if not more else type(known)(**{**{f: getattr(known, f) for f in known.__struct_fields__}, **more})


@pytest.mark.parametrize(
    ("state", "waiting", "kind"),
    [
        (State.SCHEDULED, Waiting.SEND_SLOT, JobKind.CANCEL),
        (State.SCHEDULED, Waiting.RETRY, JobKind.CANCEL),
        (State.SCHEDULED, Waiting.THROTTLED, JobKind.CANCEL),
        (State.SCHEDULED, Waiting.CREDENTIALS, JobKind.CANCEL),
        (State.SCHEDULED, Waiting.PROBE, JobKind.PROBE),
        (State.SENDING, Waiting.RESULT, JobKind.CANCEL),
        (State.INDETERMINATE, Waiting.PROBE, JobKind.PROBE),
        (State.INDETERMINATE, Waiting.WEBHOOK, JobKind.PROBE),
        (State.ACCEPTED, Waiting.PROBE, JobKind.PROBE),
    ],
)
def test_the_job_follows_from_the_cancellation(state: State, waiting: Waiting, kind: JobKind) -> None:
    aggregate = OrderAggregate(Order(ACCOUNT, ORDER), live=(live("can-1", state, 1, waiting=waiting, deadline=at(60)),))

    deadline = at(60) if state is State.SCHEDULED else None
    urgent_by = at(60) if state in (State.SCHEDULED, State.INDETERMINATE) else None
    sending = state is State.SENDING
    assert job_for(aggregate) == Job(
        ACCOUNT, ORDER, kind, at(50), "can-1", deadline, sending=sending, urgent_by=urgent_by
    )


def test_no_cancellation_and_no_pending_probe_is_no_job() -> None:
    assert job_for(OrderAggregate(Order(ACCOUNT, ORDER))) is None
    assert job_for(opened().aggregate) is None


@pytest.mark.parametrize("state", [State.SENDING, State.INDETERMINATE, State.ACCEPTED])
@pytest.mark.parametrize("requested", [1, 3])
def test_of_two_orders_found_to_be_one_what_was_sent_comes_before_what_was_not(state: State, requested: float) -> None:
    """Else a second call would leave while the first is out, or its outcome unknown (guarantee I4)."""
    both = (live("can-sent", state, requested), live("can-waits", State.SCHEDULED, 2))
    job = job_for(OrderAggregate(Order(ACCOUNT, ORDER), live=tuple(sorted(both, key=lambda each: each.requested_at))))

    assert job is not None
    assert job.cancellation == "can-sent"


# -- Events ----------------------------------------------------------------------------------


@pytest.mark.parametrize("type", ["cancellation.sending", "probe.failed", "sending.paused"])
def test_our_dealings_with_an_order_are_no_facts_of_it(type: str) -> None:
    event = fact("1", 1, Facts(phase=Phase.CANCELED), type=type)
    assert not is_fact(event)


def test_of_what_we_do_only_steps_and_failed_probes_change_the_case() -> None:
    aggregate = opened().aggregate
    assert aggregates.apply(aggregate, fact("1", 1, Facts(phase=Phase.CANCELED), type="sending.paused")) == (
        aggregate,
        None,
    )


def test_steps_of_a_cancellation_that_is_over_change_nothing() -> None:
    book = answered(CancelOutcome.RETRY)
    steps = [each for each in book.log if not is_fact(each)]
    book.hear(phase("canceled", 20, Phase.CANCELED))
    assert book.aggregate.live == ()

    for step in steps[1:]:
        assert aggregates.apply(book.aggregate, step) == (book.aggregate, None)


def test_a_lost_cancel_is_as_urgent_as_it_was() -> None:
    book = opened()
    book.request_cancel(10, deadline=900)
    book.send()
    book.answer(CancelOutcome.INDETERMINATE)
    assert (book.job().kind, book.job().deadline, book.job().urgent_by) == (JobKind.PROBE, None, at(900))


def test_a_job_names_the_policy_as_long_as_its_cancel_was_not_sent() -> None:
    for state, policy in ((State.SCHEDULED, "p"), (State.INDETERMINATE, None), (State.ACCEPTED, None)):
        aggregate = OrderAggregate(
            Order(ACCOUNT, ORDER), live=(live("can-1", state, 1, waiting=Waiting.PROBE, policy="p"),)
        )
        found = job_for(aggregate)
        assert found is not None
        assert found.policy == policy
