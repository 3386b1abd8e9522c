"""Following what goes on at the server until it is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.cli.failure import UnreachableError

POLL_FIRST_S, POLL_LAST_S, POLL_GROWTH = 0.1, 2.0, 1.5
OUTAGE_S = 120.0
"""How long a server is put up with that does not answer: a restart must not end what is waited for."""


@dataclass(frozen=True, slots=True)
class Following:
    """Whether what was begun is to be followed, and until when at the longest."""

    wanted: bool
    until: datetime | None = None


Known = dict[str, Any]
Say = Callable[[Mapping[str, Any]], None]


def follow(
    known: Known, ask: Callable[[], Known], is_over: Callable[[Known], bool], say: Say, until: datetime | None = None
) -> Known:
    """Ask for something, ever less often, until it is over, or until that time; `say` is told how it stands."""
    delay_s, answered_at = POLL_FIRST_S, time.monotonic()
    while not is_over(known):
        say(known)
        left_s = POLL_LAST_S if until is None else (until - datetime.now(UTC)).total_seconds()
        if left_s <= 0:
            return known
        time.sleep(min(delay_s, left_s))
        delay_s = min(POLL_LAST_S, delay_s * POLL_GROWTH)
        try:
            known = ask()
            answered_at = time.monotonic()
        except UnreachableError:
            if time.monotonic() - answered_at > OUTAGE_S:
                raise
    return known
