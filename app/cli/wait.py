"""Waiting for work at the server to end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.cli.failure import Failure, UnreachableError

INTERRUPTED = 130
POLL_FIRST_S, POLL_LAST_S, POLL_GROWTH = 0.1, 2.0, 1.5
OUTAGE_S = 120.0
"""How long the server may be unreachable meanwhile: a restart does not end the wait."""

Resource = dict[str, Any]
Report = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True)
class Waiting:
    """Whether to wait for the end, and until when at the latest."""

    wanted: bool
    until: datetime | None = None


def wait_for(
    resource: Resource,
    fetch: Callable[[], Resource],
    is_over: Callable[[Resource], bool],
    report: Report,
    until: datetime | None = None,
) -> Resource:
    """Fetch a resource at growing intervals until it is over, or until that time; `report` gets each state of it."""
    delay_s, responded_at = POLL_FIRST_S, time.monotonic()
    while not is_over(resource):
        report(resource)
        left_s = POLL_LAST_S if until is None else (until - datetime.now(UTC)).total_seconds()
        if left_s <= 0:
            return resource
        time.sleep(min(delay_s, left_s))
        delay_s = min(POLL_LAST_S, delay_s * POLL_GROWTH)
        try:
            resource = fetch()
            responded_at = time.monotonic()
        except UnreachableError:
            if time.monotonic() - responded_at > OUTAGE_S:
                raise
    return resource


@contextmanager
def interruptible(hint: Callable[[], str]) -> Iterator[None]:
    """Let Ctrl-C end the wait only; `hint` says how to see the result later."""
    try:
        yield
    except KeyboardInterrupt as error:
        raise Failure(f"Stopped waiting; the server continues. {hint()}".rstrip(), INTERRUPTED) from error
