"""What a log of calls shows: how full its windows were, and how the calls were spread over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


def most_in_a_window(arrivals: Iterable[float], per_s: float) -> int:
    """The most arrivals that any window of `per_s` seconds holds, wherever it is laid.

    A fullest window can always be moved until it ends with an arrival, so only those are looked at.
    """
    inside: deque[float] = deque()
    most = 0
    for moment in sorted(arrivals):
        inside.append(moment)
        while inside[0] <= moment - per_s:
            inside.popleft()
        most = max(most, len(inside))
    return most


def per_second(arrivals: Iterable[float]) -> list[int]:
    """How many arrived in each second, counted from the first."""
    moments = sorted(arrivals)
    counts = [0] * (int(moments[-1] - moments[0]) + 1 if moments else 0)
    for moment in moments:
        counts[int(moment - moments[0])] += 1
    return counts
