"""What simulated providers have in common; pure, as they are.

A simulator is a `BaseSimulator`: it has a `Book` of orders, a limit (`Window` or `Bucket`), `Faults`, webhooks to emit,
and methods marked with `@action`. Its `handle` answers calls with `json_response`.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar, cast

import msgspec
from msgspec.structs import replace

from app.contract import HttpRequest, HttpResponse

JSON = {"content-type": "application/json"}

_MARK = "__action__"
_PROVIDED = ("do", "now")


# -- Requests and responses ----------------------------------------------------------------------


def json_response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> HttpResponse:
    """A JSON response."""
    return HttpResponse(status, {**JSON, **(headers or {})}, msgspec.json.encode(body))


def json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in the body of a call; empty for anything else."""
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def header(request: HttpRequest, name: str) -> str:
    """A header of a call, whatever the case of its name; "" without one."""
    return next((value for key, value in request.headers.items() if key.lower() == name.lower()), "")


def utc_time(now: float) -> datetime:
    """Unix seconds as a time."""
    return datetime.fromtimestamp(now, UTC)


def retry_after(wait_s: float) -> dict[str, str]:
    """The header that says when to come again, in whole seconds."""
    return {"retry-after": str(int(wait_s) + 1)}


# -- Parameters of actions -----------------------------------------------------------------------


def strings(value: Any) -> tuple[str, ...]:
    """A parameter that is a list of strings. Raises ValueError."""
    if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
        raise ValueError("give a list of strings")
    return tuple(value)


def time_with_offset(value: Any, name: str) -> datetime:
    """A parameter that is a time. Raises ValueError."""
    time = datetime.fromisoformat(str(value))
    if time.tzinfo is None:
        raise ValueError(f"{name} {value!r} has no offset from UTC; write it as 2030-01-31T16:00:00Z")
    return time


# -- Orders --------------------------------------------------------------------------------------


@dataclass(slots=True, kw_only=True)
class BaseOrder:
    """How often a simulated order was to be canceled."""

    cancel_calls: int = 0
    """Cancel calls that named this order, whatever came of them."""
    cancel_effects: int = 0
    """How often one of them took effect."""

    def counts(self) -> dict[str, int]:
        """Both, for the order's summary."""
        return {"cancel_calls": self.cancel_calls, "cancel_effects": self.cancel_effects}


class SimulatedOrder(Protocol):
    """What a book holds."""

    def summary(self) -> dict[str, Any]:
        """What a test wants to know of the order."""
        ...


O = TypeVar("O", bound=SimulatedOrder)  # noqa: E741 - an order


