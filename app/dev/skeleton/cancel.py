"""The calls about an order: cancel it, and ask how it stands."""

from __future__ import annotations

from collections.abc import Sequence

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
    MalformedPayload,
    Order,
    ProbeUnavailable,
)
from app.dev.skeleton.config import Config
from app.dev.skeleton.responses import Answer, read
from app.dev.skeleton.webhook import facts_of, order_id
from app.dev.skeleton.words import TITLE
from app.kit.ids import path_segment

_SAME_FOR_A_PROBE = frozenset({CancelOutcome.REFUSED, CancelOutcome.THROTTLED, CancelOutcome.UNAUTHORIZED})


def cancel(requests: Sequence[CancelRequest], config: Config, _: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own; one that is lost is followed by a probe, as it is not repeatable."""
    results = []
    for each in requests:
        body = msgspec.json.encode({"reason": each.reason, "note": each.note or ""})
        answer, _raw = yield from _ask("POST", each.order, "/cancel", config, body)
        results.append(_result(answer))
    return results


def probe(orders: Sequence[Order], config: Config, _: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own."""
    results = []
    for order in orders:
        answer, raw = yield from _ask("GET", order, "", config)
        results.append(_snapshot(order, answer, config, raw))
    return results


def _ask(method: str, order: Order, call: str, config: Config, body: bytes = b"") -> Flow[tuple[Answer, bytes]]:
    """What is answered, and its body as it came."""
    segment = path_segment(order.id)
    if segment is None:
        return Answer(CancelOutcome.REFUSED, f"No order at {TITLE} can be called so: nothing was sent.", {}, None), b""
    # Replace: the paths, and the headers that hold the credentials.
    url = f"{config.base_url}/orders/{segment}{call}"
    headers = {"Authorization": f"Bearer {config.api_key.get_secret_value()}", "Content-Type": "application/json"}
    response = yield HttpRequest(method, url, headers, body, config.timeout_s, repeatable=method == "GET")
    return read(response, config), response.body


def _result(answer: Answer) -> CancelResult:
    outcome = answer.outcome
    if outcome is CancelOutcome.SUCCEEDED and answer.body["status"] != "canceled":
        outcome = CancelOutcome.INDETERMINATE
    # An error of theirs may come after the cancel took effect: a refusal that follows is not believed without a probe.
    return CancelResult(outcome, answer.detail, answer.after_s, doubtful=outcome is CancelOutcome.RETRY)


def _snapshot(order: Order, answer: Answer, config: Config, raw: bytes) -> Facts | ProbeUnavailable:
    if answer.outcome is not CancelOutcome.SUCCEEDED:
        outcome = answer.outcome if answer.outcome in _SAME_FOR_A_PROBE else CancelOutcome.RETRY
        return ProbeUnavailable(answer.detail, outcome=outcome, after_s=answer.after_s)
    try:
        id, facts = order_id(answer.body), facts_of(answer.body, config, raw)
    except MalformedPayload as error:
        return ProbeUnavailable(f"{TITLE}'s answer cannot be read: {error}.")
    if id not in (order.id, *order.aliases):
        return ProbeUnavailable(f"{TITLE} answered with order {id} when asked for {order.id}.")
    return replace(facts, snapshot=True)
