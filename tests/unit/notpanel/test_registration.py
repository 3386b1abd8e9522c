"""NotPanel's webhooks are added, listed and removed; the secret that one gets is returned, and shown nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from unit.notpanel.support import CONFIG, KEY, NOW, context, converse, drive, response

from app.contract import HttpRequest, Registration, RegistrationFailed, RegistrationWithSecret
from handlers.notpanel.config import Config
from handlers.notpanel.registration import register, registrations, unregister
from handlers.notpanel.simulator import NotPanel

HOOK = "https://rescind.example.com/webhooks/in"
TOPICS = ("order.completed", "order.failed")


def carry(flow: Any, panel: NotPanel) -> Any:
    return converse(flow, panel, NOW.timestamp())


def hooks(panel: NotPanel) -> list[Any]:
    return list(panel.act({"do": "webhooks"}, NOW.timestamp())["webhooks"])


def test_a_webhook_is_added_with_its_events_listed_and_removed() -> None:
    panel = NotPanel(webhook_secret=None)
    made = carry(register(HOOK, TOPICS, CONFIG, context()), panel)
    [hook] = hooks(panel)
    assert (hook["url"], tuple(hook["events"])) == (HOOK, TOPICS)
    assert [one.topic for one in made] == list(TOPICS)
    assert all(isinstance(one, RegistrationWithSecret) and one.secret for one in made)
    assert made[0].secret not in repr(made)
    listed = carry(registrations(CONFIG, context()), panel)
    assert listed == [Registration(hook["webhook"], HOOK, topic) for topic in TOPICS]
    carry(unregister(listed, CONFIG, context()), panel)
    assert hooks(panel) == []
    carry(unregister(listed, CONFIG, context()), panel)


def test_a_webhook_that_lacks_an_event_is_replaced_by_one_that_has_all() -> None:
    panel = NotPanel(webhook_secret=None)
    first = carry(register(HOOK, TOPICS[:1], CONFIG, context()), panel)
    second = carry(register(HOOK, TOPICS[1:], CONFIG, context()), panel)
    [hook] = hooks(panel)
    assert tuple(hook["events"]) == TOPICS, "each event arrives once, signed by one secret"
    assert first[0].secret != second[0].secret


def test_what_fails_is_said_in_a_sentence() -> None:
    for panel, said in (
        (NotPanel(lists_webhooks=False), "set config.list_webhooks_action"),
        (NotPanel(keys=("another",)), "set the right key"),
    ):
        with pytest.raises(RegistrationFailed, match=said):
            carry(register(HOOK, TOPICS, CONFIG, context()), panel)
    with pytest.raises(RegistrationFailed, match="https"):
        carry(register("http://rescind.example.com/in", TOPICS, CONFIG, context()), NotPanel())
    full = NotPanel(webhook_secret=None)
    for number in range(5):
        carry(register(f"{HOOK}-{number}", TOPICS, CONFIG, context()), full)
    with pytest.raises(RegistrationFailed, match="Maximum 5"):
        carry(register(HOOK, TOPICS, CONFIG, context()), full)
    for body in ({}, {"webhook": "wh_1"}, {"secret": "s"}, [], {"webhook": {"id": "1"}}):
        with pytest.raises(RegistrationFailed, match="no id and secret"):
            drive(register(HOOK, TOPICS, CONFIG, context()), [response([]), response(body)])
    odd = response({"data": [{"id": 7, "url": HOOK, "events": "a, b,"}, {"id": 8}, {"url": HOOK}, 3]})
    assert drive(registrations(CONFIG, context()), [odd])[0] == [
        Registration("7", HOOK, "a"),
        Registration("7", HOOK, "b"),
    ]


def test_the_call_that_shows_a_secret_is_confidential_and_is_not_repeated() -> None:
    config = Config.model_validate({"key": KEY, "remove_webhook_action": "webhook.remove", "webhook_id_keys": ["id"]})
    flow = register(HOOK, TOPICS, config, context())
    assert next(flow).repeatable
    removal = flow.send(response([{"id": "w1", "url": HOOK, "events": ["x"]}]))
    assert b"action=webhook.remove&id=w1" in removal.body
    request: HttpRequest = flow.send(response({}))
    assert (request.confidential, request.repeatable) == (True, False)
    assert b"events=x%2Corder.completed%2Corder.failed" in request.body
