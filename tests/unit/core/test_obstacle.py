"""What keeps calls from the provider, and when nothing but a person will help."""

from __future__ import annotations

from itertools import count

from app.core.lane.obstacle import Obstacle, Obstacles

CLOCK = count(0.0, 10.0)


def met(obstacles: Obstacles, obstacle: Obstacle | None, *orders: int) -> str | None:
    """It meets this, ten seconds after the last time."""
    return obstacles.met(obstacle, "it is so", orders or (1,), next(CLOCK))


def test_an_address_that_is_not_allowed_needs_a_person_at_once() -> None:
    reason = met(Obstacles(), Obstacle.ADDRESS)
    assert reason == "it is so. Then restart Rescind and resume the account."


def test_a_certificate_and_a_name_are_tried_a_few_times() -> None:
    for obstacle, tries in ((Obstacle.CERTIFICATE, 4), (Obstacle.NAME, 5)):
        obstacles = Obstacles()
        assert [met(obstacles, obstacle) is not None for _ in range(tries)] == [False] * (tries - 1) + [True]
        assert met(obstacles, obstacle) is None, "whoever resumed has some tries"


def test_many_calls_at_once_are_no_proof() -> None:
    obstacles = Obstacles()
    assert [obstacles.met(Obstacle.NAME, "it is so", (n,), 0.01 * n) for n in range(100)] == [None] * 100
    assert obstacles.met(Obstacle.NAME, "it is so", (1,), 30.0) is not None


def test_what_is_met_in_between_begins_the_count_anew() -> None:
    for between in (None, Obstacle.CONNECTION):
        obstacles = Obstacles()
        for _ in range(20):
            assert [met(obstacles, Obstacle.NAME) for _ in range(4)] == [None] * 4
            assert met(obstacles, between) is None


def test_what_may_pass_by_itself_never_needs_a_person() -> None:
    obstacles = Obstacles()
    assert [met(obstacles, Obstacle.CONNECTION, n) for n in range(100)] == [None] * 100
    assert [met(obstacles, None, n) for n in range(100)] == [None] * 100


def test_something_else_that_answers_for_one_order_only_needs_no_person() -> None:
    obstacles = Obstacles()
    assert [met(obstacles, Obstacle.MISDIRECTED, n % 2) for n in range(100)] == [None] * 100
    assert met(obstacles, Obstacle.MISDIRECTED, 2) is not None


def test_only_what_is_no_provider_was_reached() -> None:
    assert [each for each in Obstacle if each.reached] == [Obstacle.MISDIRECTED]
