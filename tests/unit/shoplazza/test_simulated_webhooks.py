from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from unit.shoplazza.calling import (
    NOW,
    WEBHOOKS,
    act,
    call,
    errors,
    heard,
    provider_with_order,
    summary,
)
from unit.shoplazza.support import ID

from handlers.shoplazza.simulator import (
    DEFAULT_CLIENT_SECRET,
    NOT_FOUND,
    STEPS,
    Shoplazza,
)

# -- Webhooks --------------------------------------------------------------------------------


def test_a_webhook_is_signed_and_says_what_it_is() -> None:
    provider = Shoplazza()
    provider.act({"do": "create_order"}, NOW)
    [webhook] = provider.emitted()
    digest = hmac.new(DEFAULT_CLIENT_SECRET.encode(), webhook.body, hashlib.sha256).digest()
    assert (webhook.method, webhook.url) == ("POST", "")
    assert webhook.headers.pop("X-Shoplazza-Deduplication-ID")
    assert webhook.headers == {
        "Content-Type": "application/json",
        "X-Shoplazza-Topic": "orders/create",
        "X-Shoplazza-Hmac-Sha256": base64.b64encode(digest).decode(),
        "X-Shoplazza-Shop-Domain": "acme.myshoplaza.com",
        "X-Shoplazza-Api-Version": "2022-01",
    }
    assert json.loads(webhook.body)["order"]["status"] == "opened"


def test_a_webhook_may_be_bare_and_without_a_deduplication_id() -> None:
    provider = Shoplazza(wraps=False, deduplicates=False)
    provider.act({"do": "create_order"}, NOW)
    [webhook] = provider.emitted()
    assert json.loads(webhook.body)["id"] == ID
    assert "X-Shoplazza-Deduplication-ID" not in webhook.headers


def test_no_two_webhooks_have_one_deduplication_id() -> None:
    runs = []
    for now in (NOW, NOW + 1):
        provider = Shoplazza()
        provider.act({"do": "create_order", "paid": True}, now)
        act(provider, "update", now)
        act(provider, "update", now)
        runs += [each.headers["X-Shoplazza-Deduplication-ID"] for each in provider.emitted()]
    assert len(set(runs)) == len(runs) == 8


@pytest.mark.parametrize(("action", "topic", "changes"), [(action, *rest) for action, rest in STEPS.items()])
def test_a_step_changes_the_order_and_sends_its_topic(action: str, topic: str, changes: dict[str, str]) -> None:
    provider = provider_with_order()
    before = summary(provider)
    assert act(provider, action, NOW + 0.25) == {**before, **changes}
    [webhook] = provider.emitted()
    shown = json.loads(webhook.body)["order"]
    assert webhook.headers["X-Shoplazza-Topic"] == topic
    assert shown["updated_at"] == "2026-03-02T16:04:05.250000Z"
    assert act(provider, action, tags="vip", silent=True)
    assert provider.emitted() == []
    assert act(provider, "update", status="on the moon")["status"] == "on the moon"


def test_what_is_registered_is_sent_and_nothing_else() -> None:
    provider = provider_with_order(topics=("orders/finished",))
    assert call(provider, WEBHOOKS, {"address": "https://x.example", "topic": "orders/cancelled"})[0] == 200
    call(provider)
    assert heard(provider) == ["orders/cancelled", "orders/finished"]
    assert len(provider.act({"do": "drop_webhook"}, NOW)["dropped"]) == 1
    with pytest.raises(ValueError, match="no webhook"):
        provider.act({"do": "drop_webhook", "topic": "orders/paid"}, NOW)


def test_webhooks_are_listed_in_pages_and_filtered() -> None:
    provider = Shoplazza(burst=1000)
    for number in range(60):
        topic = "orders/paid" if number % 2 else "orders/create"
        code, made = call(provider, WEBHOOKS, {"address": f"https://{number}.example", "topic": topic})
        assert code == 200
        assert set(made["webhook"]) == {"id", "address", "topic", "format", "created_at", "updated_at"}

    def listed(query: str) -> list[str]:
        found = call(provider, WEBHOOKS + query, method="GET", now=NOW + 60)[1]["webhooks"]
        return [each["address"] for each in found]

    assert len(listed("")) == 50
    assert len(listed("?limit=250")) == len(listed("?limit=9999")) == len(listed("?limit=250&page=1")) == 60
    assert listed("?page=2") == [f"https://{number}.example" for number in range(50, 60)]
    assert listed("?limit=2&page=3") == ["https://4.example", "https://5.example"]
    assert listed("?topic=orders/paid&limit=1") == ["https://1.example"]
    assert listed("?address=https://7.example") == ["https://7.example"]
    assert listed("?page=9") == []
    assert len(listed("?limit=x&page=-1")) == 50


@pytest.mark.parametrize("body", [{}, {"address": "https://x.example"}, {"address": "", "topic": "x"}, b"no JSON"])
def test_a_webhook_has_an_address_and_a_topic(body: Any) -> None:
    assert call(Shoplazza(), WEBHOOKS, body)[0] == 422


def test_a_webhook_is_made_once_and_deleted_once() -> None:
    provider, body = Shoplazza(), {"address": "https://x.example", "topic": "orders/paid"}
    id = call(provider, WEBHOOKS, body)[1]["webhook"]["id"]
    assert call(provider, WEBHOOKS, body)[0] == 422
    assert call(provider, f"{WEBHOOKS}/{id}", method="DELETE")[0] == 200
    assert call(provider, f"{WEBHOOKS}/{id}", method="DELETE") == (404, errors(NOT_FOUND))
    assert call(provider, WEBHOOKS, body)[0] == 200
