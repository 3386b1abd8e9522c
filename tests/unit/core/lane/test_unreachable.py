"""What keeps calls from the provider, and when nothing but a person will help."""

from __future__ import annotations

from itertools import count

from app.core.lane.unreachable import Unreachable, UnreachableStreak

CLOCK = count(0.0, 10.0)


def met(streak: UnreachableStreak, unreachable: Unreachable | None, *orders: int) -> str | None:
    """It meets this, ten seconds after the last time."""
    return streak.record(unreachable, "it is so", orders or (1,), next(CLOCK))


def test_an_address_that_is_not_allowed_needs_a_person_at_once() -> None:
    reason = met(UnreachableStreak(), Unreachable.ADDRESS)
    assert reason == "it is so. Then restart Rescind and resume the account."


def test_a_certificate_and_a_name_are_tried_a_few_times() -> None:
    for unreachable, tries in ((Unreachable.CERTIFICATE, 4), (Unreachable.NAME, 5)):
        streak = UnreachableStreak()
        assert [met(streak, unreachable) is not None for _ in range(tries)] == [False] * (tries - 1) + [True]
        assert met(streak, unreachable) is None, "whoever resumed has some tries"


def test_many_calls_at_once_are_no_proof() -> None:
    streak = UnreachableStreak()
    assert [streak.record(Unreachable.NAME, "it is so", (n,), 0.01 * n) for n in range(100)] == [None] * 100
    assert streak.record(Unreachable.NAME, "it is so", (1,), 30.0) is not None


def test_what_is_met_in_between_begins_the_count_anew() -> None:
    for between in (None, Unreachable.CONNECTION):
        streak = UnreachableStreak()
        for _ in range(20):
            assert [met(streak, Unreachable.NAME) for _ in range(4)] == [None] * 4
            assert met(streak, between) is None


def test_what_may_pass_by_itself_never_needs_a_person() -> None:
    streak = UnreachableStreak()
    assert [met(streak, Unreachable.CONNECTION, n) for n in range(100)] == [None] * 100
    assert [met(streak, None, n) for n in range(100)] == [None] * 100


def test_something_else_that_answers_for_one_order_only_needs_no_person() -> None:
    streak = UnreachableStreak()
    assert [met(streak, Unreachable.MISDIRECTED, n % 2) for n in range(100)] == [None] * 100
    assert met(streak, Unreachable.MISDIRECTED, 2) is not None


def test_only_what_is_no_provider_was_reached() -> None:
    assert [each for each in Unreachable if each.got_response] == [Unreachable.MISDIRECTED]
