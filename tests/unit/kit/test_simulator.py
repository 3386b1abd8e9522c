"""What simulated providers have in common."""

from __future__ import annotations

from typing import Any

import pytest

from app.contract import HttpResponse
from app.kit.simulator import Bucket, Faults, Window, retry_after


def test_a_crash_may_come_before_or_after_the_effect() -> None:
    crashes, served = Faults(), []

    def serve() -> HttpResponse:
        served.append(1)
        return HttpResponse(200)

    def failed(word: str) -> HttpResponse:
        return HttpResponse(500, {}, word.encode())

    assert crashes.act({"takes_effect": True, "word": "Aborted"}, 0.0) == {"crashes": 1}
    assert crashes.act({"times": 2}, 0.0) == {"crashes": 3}
    answers = [crashes.around(serve, failed) for _ in range(4)]
    assert [(each.status, each.body) for each in answers] == [(500, b"Aborted"), (500, b""), (500, b""), (200, b"")]
    assert len(served) == 2


@pytest.mark.parametrize(
    ("given", "requests", "per_s"), [({}, 3, 2.0), ({"requests": 1}, 1, 2.0), ({"per_s": "0.5"}, 3, 0.5)]
)
def test_a_window_is_set_as_far_as_told(given: dict[str, Any], requests: int, per_s: float) -> None:
    window = Window(3, 2.0)
    assert window.act(given, 0.0) == {"requests": requests, "per_s": per_s}
    assert (window.requests, window.per_s) == (requests, per_s)


@pytest.mark.parametrize("given", [{"requests": 0}, {"per_s": 0}, {"per_s": -1}, {"per_s": "nan"}, {"requests": "x"}])
def test_a_window_that_is_none_changes_nothing(given: dict[str, Any]) -> None:
    window = Window(3, 2.0)
    with pytest.raises(ValueError, match=r"requests|invalid literal"):
        window.act(given, 0.0)
    assert (window.requests, window.per_s) == (3, 2.0)


def test_a_bucket_keeps_its_time_to_empty() -> None:
    bucket = Bucket(40, 2.0)
    assert bucket.act({"burst": 10}, 0.0) == {"burst": 10, "per_s": 20.0}
    assert bucket.rate_per_s == 0.5
    for given in ({"burst": 0}, {"per_s": 0}, {"per_s": "nan"}):
        with pytest.raises(ValueError, match="burst must be"):
            bucket.act(given, 0.0)
    assert (bucket.burst, bucket.rate_per_s) == (10, 0.5)


@pytest.mark.parametrize(("wait_s", "told"), [(0.1, "1"), (1.0, "2"), (29.5, "30")])
def test_a_wait_is_told_in_whole_seconds(wait_s: float, told: str) -> None:
    assert retry_after(wait_s) == {"retry-after": told}