class Book(Generic[O]):
    """The provider's orders, each by its ids; `kinds` are the names of the ids, the main one first."""

    def __init__(self, *kinds: str) -> None:
        self._by_kind: dict[str, dict[str, O]] = {kind: {} for kind in kinds}
        self._orders: list[O] = []

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the ids."""
        return tuple(self._by_kind)

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[O]:
        return iter(self._orders)

    def add(self, order: O, **ids: object) -> None:
        """Enter an order by its ids; None is no id. Raises ValueError for an id that is there already."""
        given = {kind: str(id) for kind, id in ids.items() if id is not None}
        for kind, id in given.items():
            if id in self._by_kind[kind]:
                raise ValueError(f"{kind} {id} is there already")
        for kind, id in given.items():
            self._by_kind[kind][id] = order
        self._orders.append(order)

    def get(self, id: object, kind: str | None = None) -> O | None:
        """The order with that id, of the main kind if none is given."""
        return self._by_kind[kind or next(iter(self._by_kind))].get(str(id))

    def one(self, **ids: object) -> O:
        """The order that an action names by its ids; of several the last kind counts. Raises ValueError."""
        given = [(kind, ids[kind]) for kind in self._by_kind if ids.get(kind) is not None]
        if not given:
            raise ValueError(f"there is no order without an id: give {' or '.join(self._by_kind)}")
        kind, id = given[-1]
        order = self.get(id, kind)
        if order is None:
            raise ValueError(f"there is no order with {kind} {id!r}; create_order makes one")
        return order


# -- Faults and limits ---------------------------------------------------------------------------


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
        """The response of `serve`; or, where a crash is due, `failed` of its word."""
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


# -- The simulator -------------------------------------------------------------------------------

Method = TypeVar("Method", bound=Callable[..., dict[str, Any]])


def action(*names: str, keys: Iterable[str] = ()) -> Callable[[Method], Method]:
    """Mark a method of a simulator as what `act` does for `names`; without any, for the method's own name.

    The action takes the method's parameters; where it has `**parameters`, also `keys`, or else the book's kinds of ids.
    But `do`, the action's name, and `now`, unix seconds, are given by `act`. The method returns what a test wants to
    know, or raises ValueError, saying why it cannot.
    """

    def mark(method: Method) -> Method:
        setattr(method, _MARK, (names or (method.__name__,), frozenset(keys)))
        return method

    return mark


@dataclass(frozen=True, slots=True)
class _Action:
    method: str
    keys: frozenset[str]
    takes_ids: bool
    provided: tuple[str, ...]


class BaseSimulator(Generic[O]):
    """Orders, a limit, faults, actions by name, and webhooks.

    A subclass adds `provider` and `serve`, or `handle` where a provider checks a call in another order.
    """

    provider: ClassVar[str]
    """The provider's name, for people."""
    _actions: ClassVar[dict[str, _Action]]

    def __init__(self, orders: Book[O] | None = None, limit: Window | Bucket | None = None) -> None:
        self.orders: Book[O] = Book("order_id") if orders is None else orders
        self.limit, self.faults = limit or Window(60, 60.0), Faults()
        self.emissions = 0
        """How many webhooks were sent."""
        self._emitted: list[HttpRequest] = []

    def __init_subclass__(cls) -> None:
        """Collect the actions."""
        cls._actions = {}
        for method in dir(cls):
            marked = getattr(getattr(cls, method), _MARK, None)
            if marked is None:
                continue
            names, extra = marked
            parameters = list(inspect.signature(getattr(cls, method)).parameters.values())[1:]
            own = {each.name for each in parameters if each.kind is not each.VAR_KEYWORD}
            takes_ids = len(own) < len(parameters) and not extra
            provided = tuple(name for name in _PROVIDED if name in own)
            found = _Action(method, (own | extra) - {*provided}, takes_ids, provided)
            cls._actions |= dict.fromkeys(names, found)

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer one call: one limit for all, then the faults that are due."""
        wait_s = self.limit.wait_s("", now)
        if wait_s is not None:
            return self.error(429, "too many requests", retry_after(wait_s))
        return self.faults.around(
            lambda: self.serve(request, now), lambda word: self.error(500, word or "internal error")
        )

    def serve(self, request: HttpRequest, now: float) -> HttpResponse:
        """Answer a call that is within the limit."""
        raise NotImplementedError

    def error(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> HttpResponse:
        """An error as the provider writes it."""
        return json_response(status, {"error": text}, headers)

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        """Do what happens on the provider's side: `{"do": "create_order", …}`. Raises ValueError, saying why not."""
        params = dict(action)
        name = str(params.pop("do", ""))
        if name not in self._actions:
            raise ValueError(f"{self.provider} cannot do {name!r}; it can do {', '.join(self._actions)}")
        found = self._actions[name]
        keys = found.keys.union(self.orders.kinds) if found.takes_ids else found.keys
        unknown = sorted(set(params) - keys)
        if unknown:
            raise ValueError(f"{name} takes no {', '.join(unknown)}; it takes {', '.join(sorted(keys))}")
        given = {"do": name, "now": now}
        try:
            result = getattr(self, found.method)(**{key: given[key] for key in found.provided}, **params)
        except (TypeError, OverflowError, KeyError) as error:
            raise ValueError(f"{name} cannot read what it was given: {error}") from error
        return cast("dict[str, Any]", result)

    def emitted(self) -> list[HttpRequest]:
        """The webhooks since the last call, oldest first, signed."""
        webhooks, self._emitted = self._emitted, []
        return webhooks

    def emit(self, body: Any, now: float, headers: Mapping[str, str] | None = None) -> None:
        """Send a webhook with `body` as JSON."""
        self.emissions += 1
        webhook = HttpRequest("POST", "", {"Content-Type": "application/json", **(headers or {})})
        self._emitted.append(self.sign(replace(webhook, body=msgspec.json.encode(body)), now))

    def sign(self, webhook: HttpRequest, now: float) -> HttpRequest:  # noqa: ARG002 - for those who sign the time
        """The webhook with its proof as of `now`; override it, and where a time is signed, add `resigned = sign`."""
        return webhook

    @action("list")
    def list_orders(self, **ids: object) -> dict[str, Any]:
        """Show one order if an id is given, else all."""
        return {"orders": [order.summary() for order in ([self.orders.one(**ids)] if ids else self.orders)]}

    @action(keys=Window.KEYS | Bucket.KEYS)
    def set_limits(self, **limit: Any) -> dict[str, Any]:
        """Set the limit: of a window `requests` and `per_s`, of a bucket `burst` and `per_s`."""
        if not limit.keys() <= self.limit.KEYS:
            raise ValueError(f"set_limits takes {', '.join(sorted(self.limit.KEYS))}")
        return self.limit.act(limit, 0.0)

    @action(keys=Faults.KEYS)
    def crash(self, **fault: Any) -> dict[str, Any]:
        """Let the next calls fail."""
        return self.faults.act(fault, 0.0)
