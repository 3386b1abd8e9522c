"""Sources that answer 200 whatever happened, as GraphQL does: Shopify's orderCancel, in the forms of its docs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from unit.generic.support import canceled, make, order

from app.contract import HttpResponse

# https://shopify.dev/docs/api/admin-graphql/latest/mutations/orderCancel: a cancel is a job, done in its own time.
MUTATION = (
    "mutation cancel($id: ID!, $reason: OrderCancelReason!, $note: String) {orderCancel(orderId: $id, reason: $reason, "
    "restock: true, notifyCustomer: false, refundMethod: {originalPaymentMethodsRefund: true}, staffNote: $note) "
    "{job {id done} orderCancelUserErrors {field message code}}}"
)
ERRORS = "data.orderCancel.orderCancelUserErrors"
CANCEL: dict[str, Any] = {
    "url": "/admin/api/2026-01/graphql.json",
    "headers": {"X-Shopify-Access-Token": "{{ secrets.api_key }}"},
    "body": {
        "query": MUTATION,
        "variables": {"id": "gid://shopify/Order/{{ order.id }}", "reason": "{{ reason }}", "note": "{{ note }}"},
    },
    "detail": f"{ERRORS}[0].message || errors[0].message",
    "answers": [
        {"when": "errors[?extensions.code == 'THROTTLED']", "outcome": "throttled"},
        {"when": "errors[?extensions.code == 'ACCESS_DENIED']", "outcome": "unauthorized"},
        {"when": f"{ERRORS}[?code == 'NOT_FOUND']", "outcome": "refused"},
        {"when": ERRORS, "outcome": "refused"},
        {"status": "2xx", "when": "data.orderCancel.job.id", "outcome": "accepted"},
        {"when": "errors", "outcome": "indeterminate"},
    ],
    "throttle": {
        "remaining": "extensions.cost.throttleStatus.currentlyAvailable",
        "at_most": 9,
        "restored_per_s": "extensions.cost.throttleStatus.restoreRate",
    },
}


def canceling(job: Any = None, *errors: tuple[str, str]) -> dict[str, Any]:
    listed = [{"field": ["orderId"], "message": message, "code": code} for code, message in errors]
    return {"data": {"orderCancel": {"job": job, "orderCancelUserErrors": listed}}}


@pytest.mark.parametrize(
    ("body", "outcome", "detail"),
    [
        (canceling({"id": "gid://shopify/Job/1", "done": False}), "accepted", ""),
        (canceling(None, ("INVALID", "Cannot cancel a fulfilled order")), "refused", "Cannot cancel a fulfilled order"),
        (canceling(None, ("NOT_FOUND", "Order does not exist")), "refused", "Order does not exist"),
        ({"errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}]}, "throttled", "Throttled"),
        ({"errors": [{"message": "Denied", "extensions": {"code": "ACCESS_DENIED"}}]}, "unauthorized", "Denied"),
        ({"errors": [{"message": "Internal error", "extensions": {"code": "OTHER"}}]}, "indeterminate", ""),
        ({"data": {"orderCancel": None}}, "indeterminate", ""),
        ({"data": None}, "indeterminate", ""),
        ({}, "indeterminate", ""),
        ([], "indeterminate", ""),
    ],
)
def test_a_200_with_errors_is_no_success(body: Any, outcome: str, detail: str) -> None:
    response = HttpResponse(200, {"content-type": "application/json"}, json.dumps(body).encode())
    request, result = canceled(make(cancel=CANCEL), order("1234"), response, "CUSTOMER", 'said "no"')
    assert request is not None
    assert json.loads(request.body) == {
        "query": MUTATION,
        "variables": {"id": "gid://shopify/Order/1234", "reason": "CUSTOMER", "note": 'said "no"'},
    }
    assert (result.outcome, detail in result.detail) == (outcome, True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ order.id.replace('gid://shop/', '') }}", "Order/1234"),
        ("{{ order.id.substring(17) }}", "1234"),
        ("{{ order.id.split('/')[4] }}", "1234"),
        ("{{ order.id.lowerAscii() }}", "gid://shop/order/1234"),
        ("{{ base64.encode(bytes('user:' + order.id)) }}", "dXNlcjpnaWQ6Ly9zaG9wL09yZGVyLzEyMzQ="),
        ("{{ string(base64.decode('aGk=')) }}", "hi"),
        ("{{ int(order.attributes.version) }}", 7),
        ("{{ int(order.attributes.text) + 1 }}", 8),
        ("{{ double(order.attributes.price) }}", 12.5),
        ("{{ order.attributes.price }}", "12.50"),
        ("{{ '%.2f'.format([double(order.attributes.price)]) }}", "12.50"),
        ("{{ int(math.round(double(order.attributes.price) * 100.0)) }}", 1250),
        ("{{ order.attributes.?none.orValue('x') }}", "x"),
        ("{{ reason == 'late' ? 'CUSTOMER' : 'OTHER' }}", "CUSTOMER"),
        ("{{ {'late': 'CUSTOMER'}[?reason].orValue('OTHER') }}", "CUSTOMER"),
        ("{{ note.size() > 10 ? note.substring(0, 10) : note }}", "0123456789"),
        ("{{ string(now) }}", "2026-03-02T16:04:06Z"),
        ("{{ int(now) }}", 1772467446),
        ("{{ cancellation.id }}-{{ attempt }}", "-1"),
        ("{{ order.attributes.lines.map(l, l.id) }}", ["a", "b"]),
    ],
)
def test_what_sources_need_of_templates_is_there(text: str, value: Any) -> None:
    attributes = {"version": 7, "text": "7", "price": "12.50", "lines": [{"id": "a"}, {"id": "b"}]}
    config = make(cancel={"url": "/cancel", "body": {"x": text}})
    known = order("gid://shop/Order/1234", attributes=attributes)
    request, _ = canceled(config, known, HttpResponse(200), "late", "0123456789abc")
    assert request is not None
    assert json.loads(request.body) == {"x": value}
