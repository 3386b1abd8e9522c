"""What simulated providers have in common: JSON answers, limits, and actions by name. Pure, as they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.contract import HttpResponse

Action = Callable[[dict[str, Any], float], dict[str, Any]]
"""(parameters, now) → what a test wants to know. Raises ValueError, saying why not."""
JSON = {"content-type": "application/json"}


def answer(status: int, body: Any, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A JSON answer."""
    return HttpResponse(status, {**JSON, **(headers or {})}, msgspec.json.encode(body))


def object_in(raw: bytes) -> dict[str, Any]:
    """The JSON object in the body of a call; empty for anything else."""
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def perform(
    provider: str, action: Mapping[str, Any], known: Mapping[str, tuple[Action, frozenset[str]]], now: float
) -> dict[str, Any]:
    """Do `action` by its `do`; `known` has for each name what does it, and the parameters that it takes.

    Raises ValueError for an action or a parameter that is not known, and where the action cannot be done.
    """
    params = dict(action)
    name = str(params.pop("do", ""))
    if name not in known:
        raise ValueError(f"{provider} cannot do {name!r}; it can do {', '.join(known)}")
    do, keys = known[name]
    unknown = sorted(set(params) - keys)
    if unknown:
        raise ValueError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(sorted(keys))}")
    try:
        return do(params, now)
    except (TypeError, OverflowError, KeyError) as error:
        raise ValueError(f"{name} cannot read what it was given: {error}") from error


def moment(now: float) -> datetime:
    """Unix seconds as a time."""
    return datetime.fromtimestamp(now, UTC)


@dataclass(slots=True)
class Window:
    """A limit of `requests` in any `per_s` seconds, for each key. Calls beyond it do not count against it."""

    requests: int
    per_s: float
    calls: dict[str, deque[float]] = field(default_factory=dict)

    def wait_s(self, key: str, now: float) -> float | None:
        """How long the limit is still reached; None where a call is let through, and counted."""
        calls = self.calls.setdefault(key, deque())
        while calls and calls[0] <= now - self.per_s:
            calls.popleft()
        if len(calls) >= self.requests:
            return calls[0] + self.per_s - now
        calls.append(now)
        return None

    def left(self, key: str) -> int:
        """How many calls were free as of the last look."""
        return self.requests - len(self.calls.get(key, ()))


@dataclass(slots=True)
class Bucket:
    """A leaky bucket for each key: `burst` calls at once, and the place of one more each 1 / `rate_per_s` seconds."""

    burst: int
    rate_per_s: float
    levels: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Key → (how full it was, when)."""

    def wait_s(self, key: str, now: float) -> float | None:
        """How long the bucket is still full; None where a call is let through, and counted."""
        level, at = self.levels.get(key, (0.0, now))
        level = max(0.0, level - (now - at) * self.rate_per_s)
        if level + 1 > self.burst:
            self.levels[key] = (level, now)
            return (level + 1 - self.burst) / self.rate_per_s
        self.levels[key] = (level + 1, now)
        return None
