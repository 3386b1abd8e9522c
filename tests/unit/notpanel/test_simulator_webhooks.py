from __future__ import annotations

import json

import pytest
from multidict import CIMultiDict
from pydantic import SecretStr
from unit.notpanel.support import AT, KEY, ORDERED, call, provider, webhooks

from app.contract import HttpRequest, InboundRequest, VerificationError, VerifyOptions
from app.kit.simulator import utc_time
from handlers.notpanel.simulator import DEFAULT_WEBHOOK_SECRET, STEPS, NotPanel
from handlers.notpanel.webhook import verify

HOOK = "https://hooks.example.com/in"


@pytest.mark.parametrize(("action", "event", "status"), [(action, *rest) for action, rest in STEPS.items()])
def test_a_step_changes_the_status_and_sends_only_documented_events(
    action: str, event: str | None, status: str
) -> None:
    made = provider("in_progress")
    shown = made.act({"do": action, "order_id": 1}, AT + 0.25)
    assert shown["status"] == status
    sent = webhooks(made)
    assert [each["event"] for each in sent] == ([event] if event else [])
    if sent:
        assert (sent[0]["data"]["order"], sent[0]["data"]["status"]) == ("1", status)
        assert sent[0]["created_at"] == "2026-03-02T16:04:06.250000+00:00"
    made = provider("in_progress")
    made.act({"do": action, "order_id": 1, "silent": True}, AT)
    assert made.emitted() == []


def test_neither_placing_nor_canceling_sends_a_webhook() -> None:
    made = NotPanel()
    _, placed = call(made, **ORDERED)
    made.act({"do": "create_order"}, AT)
    call(made, action="cancel", **placed)
    assert made.emitted() == []


def test_a_low_balance_is_told_once_when_it_falls() -> None:
    made = NotPanel()
    for balance in ("4.99", "3", "5", "4.99"):
        made.act({"do": "set_balance", "balance": balance}, AT)
    assert [(each["event"], each["data"]["balance"]) for each in webhooks(made)] == [("balance.low", "4.99")] * 2


def proves(webhook: HttpRequest, secret: str, after_s: float = 0.0) -> bool:
    request = InboundRequest(CIMultiDict(webhook.headers), {}, webhook.body)
    try:
        verify(request, VerifyOptions(secrets=(SecretStr(secret),)), utc_time(AT + after_s))
    except VerificationError:
        return False
    return True


def test_webhooks_are_signed_for_each_endpoint_with_the_secret_that_was_shown_once() -> None:
    made = provider("in_progress", "in_progress")
    code, added = call(made, action="webhook.add", url=HOOK, events="order.completed,balance.low")
    assert code == 200
    assert (added["url"], added["events"]) == (HOOK, ["order.completed", "balance.low"])
    assert added["secret"] not in json.dumps(made.act({"do": "webhooks"}, AT))
    made.act({"do": "complete", "order_id": 1}, AT)
    made.act({"do": "fail", "order_id": 2}, AT)
    one, other, failed = made.emitted()
    assert (one.method, one.url, one.body) == ("POST", "", other.body)
    assert proves(one, DEFAULT_WEBHOOK_SECRET)
    assert not proves(one, added["secret"])
    assert proves(other, added["secret"])
    assert not proves(other, added["secret"], after_s=301)
    assert json.loads(failed.body)["event"] == "order.failed"
    assert proves(failed, DEFAULT_WEBHOOK_SECRET)


def test_a_key_has_five_webhooks_at_most() -> None:
    made = NotPanel(keys=(KEY, "another"))
    codes = [call(made, action="webhook.add", url=f"{HOOK}/{number}")[0] for number in range(5)]
    assert codes == [200] * 4 + [400]
    assert call(made, key="another", action="webhook.add", url=HOOK)[0] == 200
    assert call(made, action="webhook.add", url=HOOK)[1] == {"error": "Maximum 5 webhooks per API key"}
    made.act({"do": "remove_webhook", "webhook": "wh_0"}, AT)
    code, added = call(made, action="webhook.add", url=HOOK)
    assert code == 200
    assert added["events"] == ["order.completed", "order.failed", "order.refunded", "order.cancelled", "balance.low"]
    secrets = {json.dumps(each) for each in made.act({"do": "webhooks"}, AT)["webhooks"]}
    assert len(secrets) == 6


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "Missing required parameter: url"),
        ({"url": "http://hooks.example.com/in"}, "https"),
        ({"url": "hooks.example.com"}, "https"),
        ({"url": "https://"}, "https"),
        ({"url": "https://127.0.0.1/in"}, "private"),
        ({"url": "https://10.1.2.3/in"}, "private"),
        ({"url": "https://[::1]/in"}, "private"),
        ({"url": "https://localhost/in"}, "private"),
        ({"url": HOOK, "events": "order.completed,order.flown"}, "order.flown"),
    ],
)
def test_what_cannot_be_registered(fields: dict[str, str], says: str) -> None:
    made = NotPanel(webhook_secret=None)
    code, body = call(made, action="webhook.add", **fields)
    assert code == 400
    assert says in body["error"]
    assert made.act({"do": "webhooks"}, AT) == {"webhooks": []}
