"""Proposals of policies: they wait for a person, and end in every way that a cancellation can."""

from __future__ import annotations

from datetime import timedelta

import pytest
from unit.core.book import Book
from unit.core.support import PROBED, appointment, at, fact, phase, policy_of

from app.contract import Facts, Phase
from app.core.cancellation import Cause, State, Waiting
from app.core.commands import Conflict
from app.core.policy.model import Mode, Policy

HOUR = 3600.0


def opened_with(policy: Policy) -> Book:
    """A book whose order was opened at T0, with this policy."""
    made = Book(PROBED, "probe", policy)
    made.hear(phase("opened", 0, Phase.OPEN))
    return made


def proposed() -> Book:
    return opened_with(policy_of(mode=Mode.APPROVE, approve_within="2h"))


def test_a_proposal_waits_for_a_person() -> None:
    made = proposed()
    assert made.decisions("p") == ["proposed"]
    assert (made.cancellation.waiting, made.cancellation.due_at) == (Waiting.APPROVAL, at(2 * HOUR))
    assert made.claim(10) is None


def test_an_approved_one_is_sent() -> None:
    made = proposed()
    done = made.approve(HOUR)
    assert (done.cause, done.waiting, done.deadline) == (
        Cause.APPROVED,
        Waiting.SEND_SLOT,
        at(HOUR) + timedelta(hours=72),
    )
    made.send()
    assert made.cancellation.state is State.SENDING


def test_what_nobody_approves_expires() -> None:
    made = proposed()
    made.elapse(2 * HOUR)
    assert (made.cancellation.state, made.cancellation.cause) == (State.EXPIRED, Cause.DEADLINE_PASSED)
    assert "before a person approved it" in made.cancellation.detail
    assert made.approve() is None


def test_a_proposal_ends_when_the_window_closes() -> None:
    made = proposed()
    made.hear(phase("closing", 10, Phase.IN_PROGRESS))
    assert (made.cancellation.state, made.cancellation.cause) == (State.REVOKED, Cause.WINDOW_CLOSED)
    made = proposed()
    made.hear(fact("a", 10, Facts(appointments=(appointment(2 * HOUR),))))
    made.elapse(HOUR)
    assert made.cancellation.state is State.REVOKED


def test_only_what_waits_for_approval_can_be_approved() -> None:
    made = opened_with(policy_of())
    assert made.approve(10) == Conflict(made.cancellation)
    assert made.approve(10, "can-none") is None


def test_who_declines_a_proposal_has_the_last_word() -> None:
    made = proposed()
    made.revoke()
    made.hear(phase("again", 20, Phase.OPEN))
    assert made.decisions("p") == ["proposed"]
    assert made.cancellation.state is State.REVOKED


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.APPROVE])
def test_a_verdict_that_is_no_is_no_cancellation(mode: Mode) -> None:
    made = Book(PROBED, "probe", policy_of(when="true", mode=mode))
    made.hear(phase("begun", 0, Phase.IN_PROGRESS))
    assert (made.decisions("p"), made.moved) == (["refrained"], {})
    made.hear(phase("open again", 10, Phase.OPEN))
    assert made.decisions("p")[-1] in ("acted", "proposed")
