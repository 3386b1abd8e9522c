"""Repeated log lines are limited for each key by itself, and what is left out is counted."""

from __future__ import annotations

from app.runtime.log import LogLimiter


def test_a_key_is_admitted_once_in_an_interval_and_counts_what_it_suppressed() -> None:
    limiter = LogLimiter(10.0)
    assert [limiter.admit("a", now=now) for now in (0.0, 1.0, 9.9, 10.0, 19.9, 20.0)] == [0, None, None, 2, None, 1]


def test_keys_do_not_suppress_each_other() -> None:
    limiter = LogLimiter(10.0)
    assert [limiter.admit(key, now=1.0) for key in ("a", "b", "a")] == [0, 0, None]


def test_an_interval_can_be_given_for_one_line() -> None:
    limiter = LogLimiter(10.0)
    assert [limiter.admit(now=now, every_s=every) for now, every in ((0.0, None), (20.0, 60.0), (60.0, 60.0))] == [
        0,
        None,
        1,
    ]
