"""Worked examples: the claim of a job, which is the fence."""

from __future__ import annotations

from dataclasses import replace as altered
from datetime import datetime, timedelta

import pytest
from unit.core.book import Book, answered, opened
from unit.core.support import (
    ACCOUNT,
    BLIND,
    CANCELLATION,
    LEASE_S,
    ORDER,
    PROBED,
    SmallRules,
    appointment,
    at,
    fact,
    phase,
    verdict,
)

from app.contract import Cancelable, CancelOutcome, Facts, Order, Phase, Verdict
from app.core.aggregate import JobKind
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.commands import CheckFence, ClaimJob, Granted, RequestCancel
from app.core.pauses import BY_ITSELF, Pause, Pauses
from app.core.unit_of_work import UnitOfWork


def test_the_commit_of_a_claim_is_the_moment_of_sending() -> None:
    book = opened()
    book.request_cancel(10)
    granted = book.send()

    assert granted == Granted(book.aggregate.order, book.cancellation, book.aggregate.latest)
    assert (book.cancellation.state, book.cancellation.attempts) == (State.SENDING, 1)
    assert (book.cancellation.waiting, book.cancellation.due_at) == (Waiting.RESULT, at(10 + LEASE_S))
    assert book.job().sending
    assert book.claim(11) is None, "it is out already"
    assert book.claim(10 + LEASE_S + 1) is None, "nor is it sent again because its lease is over"


@pytest.mark.parametrize(
    ("kind", "cancellation"), [(JobKind.PROBE, CANCELLATION), (JobKind.CANCEL, None), (JobKind.CANCEL, "can-2")]
)
def test_a_claim_of_what_is_no_longer_the_job_is_denied(kind: JobKind, cancellation: str | None) -> None:
    book = opened()
    book.request_cancel(10)

    assert book.enter(ClaimJob(ACCOUNT, ORDER, at(10), "att-1", kind, cancellation, LEASE_S)) is None
    assert book.cancellation.state is State.SCHEDULED


def test_a_claim_before_it_is_due_is_denied() -> None:
    book = answered(CancelOutcome.RETRY)
    due_at = book.job().due_at
    early = (due_at - at(0)).total_seconds() - 0.001

    assert book.claim(early) is None
    assert book.send()
    assert book.unit.now == due_at


def test_the_fence_stops_what_time_has_overtaken() -> None:
    book = opened()
    booked = fact("booked", 5, Facts(appointments=(appointment(3700),)))
    book.hear(booked)
    book.request_cancel(99)

    assert book.claim(100) is None
    assert (book.cancellation.state, book.cancellation.cause) == (State.REVOKED, Cause.WINDOW_CLOSED)
    assert book.cancellation.evidence == (booked.id,)


def test_a_cancel_must_be_sent_before_the_window_closes_by_the_latency_of_the_account() -> None:
    book = opened()
    book.hear(fact("booked", 5, Facts(appointments=(appointment(7300),))))
    book.request_cancel(10)

    times = UnitOfWork(book.aggregate, book.account, at(10), latency_s=30.0).closing_times(book.cancellation)
    assert times["closes_at"] == book.cancellation.closes_at is not None
    assert times["send_by"] == times["closes_at"] - timedelta(seconds=30)


def test_nothing_is_probed_for_a_cancel_that_time_has_overtaken() -> None:
    def by_noon(order: Order, rules: SmallRules, now: datetime) -> Verdict:
        over = Verdict(Cancelable.NO, "over", "It is past noon.", order.evidence("phase"))
        return over if now >= at(20) else verdict(order, rules, now)

    book = Book(altered(PROBED, verdict=by_noon))
    book.hear(phase("odd", 5, Phase.UNKNOWN))
    book.request_cancel(10)

    assert book.claim(20) is None
    assert (book.cancellation.state, book.cancellation.evidence) == (
        State.REVOKED,
        book.aggregate.order.evidence("phase"),
    )


def test_the_fence_asks_for_the_verdict_by_the_rules_of_this_moment() -> None:
    book = opened()
    book.hear(fact("booked", 5, Facts(appointments=(appointment(7300),))))
    book.request_cancel(10)
    book.account = altered(book.account, rules=book.account.rules.model_copy(update={"cutoff_s": 7299.0}))

    assert book.claim(11) is None
    assert book.cancellation.state is State.REVOKED


@pytest.mark.parametrize(("moment", "state"), [(29.9, State.SENDING), (30, State.EXPIRED)])
def test_nothing_is_sent_from_its_deadline_on(moment: float, state: State) -> None:
    book = opened()
    book.request_cancel(10, deadline=30)
    assert book.job().deadline == at(30)
    book.claim(moment)

    assert book.cancellation.state is state


def test_a_provider_that_cannot_be_asked_is_not_probed() -> None:
    book = answered(CancelOutcome.INDETERMINATE, BLIND)
    assert book.claim(11 + 24 * 3600) is None

    assert book.cancellation.state is State.FAILED
    assert "by hand" in book.cancellation.detail


@pytest.mark.parametrize(
    ("scope", "by", "held", "held_for_policy"),
    [
        ("all", "ann", True, True),
        (f"account:{ACCOUNT}", "ann", True, True),
        ("account:other", "ann", False, False),
        ("policies", "ann", False, True),
        ("policy:p", "ann", False, True),
        ("policy:other", "ann", False, False),
        ("policy:p", BY_ITSELF, False, False),
    ],
)
def test_a_pause_withholds_claims_and_the_second_fence(scope: str, by: str, held: bool, held_for_policy: bool) -> None:
    pauses = Pauses({scope: Pause(scope, "a break", at(0), by)})
    for policy, expected in ((None, held), ("p", held_for_policy)):
        book = opened()
        request = Cancellation(CANCELLATION, ACCOUNT, ORDER, "because", at(10), at(10), policy=policy)
        book.enter(RequestCancel(ACCOUNT, ORDER, at(10), request))
        claim = ClaimJob(ACCOUNT, ORDER, at(10), "att-1", JobKind.CANCEL, CANCELLATION, LEASE_S)
        unit = UnitOfWork(book.aggregate, book.account, at(10), pauses=pauses)
        assert (claim.decide(unit) is None, unit.events == []) == (expected, expected)
        book.enter(claim)
        unit = UnitOfWork(book.aggregate, book.account, at(11), pauses=pauses)
        assert CheckFence(ACCOUNT, ORDER, at(11), "att-1", CANCELLATION).decide(unit) is not expected
