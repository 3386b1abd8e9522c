"""Failed calls are logged, and not each of a thousand."""

from __future__ import annotations

from structlog.testing import capture_logs

from app.workers.call_failures import CallFailures


def test_a_failure_that_stays_the_same_is_logged_once_a_minute_with_how_many_there_were() -> None:
    call_failures = CallFailures("acme")
    with capture_logs() as logged:
        for second in range(61):
            assert call_failures.failed({1}, "cancel", "500.", None, 1000.0 + second) is None
    assert [(each["event"], each["account"], each["detail"], each["unlogged"]) for each in logged] == [
        ("call_failed", "acme", "500.", 0),
        ("call_failed", "acme", "500.", 59),
    ]


def test_failures_that_differ_each_time_are_logged_every_few_seconds() -> None:
    call_failures = CallFailures("acme")
    with capture_logs() as logged:
        for n in range(100):
            call_failures.failed({1}, "cancel", f"500: {n}", None, 1000.0 + n / 10)
    assert len(logged) == 2


def test_changes_of_the_breaker_are_logged() -> None:
    call_failures = CallFailures("acme")
    with capture_logs() as logged:
        call_failures.breaker_opened("nothing works")
        call_failures.succeeded(closed=True)
        call_failures.succeeded(closed=False)
    assert [each["event"] for each in logged] == ["breaker_opened", "breaker_closed"]
