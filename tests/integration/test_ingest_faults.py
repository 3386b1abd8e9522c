"""Webhooks when something fails here: too much at once, a handler with a fault, a fold that cannot be stored."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from providers import Provider, until
from servers import ACCOUNT, ENDPOINT, Rescind, endpoint_of, webhook

from app.config import registry
from app.contract import Facts, InboundRequest, MalformedPayload, Order, Parsed, ParsedEvent, Phase, Verdict
from app.engine import ledger
from handlers.planomatic import HANDLER

BRITTLE = "brittle-in"


def parse(request: InboundRequest, _config: Any) -> Parsed:
    """A handler with faults: what the body says, it does."""
    order, _, what = request.body.decode().partition(" ")
    match what:
        case "raises":
            raise ZeroDivisionError("division by zero in parse")
        case "malformed":
            raise MalformedPayload("it is malformed")
        case "nothing":
            return ()
        case "unstorable":
            facts = Facts(phase=Phase.OPEN, attributes={"a": object()})
        case "surrogate":
            facts = Facts(phase=Phase.OPEN, attributes={"a": "\ud800"})
        case "same alias":
            facts = Facts(phase=Phase.OPEN, aliases=("shared",))
        case _:
            facts = Facts(phase=Phase.OPEN)
    return [ParsedEvent(each, "order.opened", request.body, facts) for each in order.split("+")]


def verdict(order: Order, rules: Any, now: Any) -> Verdict:
    if order.id.startswith("bad"):
        raise KeyError("the rule stumbled")
    return HANDLER.verdict(order, rules, now)


@pytest.fixture
async def brittle(rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Rescind:
    """A Rescind with a second account, whose handler has faults."""
    provisional = replace(HANDLER, id_kind=lambda name: None if name.startswith("m-") else "id")
    handler = replace(provisional, name="brittle", parse=parse, verdict=verdict)
    monkeypatch.setitem(registry.handlers(), "brittle", handler)
    config = {"base_url": provider.url, "api_key": "brittle-key-123456"}
    await rescind.put("accounts", "brittle", {"provider": "brittle", "config": config})
    await rescind.put("endpoints", BRITTLE, endpoint_of("brittle"))
    return rescind


async def statuses(rescind: Rescind, bodies: Sequence[bytes], endpoint: str = BRITTLE) -> list[tuple[int, str]]:
    """What becomes of these at once."""
    replies = await asyncio.gather(*(rescind.hook(body, endpoint) for body in bodies))
    for reply, body in zip(replies, bodies, strict=True):
        assert await rescind.receipt_body(reply.json["receipt"]) == body
    return [(reply.status, reply.json["status"]) for reply in replies]


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("raises", "quarantined"),
        ("malformed", "quarantined"),
        ("unstorable", "quarantined"),
        ("surrogate", "quarantined"),
        ("nothing", "ignored"),
    ],
)
async def test_a_handler_that_fails_loses_nothing(brittle: Rescind, what: str, status: str) -> None:
    reply = await brittle.hook(f"o-1 {what}".encode(), BRITTLE)
    assert (reply.status, reply.json["status"]) == (202 if status == "quarantined" else 200, status)
    receipt = await brittle.get(f"/v1/receipts/{reply.json['receipt']}")
    assert (receipt["status"], receipt["body"]) == (status, f"o-1 {what}")
    assert receipt["reason"]
    again = await brittle.ask("POST", f"/v1/receipts/{receipt['id']}/reprocess")
    assert (again.status, again.json["status"]) == (200, status), again


async def test_what_cannot_be_stored_harms_nobody_in_its_batch(brittle: Rescind) -> None:
    bodies = [f"o-{n} {'unstorable' if n % 5 == 0 else 'opens'}".encode() for n in range(40)]
    async with brittle.node.store.transaction():
        # While the writer is taken they gather, and are served by one commit.
        tasks = asyncio.create_task(statuses(brittle, bodies))
        await until(lambda: _waiting(brittle, 30), "a batch")
    found = await tasks
    assert found == [(202, "quarantined") if n % 5 == 0 else (200, "accepted") for n in range(40)]
    orders = await brittle.pages("/v1/orders?account=brittle", 7)
    assert sorted(each["id"] for each in orders) == sorted(f"o-{n}" for n in range(40) if n % 5)


@pytest.mark.sqlite_only("it has one writer")
async def test_one_that_cannot_be_stored_is_found_by_halves(brittle: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [f"o-{n} {'unstorable' if n == 50 else 'opens'}".encode() for n in range(64 + 1)]
    store: Any = brittle.node.store
    begin, begun = store.transaction, []
    async with store.transaction():
        monkeypatch.setattr(store, "transaction", lambda locks: begun.append(1) or begin(locks))
        tasks = asyncio.create_task(statuses(brittle, bodies))
        await until(lambda: _waiting(brittle, 64), "a batch")
    found = await tasks
    assert found == [(202, "quarantined") if n == 50 else (200, "accepted") for n in range(65)]
    # The first alone, then 64 in halves (two for each time they are cut), then the one that is kept in quarantine.
    assert len(begun) == 1 + (1 + 2 * 6) + 1


async def test_one_webhook_about_many_orders_is_all_or_nothing(brittle: Rescind) -> None:
    assert await statuses(brittle, [b"a+b+c opens", b"d+e unstorable"]) == [(200, "accepted"), (202, "quarantined")]
    orders = await brittle.pages("/v1/orders?account=brittle", 10)
    assert sorted(each["id"] for each in orders) == ["a", "b", "c"]


async def test_a_rule_that_raises_leaves_the_verdict_unknown(brittle: Rescind) -> None:
    assert await statuses(brittle, [b"bad-1 opens"]) == [(200, "accepted")]
    shown = (await brittle.order("bad-1", "brittle"))["verdict"]
    assert (shown["cancelable"], shown["reason"]) == ("unknown", "rule_failed")
    assert shown["evidence"]
    at = await brittle.get("/v1/accounts/brittle/orders/bad-1/verdict?at=2030-01-01T00:00:00Z")
    assert at["cancelable"] == "unknown"
    assert (await brittle.ask("GET", "/v1/accounts/brittle/orders/bad-1/timeline")).status == 200


async def test_orders_that_share_a_name_become_one_in_whatever_batch(brittle: Rescind) -> None:
    bodies = [f"m-{n} same alias".encode() for n in range(6)]
    assert await statuses(brittle, bodies) == [(200, "accepted")] * 6
    (order,) = await brittle.pages("/v1/orders?account=brittle", 10)
    assert {order["id"], *order["aliases"]} == {"shared", *(f"m-{n}" for n in range(6))}
    assert order["version"] == 6
    for name in (order["id"], *order["aliases"]):
        assert (await brittle.order(name, "brittle"))["id"] == order["id"]


# -- Backpressure -------------------------------------------------------------------------------


async def _waiting(rescind: Rescind, number: int) -> bool:
    return rescind.node.ledger.waiting >= number


@pytest.mark.sqlite_only("it has one writer")
async def test_a_full_queue_turns_away_and_half_records_nothing(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "QUEUE_MAX", 4)
    async with rescind.node.store.transaction():
        tasks = [asyncio.create_task(rescind.hook(webhook("order.processed", f"o-{n}"))) for n in range(12)]
        await until(lambda: _waiting(rescind, 4), "a full queue")
        early, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in early:
            reply = await task
            reply.problem(503, "busy")
            assert int(reply.headers["Retry-After"]) >= 1
        (await rescind.request_cancel("o-1")).problem(503, "busy")
        ready = await rescind.ask("GET", "/readyz", key=None)
        assert (ready.status, "full" in ready.json["status"]) == (503, True)
    replies = [await task for task in tasks]
    taken = {f"o-{n}" for n, reply in enumerate(replies) if reply.status == 200}
    assert {reply.status for reply in replies} == {200, 503}
    assert {each["id"] for each in await rescind.pages("/v1/orders", 100)} == taken
    assert len(await rescind.pages("/v1/receipts", 100)) == len(taken)
    assert await rescind.pages("/v1/cancellations", 100) == []
    assert (await rescind.get("/readyz", key=None))["status"] == "ready"
    assert (await rescind.hook(webhook("order.processed", "later"))).status == 200


async def test_who_waits_at_the_end_of_the_process_is_served_or_told(rescind: Rescind) -> None:
    async with rescind.node.store.transaction():
        tasks = [asyncio.create_task(rescind.hook(webhook("order.processed", f"o-{n}"))) for n in range(20)]
        await until(lambda: _waiting(rescind, 1), "work")
        rescind.node.ledger.close()
    replies = [await task for task in tasks]
    taken = {f"o-{n}" for n, reply in enumerate(replies) if reply.status == 200}
    for reply in replies:
        assert reply.status in (200, 503)
    assert {each["id"] for each in await rescind.pages("/v1/orders", 100)} == taken
    (await rescind.hook(webhook("order.processed", "late"), ENDPOINT)).problem(503, "busy")
    assert taken, "who waited was served"
    assert {(await rescind.order(order, ACCOUNT))["version"] for order in taken} == {1}
