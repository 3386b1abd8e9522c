"""Flows: calls for one order after another, and what comes of their responses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from app.contract import (
    CancelOutcome,
    CancelResult,
    Facts,
    Flow,
    HttpRequest,
    HttpResponse,
    MalformedPayload,
    Order,
    ProbeUnavailable,
)
from app.kit.excerpts import shown
from app.kit.responses import ProviderResponse, ResponseKind, ResponseTable

Asked = TypeVar("Asked")
Result = TypeVar("Result")

_JSON = "application/json"


def per_order(
    asked: Sequence[Asked],
    build: Callable[[Asked], HttpRequest | Result],
    read: Callable[[Asked, HttpResponse], Result],
) -> Flow[list[Result]]:
    """One call for each of `asked` (cancel requests, or orders to probe); their results, in order.

    `build` makes the call, or gives the result where none can be made; `read` makes the result of its response.
    """
    results = list[Result]()
    for one in asked:
        request = build(one)
        results.append(read(one, (yield request)) if isinstance(request, HttpRequest) else request)
    return results


def flow_per_order(asked: Sequence[Asked], flow: Callable[[Asked], Flow[Result]]) -> Flow[list[Result]]:
    """One flow for each of `asked`, for providers that need more than one call; their results, in order."""
    results = list[Result]()
    for one in asked:
        result = yield from flow(one)
        results.append(result)
    return results


def json_call(
    method: str,
    url: str,
    body: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    timeout_s: float,
    repeatable: bool | None = None,
) -> HttpRequest:
    """A call that sends JSON (nothing, where `body` is None) and wants JSON. By default only a GET is repeatable."""
    own = {"Accept": _JSON} if body is None else {"Accept": _JSON, "Content-Type": _JSON}
    return HttpRequest(
        method=method,
        url=url,
        headers={**own, **(headers or {})},
        body=b"" if body is None else msgspec.json.encode(body),
        timeout_s=timeout_s,
        repeatable=method == "GET" if repeatable is None else repeatable,
    )


def same_order(order: Order, *ids: str) -> bool:
    """Is one of `ids`, which a response states, the order's id or an alias of it?"""
    return not {order.id, *order.aliases}.isdisjoint(ids)


def read_snapshot(
    order: Order,
    response: ProviderResponse,
    table: ResponseTable,
    read_order: Callable[[Any], tuple[str, Facts]],
    *,
    no_status: str = "",
) -> Facts | ProbeUnavailable:
    """What a probe's response says of `order`.

    Args:
        order: the one that was asked for.
        response: as the handler read it.
        table: the provider's.
        read_order: the response's JSON → the order's id and its facts; may raise `MalformedPayload`.
        no_status: the sentence for facts without a phase, with the setting to change.
    """
    if response.kind is not ResponseKind.DONE:
        return table.probe_unavailable(response)
    try:
        id, facts = read_order(response.body)
    except MalformedPayload as error:
        return ProbeUnavailable(f"{table.provider}'s answer cannot be read: {error}.")
    names = {id, *facts.aliases}
    if not same_order(order, *names):
        return ProbeUnavailable(f"{table.provider} answered with order {id} when asked for {order.id}.")
    if facts.phase is None:
        return ProbeUnavailable(no_status or f"{table.provider}'s answer states no status.")
    return replace(facts, aliases=tuple(sorted(names - {order.id})), snapshot=True)


def cancel_unsendable(provider: str, order: Order) -> CancelResult:
    """The result of a cancel whose order's id fits into no call."""
    return CancelResult(CancelOutcome.REFUSED, _no_such_id(provider, order))


def probe_unsendable(provider: str, order: Order) -> ProbeUnavailable:
    """The result of a probe whose order's id fits into no call."""
    return ProbeUnavailable(_no_such_id(provider, order), outcome=CancelOutcome.REFUSED)


def _no_such_id(provider: str, order: Order) -> str:
    return f"No order at {provider} can be called {shown(order.id)}: nothing was sent."
