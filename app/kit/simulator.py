"""What simulated providers have in common: JSON answers, limits, and actions by name. Pure, as they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from app.contract import HttpResponse

Action = Callable[[dict[str, Any], float], dict[str, Any]]
"""(parameters, now) → what a test wants to know. Raises ValueError, saying why not."""
JSON = {"content-type": "application/json"}


def json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A JSON answer."""
    return HttpResponse(status, {**JSON, **(headers or {})}, msgspec.json.encode(body))


def json_object(raw: bytes) -> dict[str, Any]:
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


def utc_time(now: float) -> datetime:
    """Unix seconds as a time."""
    return datetime.fromtimestamp(now, UTC)


def retry_after(wait_s: float) -> dict[str, str]:
    """The header that says when to come again, in whole seconds."""
    return {"retry-after": str(int(wait_s) + 1)}


@dataclass(slots=True)
class Faults:
    """Calls that are going to fail inside of the provider, before or after they took effect."""

    waiting: deque[tuple[bool, str]] = field(default_factory=deque)
    """Whether the call takes effect all the same, and the provider's word for the failure where it has several."""
    KEYS: ClassVar[frozenset[str]] = frozenset({"times", "takes_effect"})
    """What `act` takes."""

    def act(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        """Let the next calls fail."""
        crash = bool(params.get("takes_effect")), str(params.get("word", ""))
        self.waiting.extend([crash] * int(params.get("times", 1)))
        return {"crashes": len(self.waiting)}

    def around(self, serve: Callable[[], HttpResponse], failed: Callable[[str], HttpResponse]) -> HttpResponse:
        """The answer of `serve`; or, where a crash is due, `failed` of its word."""
        if not self.waiting:
            return serve()
        takes_effect, word = self.waiting.popleft()
        if takes_effect:
            serve()
        return failed(word)


@dataclass(slots=True)
class Window:
    """A limit of `requests` in any `per_s` seconds, for each key. Calls beyond it do not count against it."""

    requests: int
    per_s: float
    calls: dict[str, deque[float]] = field(default_factory=dict)
    KEYS: ClassVar[frozenset[str]] = frozenset({"requests", "per_s"})
    """What `act` takes."""

    def wait_s(self, key: str, now: float) -> float | None:
        """How long the limit is still reached; None where a call is let through, and counted."""
        calls = self.calls.setdefault(key, deque())
        while calls and calls[0] <= now - self.per_s:
            calls.popleft()
        if len(calls) >= self.requests:
            return calls[0] + self.per_s - now
        calls.append(now)
        return None

    def act(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        """Set `requests` and `per_s`, each if it is given. Raises ValueError."""
        requests, per_s = int(params.get("requests", self.requests)), float(params.get("per_s", self.per_s))
        if requests < 1 or not per_s > 0:
            raise ValueError("requests must be 1 or more, and per_s above 0")
        self.requests, self.per_s = requests, per_s
        return {"requests": requests, "per_s": per_s}

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
    KEYS: ClassVar[frozenset[str]] = frozenset({"burst", "per_s"})
    """What `act` takes."""

    def act(self, params: dict[str, Any], now: float) -> dict[str, Any]:  # noqa: ARG002 - as every action
        """Set `burst`, and in how many seconds a full bucket empties (`per_s`). Raises ValueError."""
        burst = int(params.get("burst", self.burst))
        per_s = float(params.get("per_s", self.burst / self.rate_per_s))
        if burst < 1 or not per_s > 0:
            raise ValueError("burst must be 1 or more, and per_s above 0")
        self.burst, self.rate_per_s = burst, burst / per_s
        return {"burst": burst, "per_s": per_s}

    def wait_s(self, key: str, now: float) -> float | None:
        """How long the bucket is still full; None where a call is let through, and counted."""
        level, at = self.levels.get(key, (0.0, now))
        level = max(0.0, level - (now - at) * self.rate_per_s)
        if level + 1 > self.burst:
            self.levels[key] = (level, now)
            return (level + 1 - self.burst) / self.rate_per_s
        self.levels[key] = (level + 1, now)
        return None
