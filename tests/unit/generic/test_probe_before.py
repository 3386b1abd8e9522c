"""A probe before each try to cancel, and what identifies a cancellation in templates."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from unit.generic.support import CALL, NOW, make, order, probed

from app.contract import CancelRequest, CancelResult, Context, Facts, HttpRequest, HttpResponse, Order, Phase
from handlers.generic.cancel import cancel

# Square's UpdateOrder: the version must be the order's present one.
SQUARE: dict[str, Any] = {
    "fields": {"order": "order.id", "status": "order.state", "attributes": {"version": "order.version"}},
    "phases": {"OPEN": "open", "COMPLETED": "completed", "CANCELED": "canceled"},
    "cancel": {
        "method": "PUT",
        "url": "/v2/orders/{{ order.id }}",
        "probe_before": True,
        "body": {
            "idempotency_key": "{{ cancellation.id }}",
            "order": {"version": "{{ int(order.attributes.version) }}", "state": "CANCELED"},
        },
    },
    "probe": {"url": "/v2/orders/{{ order.id }}"},
}


def talk(request: CancelRequest, *answers: HttpResponse, **changes: Any) -> tuple[list[HttpRequest], CancelResult]:
    """The calls that a cancel makes, and its result."""
    flow, calls = cancel([request], make(**{**SQUARE, **changes}), Context(NOW)), list[HttpRequest]()
    try:
        calls.append(next(flow))
        for response in answers:
            calls.append(flow.send(response))
    except StopIteration as end:
        return calls, end.value[0]
    raise AssertionError("it asks again")


def told(status: str, version: int = 7) -> HttpResponse:
    body = {"order": {"id": "o-1", "state": status, "version": version}}
    return HttpResponse(200, {"content-type": "application/json"}, json.dumps(body).encode())


def known(**more: Any) -> Order:
    return order(attributes={"version": 3}, **more)


@pytest.mark.parametrize("status", ["OPEN", "COMPLETED", "CANCELED", "DRAFT"])
def test_the_order_is_probed_and_nothing_is_sent_until_that_is_recorded(status: str) -> None:
    [call], result = talk(CancelRequest(known(), "late"), told(status))
    assert (call.method, call.repeatable) == ("GET", True)
    assert result.outcome == "probe_first"
    assert isinstance(result.facts, Facts)
    assert result.facts.snapshot
    assert result.facts.attributes == {"version": 7}
    assert result.facts.phase is (Phase.UNKNOWN if status == "DRAFT" else Phase(status.lower()))


def test_once_it_is_recorded_the_cancel_is_made_of_it() -> None:
    request = CancelRequest(order(attributes={"version": 7}), "late", None, "can_1", 2, probed=True)
    [call], result = talk(request, HttpResponse(200))
    assert (call.method, call.repeatable, result.outcome) == ("PUT", False, "succeeded")
    assert json.loads(call.body) == {"idempotency_key": "can_1", "order": {"version": 7, "state": "CANCELED"}}


@pytest.mark.parametrize(
    ("response", "outcome", "after_s"),
    [
        (HttpResponse(404, {}, b'{"errors": []}'), "refused", None),
        (HttpResponse(401), "unauthorized", None),
        (HttpResponse(429, {"retry-after": "9"}), "throttled", 9),
        (HttpResponse(503), "retry", None),
        (HttpResponse(200, {}, b"<html>"), "retry", None),
        (HttpResponse(200, {}, b'{"order": {"id": "o-2", "state": "OPEN"}}'), "retry", None),
    ],
)
def test_a_probe_that_brings_nothing_sends_nothing(response: HttpResponse, outcome: str, after_s: float | None) -> None:
    [call], result = talk(CancelRequest(known(), "late"), response)
    assert (call.method, result.outcome, result.after_s, result.facts) == ("GET", outcome, after_s, None)
    assert "nothing was sent" in result.detail
    assert not result.may_have_applied


def test_without_it_the_cancel_is_sent_at_once() -> None:
    [call], _ = talk(
        CancelRequest(known(), "late"), HttpResponse(200), cancel={**SQUARE["cancel"], "probe_before": False}
    )
    assert call.method == "PUT"


def test_it_needs_a_probe() -> None:
    with pytest.raises(ValidationError, match=r"cancel\.probe_before: there is no call to probe by"):
        make(**{**SQUARE, "probe": None})
    with pytest.raises(ValidationError, match="Extra inputs"):
        make(probe={"url": "/orders/{{ order.id }}", "probe_before": True})


def test_templates_may_name_the_cancellation_and_the_try() -> None:
    call = {
        **CALL,
        "url": "/orders/{{ order.id }}/cancel?key={{ cancellation.id }}",
        "headers": {"Idempotency-Key": "{{ cancellation.id }}-{{ attempt }}"},
        "body": {"try": "{{ attempt }}"},
    }
    requests, _ = talk(CancelRequest(order(), "late", None, "can_7", 3), HttpResponse(200), cancel=call)
    [request] = requests
    assert request.url.endswith("?key=can_7")
    assert request.headers["Idempotency-Key"] == "can_7-3"
    assert json.loads(request.body) == {"try": 3}
    # A probe may be about no cancellation.
    config = make(probe={"url": "/orders/{{ order.id }}?key={{ cancellation.id }}&n={{ attempt }}"})
    assert isinstance(probed(config, order(), HttpResponse(200, {}, b'{"id": "o-1", "status": "placed"}')), Facts)
