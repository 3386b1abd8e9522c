"""The calls about an order: cancel it, and ask how it stands."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

import msgspec
from msgspec.structs import replace

from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    Flow,
    HttpRequest,
    HttpResponse,
    MalformedPayload,
    Order,
    ProbeUnavailable,
)
from app.skeleton.answer import read
from app.skeleton.config import Config
from app.skeleton.webhook import facts_of, order_id
from app.skeleton.words import TITLE

_SAME_FOR_A_PROBE = frozenset({CancelOutcome.REFUSED, CancelOutcome.THROTTLED, CancelOutcome.UNAUTHORIZED})


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own; one that is lost is followed by a probe, as it is not repeatable."""
    results = []
    for each in requests:
        body = {"reason": each.reason, "note": each.note or ""}
        response = yield _call("POST", each.order, "/cancel", config, msgspec.json.encode(body))
        results.append(_result(response, config))
    return results


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own."""
    results = []
    for order in orders:
        response = yield _call("GET", order, "", config)
        results.append(_snapshot(order, response, config))
    return results


def _call(method: str, order: Order, call: str, config: Config, body: bytes = b"") -> HttpRequest:
    # Replace: the paths, and the headers that hold the credentials.
    url = f"{config.base_url}/orders/{quote(order.id, safe='')}{call}"
    headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}", "Content-Type": "application/json"}
    return HttpRequest(method, url, headers, body, config.timeout_s, repeatable=method == "GET")


def _result(response: HttpResponse, config: Config) -> CancelResult:
    answer = read(response, config)
    outcome = answer.outcome
    if outcome is CancelOutcome.SUCCEEDED and answer.body["status"] != "canceled":
        outcome = CancelOutcome.INDETERMINATE
    # An error of theirs may come after the cancel took effect: a refusal that follows is not believed without a probe.
    return CancelResult(outcome, answer.detail, answer.after_s, doubtful=outcome is CancelOutcome.RETRY)


def _snapshot(order: Order, response: HttpResponse, config: Config) -> Facts | ProbeUnavailable:
    answer = read(response, config)
    if answer.outcome is not CancelOutcome.SUCCEEDED:
        outcome = answer.outcome if answer.outcome in _SAME_FOR_A_PROBE else CancelOutcome.RETRY
        return ProbeUnavailable(answer.detail, outcome=outcome, after_s=answer.after_s)
    try:
        id, facts = order_id(answer.body), facts_of(answer.body, response.body)
    except MalformedPayload as error:
        return ProbeUnavailable(f"{TITLE}'s answer cannot be read: {error}.")
    if id not in (order.id, *order.aliases):
        return ProbeUnavailable(f"{TITLE} answered with order {id} when asked for {order.id}.")
    return replace(facts, snapshot=True)
