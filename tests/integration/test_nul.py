"""NUL characters, which PostgreSQL cannot hold in text: refused or set aside on every database, and never a fault."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from servers import ACCOUNT, CANCEL_BODY, Rescind, webhook

from app.contract import Facts, MalformedPayload, ParsedEvent, Unrecognized

AT = f"/v1/accounts/{ACCOUNT}"


def parsed(**more: Any) -> list[ParsedEvent]:
    given = {"order": "o-1", "type": "order.processed", "key": b"1", "facts": Facts(), **more}
    return [ParsedEvent(**given)]


PARSED: dict[str, Any] = {
    "order": parsed(order="o\0"),
    "type": parsed(type="order\0"),
    "alias": parsed(facts=Facts(aliases=("a", "b\0"))),
    "shared alias": parsed(facts=Facts(shared_aliases=("b\0",))),
    "reason": Unrecognized("what is \0?"),
}


@pytest.mark.parametrize("what", PARSED)
async def test_a_webhook_whose_texts_hold_a_nul_is_set_aside(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Handlers of the package take NULs out themselves; others may not."""
    account = rescind.node.config.accounts[ACCOUNT]
    monkeypatch.setattr(type(account.handler), "parse", lambda *_: PARSED[what], raising=False)
    body = msgspec.json.encode(webhook("order.processed", "o\0"))
    reply = await rescind.hook(body)
    assert (reply.status, reply.json["status"]) == (202, "quarantined")
    receipt = await rescind.get(f"/v1/receipts/{reply.json['receipt']}")
    assert "\0" not in receipt["reason"]
    assert receipt["reason"]
    assert await rescind.receipt_body(reply.json["receipt"]) == body


async def test_an_error_with_a_nul_is_kept_readable(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> list[ParsedEvent]:
        raise MalformedPayload("here: \0")

    account = rescind.node.config.accounts[ACCOUNT]
    monkeypatch.setattr(type(account.handler), "parse", failing, raising=False)
    reply = await rescind.hook(b"\0\xff")
    receipt = await rescind.get(f"/v1/receipts/{reply.json['receipt']}")
    assert (receipt["status"], receipt["reason"]) == ("quarantined", "here: \ufffd")
    assert await rescind.receipt_body(reply.json["receipt"]) == b"\0\xff"


async def test_requests_with_a_nul_are_refused(rescind: Rescind) -> None:
    asked: list[tuple[str, str, Any]] = [
        ("GET", f"{AT}/orders/o%00", None),
        ("GET", f"{AT}%00/orders/o", None),
        ("GET", "/v1/cancellations/can_%00", None),
        ("GET", "/v1/policies/p%00", None),
        ("GET", "/v1/keys?limit=1&cursor=%00", None),
        ("GET", "/v1/orders?text=a%00b", None),
        ("GET", "/v1/events?account=a%00", None),
        ("GET", "/v1/receipts?reason=a%00b", None),
        ("DELETE", "/v1/keys/key_%00", None),
        ("POST", f"{AT}/orders/o%00/cancellations", CANCEL_BODY),
        ("POST", f"{AT}/orders/o-1/cancellations", {**CANCEL_BODY, "note": "a\0b"}),
        ("POST", "/v1/cancellation-batches", {"cancellations": [{"account": ACCOUNT, "order": "o\0", **CANCEL_BODY}]}),
        ("POST", "/v1/keys", {"name": "a\0b", "scope": "read"}),
        ("POST", "/v1/pause", {"scope": "all", "reason": "a\0b"}),
        ("POST", "/v1/pause", {"scope": "all", "reason\0": "a"}),
        ("PUT", "/v1/accounts/a%00", {"provider": "planomatic"}),
        ("PUT", "/v1/policies/p", {"accounts": [ACCOUNT], "when": "true", "description": "a\0b"}),
    ]
    for method, path, body in asked:
        reply = await rescind.ask(method, path, body)
        assert reply.status in (400, 404, 422), (method, path, reply)
        assert reply.json["detail"]
    # What only looks like one is text.
    assert (await rescind.ask("POST", "/v1/keys", {"name": r"a\u0000b", "scope": "read"})).status == 201
