"""What the sandbox's book of calls shows: which orders, which statuses, and how many in a window."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from app.dev.demo.context import Context
from app.dev.demo.processes import WINDOW_S
from app.dev.demo.providers import LIMIT, Json

THROTTLED = 429


def most_in_a_window(arrivals: Iterable[float], per_s: float) -> int:
    """The most arrivals in any span of `per_s` seconds."""
    inside: deque[float] = deque()
    most = 0
    # The fullest span can always be moved until it ends with an arrival.
    for moment in sorted(arrivals):
        inside.append(moment)
        while inside[0] <= moment - per_s:
            inside.popleft()
        most = max(most, len(inside))
    return most


def claim_limit(context: Context, calls: Sequence[Json], extent: str) -> None:
    """Claim that no window had more calls than PlanOmatic's limit."""
    most = most_in_a_window((call["at"] for call in calls), WINDOW_S)
    what = f"most calls in any {WINDOW_S:g} s, {extent} ({len(calls)} calls)"
    context.claim(what, f"at most {LIMIT}", most, ok=0 < most <= LIMIT)


def about(calls: Sequence[Json], orders: Iterable[str], path: str | None = None) -> list[Json]:
    """The calls about these orders, to `path` if one is given."""
    wanted = set(orders)
    return [call for call in calls if call["order"] in wanted and path in (None, call["path"])]


def named(call: Json) -> list[str]:
    """The orders that a call is about."""
    return str(call["order"]).split(",")


def in_turn(calls: Sequence[Json]) -> str:
    """The statuses of the calls, one after another."""
    return ", ".join(str(call["status"]) for call in calls)


def statuses(calls: Sequence[Json]) -> str:
    """The different statuses of the calls."""
    return "/".join(sorted({str(call["status"]) for call in calls}))


def denied(calls: Sequence[Json]) -> int:
    """How many calls were denied with 429."""
    return sum(call["status"] == THROTTLED for call in calls)


def succeeded(cancellations: Sequence[Json]) -> int:
    """How many of the cancellations succeeded."""
    return sum(row["state"] == "succeeded" for row in cancellations)
