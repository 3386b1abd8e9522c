"""From any record to those that it led to, and back: receipts, events, cancellations, attempts, messages."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from providers import Provider, until
from servers import ACCOUNT, Rescind, account_of, endpoint_of

from app.store import pieces

CRM = {"events": ["*"]}
"""Without a url: its messages are pulled, and stay."""


async def canceled(rescind: Rescind, provider: Provider, order: str, **more: Any) -> str:
    """Cancel an order at the provider; returns the id of the cancellation, when it has succeeded."""
    await provider.create(order)
    await rescind.tell("order.processed", order)
    id = await rescind.cancel(order, **more)
    await rescind.settled(id, "succeeded")
    return id


async def message_ids(rescind: Rescind) -> list[str]:
    rows = await rescind.pages("/v1/subscriptions/crm/deliveries", 100)
    return [row["message"] for row in reversed(rows)]


async def test_every_link_leads_there_and_back(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("subscriptions", "crm", CRM)
    await canceled(rescind, provider, "o-0")
    id = await canceled(rescind, provider, "o-1")
    cancellation = await rescind.cancellation(id)
    # The cancellation leads to its steps, in turn, and each of them back.
    steps = [await rescind.get(f"/v1/events/{event}") for event in cancellation["events"]]
    assert [step["data"]["step"] for step in steps] == list(range(1, len(steps) + 1))
    assert [step["type"] for step in (steps[0], steps[-1])] == ["cancellation.scheduled", "cancellation.succeeded"]
    assert all(step["cancellations"] == [id] for step in steps)
    assert cancellation["decision"] is None
    # To its attempts, and each of them back.
    assert len(cancellation["attempt_ids"]) == cancellation["attempts"] == 1
    attempt = await rescind.get(f"/v1/attempts/{cancellation['attempt_ids'][0]}")
    assert (attempt["cancellation"], attempt["order"], attempt["outcome"]) == (id, "o-1", "succeeded")
    assert attempt["exchanges"]
    # To the messages about it, and each of them back to the event that caused it.
    assert cancellation["messages"]
    of_steps = set()
    for message_id in cancellation["messages"]:
        message = await rescind.get(f"/v1/messages/{message_id}")
        assert (message["order"], message["type"].partition(".")[0]) == ("o-1", "cancellation")
        assert message["event"] in cancellation["events"]
        cause = await rescind.get(f"/v1/events/{message['event']}")
        assert message_id in cause["messages"]
        [delivery] = message["deliveries"]
        assert (delivery["subscription"], delivery["state"], delivery["event"]) == ("crm", "pending", message["event"])
        of_steps.add(message_id)
    # All messages of the order: each event that has any names them, and no other.
    events = await rescind.pages(f"/v1/events?account={ACCOUNT}&order=o-1", 100)
    linked = [link for row in events for link in (await rescind.get(f"/v1/events/{row['id']}"))["messages"]]
    shown = [await rescind.get(f"/v1/messages/{message}") for message in await message_ids(rescind)]
    assert sorted(linked) == sorted(message["id"] for message in shown if message["order"] == "o-1")
    assert of_steps < set(linked)
    # The webhook's receipt leads to its events and orders; the order to its receipts.
    webhook = next(row for row in events if row["type"] == "order.processed")
    receipt = await rescind.get(f"/v1/receipts/{webhook['receipt']}")
    assert (receipt["events"], receipt["orders"]) == ([webhook["id"]], ["o-1"])
    receipts = await rescind.pages(f"/v1/receipts?account={ACCOUNT}&order=o-1", 100)
    assert [row["id"] for row in receipts] == [receipt["id"]]
    # The cancellation was judged by that webhook, which leads to it.
    assert (await rescind.get(f"/v1/events/{webhook['id']}"))["cancellations"] == [id]


async def test_a_rejection_is_linked_with_what_it_rests_on(rescind: Rescind) -> None:
    await rescind.tell("order.delivered", "o-1")
    refused = (await rescind.request_cancel("o-1")).json
    [evidence] = refused["verdict"]["evidence"]
    assert (await rescind.get(f"/v1/events/{evidence}"))["cancellations"] == [refused["cancellation"]["id"]]


async def test_a_policy_s_cancellation_leads_to_its_decision(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    policy = {
        "accounts": [ACCOUNT],
        "when": "order.phase == 'open'",
        "cancel": {"reason": "duplicate_order", "note": "x"},
        "mode": "enforce",
    }
    assert (await rescind.ask("PUT", "/v1/policies/p?confirm=true", policy)).status == 201
    await rescind.tell("order.processed", "o-1")

    async def done() -> Any:
        rows = (await rescind.get("/v1/cancellations?state=succeeded"))["data"]
        return rows and rows[0]["id"]

    id = await until(done, "the policy's cancellation")
    cancellation = await rescind.cancellation(id)
    decision = await rescind.get(f"/v1/events/{cancellation['decision']}")
    assert (decision["type"], decision["data"]["policy"], decision["cancellations"]) == ("policy.acted", "p", [id])


async def test_a_notice_about_no_order_leads_to_its_message(rescind: Rescind) -> None:
    await rescind.put("subscriptions", "crm", CRM)
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    [row] = (await rescind.get("/v1/events?type=sending.paused"))["data"]
    event = await rescind.get(f"/v1/events/{row['id']}")
    assert event["messages"] == await message_ids(rescind)
    message = await rescind.get(f"/v1/messages/{event['messages'][0]}")
    assert (message["type"], message["event"], message["order"]) == ("account.paused", row["id"], None)


async def test_what_is_not_there(rescind: Rescind) -> None:
    for path in ("attempts/att_0000000000000001", "attempts/x", "messages/msg_0000000000000001", "messages/x"):
        (await rescind.ask("GET", f"/v1/{path}")).problem(404, "not-found")


async def test_attempts_are_filtered(rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    await rescind.put("accounts", "bravo", account_of(provider.url))
    await rescind.put("endpoints", "bravo-in", endpoint_of("bravo"))
    ids = [await canceled(rescind, provider, f"o-{n}") for n in range(4)]
    await rescind.ask("POST", f"/v1/accounts/{ACCOUNT}/probes", {"orders": ["o-1"]})

    async def probed() -> Any:
        return (await rescind.get("/v1/attempts?kind=probe&outcome=succeeded"))["data"]

    await until(probed, "a probe")
    every = await rescind.pages("/v1/attempts", 2)
    assert [row["kind"] for row in every] == ["probe", *["cancel"] * 4]
    assert [row["cancellation"] for row in every[1:]] == ids[::-1]
    assert "exchanges" not in every[0]
    middle = every[2]["started_at"]
    later = (datetime.fromisoformat(middle) + timedelta(milliseconds=1)).isoformat().replace("+00:00", "Z")
    for query, wanted in (
        (f"account={ACCOUNT}", every),
        ("account=bravo", []),
        (f"account={ACCOUNT}&order=o-1", [row for row in every if row["order"] == "o-1"]),
        ("kind=cancel", every[1:]),
        ("kind=probe", every[:1]),
        ("outcome=succeeded", every),
        ("outcome=retry", []),
        (f"cancellation={ids[0]}", every[-1:]),
        (f"cancellation={ids[0]}&account=bravo", []),
        (f"since={later}", every[:2]),
        (f"until={later}", every[2:]),
        (f"since={later}&kind=cancel", every[1:2]),
        (f"until={later}&kind=cancel&account={ACCOUNT}", every[2:]),
    ):
        assert await rescind.pages(f"/v1/attempts?{query}", 2) == wanted, query
    monkeypatch.setattr(pieces, "SEARCH_S", 0.0)
    monkeypatch.setattr(pieces, "PIECE_ROWS", 1)
    page = await rescind.get("/v1/attempts?kind=cancel&limit=2")
    assert not page["complete"]
    assert page["searched_until"]
    for query, status in (("account=nobody", 404), ("order=o-1", 422), ("kind=x", 422), ("cursor=x", 422)):
        assert (await rescind.ask("GET", f"/v1/attempts?{query}")).status == status, query
