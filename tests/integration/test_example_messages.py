"""Example messages over the API: to one subscription, or to all that receive the type."""

from __future__ import annotations

from typing import Any

import pytest
from servers import ACCOUNT, Rescind
from standardwebhooks import Webhook
from subscribers import Subscriber

from app.core.outbound.types import CLOSING_SOON, OUTBOUND_TYPES

CRM = "/v1/subscriptions/crm"


@pytest.fixture
async def receiver() -> Any:
    subscriber = await Subscriber.start()
    yield subscriber
    await subscriber.close()


async def create(rescind: Rescind, id: str = "crm", **body: Any) -> str:
    reply = await rescind.ask("POST", "/v1/subscriptions", {"id": id, **body})
    assert reply.status == 201, reply
    return str(reply.json["secret"])


async def test_a_test_is_sent_to_this_subscription_only_and_its_attempt_returned(
    rescind: Rescind, receiver: Subscriber
) -> None:
    secret = await create(rescind, url=receiver.url, events=["policy.*"])
    await create(rescind, "other", url=receiver.url)
    reply = await rescind.ask("POST", f"{CRM}/test", {"account": ACCOUNT})
    [received] = receiver.received
    assert (reply.status, reply.json["state"], reply.json["test"]) == (200, "delivered", True)
    assert (reply.json["message"], reply.json["type"]) == (received.id, CLOSING_SOON)
    assert [attempt["status"] for attempt in reply.json["attempts"]] == [204]
    body = Webhook(secret).verify(received.body, dict(received.headers))
    assert (body["data"]["test"], body["data"]["account"]) == (True, ACCOUNT)
    receiver.respond = lambda _: 500
    failed = (await rescind.ask("POST", f"{CRM}/test", {"type": "policy.proposed"})).json
    assert (failed["state"], failed["type"]) == ("pending", "policy.proposed")
    assert [attempt["status"] for attempt in failed["attempts"]] == [500]


async def test_a_test_waits_as_any_message_where_the_subscription_is_held(
    rescind: Rescind, receiver: Subscriber
) -> None:
    await create(rescind, url=receiver.url, enabled=False)
    reply = await rescind.ask("POST", f"{CRM}/test")
    assert (reply.json["state"], reply.json["attempts"]) == ("pending", [])
    await rescind.ask("DELETE", CRM)
    await create(rescind)
    pulled = (await rescind.ask("POST", f"{CRM}/test")).json["message"]
    [message] = (await rescind.ask("POST", f"{CRM}/pull", {})).json["data"]
    assert message["id"] == pulled


async def test_what_cannot_be_sent_is_refused(rescind: Rescind) -> None:
    await create(rescind)
    for path in ("/v1/messages", f"{CRM}/test"):
        problem = (await rescind.ask("POST", path, {"type": "order.closing"})).problem(422, "invalid-request")
        assert "did you mean 'order.closing_soon'?" in problem["detail"]
        (await rescind.ask("POST", path, {"type": CLOSING_SOON, "account": "nobody"})).problem(404, "not-found")
    (await rescind.ask("POST", "/v1/subscriptions/none/test")).problem(404, "not-found")


async def test_every_type_can_be_triggered_and_goes_to_who_receives_it(rescind: Rescind) -> None:
    await create(rescind, "all")
    await create(rescind, "cancellations", events=["cancellation.*"], accounts=[ACCOUNT])
    await create(rescind, "elsewhere", accounts=["another"])
    for type in OUTBOUND_TYPES:
        reply = await rescind.ask("POST", "/v1/messages", {"type": type, "account": ACCOUNT})
        assert reply.status == 202, reply
        expected = ["all", "cancellations"] if type.startswith("cancellation.") else ["all"]
        assert (reply.json["subscriptions"], reply.json["account"]) == (expected, ACCOUNT), type
        [row] = (await rescind.get("/v1/subscriptions/all/deliveries?limit=1"))["data"]
        assert (row["message"], row["type"], row["test"]) == (reply.json["message"], type, True)
    await rescind.ask("DELETE", "/v1/subscriptions/all")
    reply = await rescind.ask("POST", "/v1/messages", {"type": CLOSING_SOON, "account": ACCOUNT})
    assert (reply.json["message"], reply.json["subscriptions"]) == (None, [])
    assert (await rescind.get("/v1/events"))["data"] == [], "nothing is recorded but deliveries"
