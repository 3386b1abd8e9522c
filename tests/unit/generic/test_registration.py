"""Webhooks are listed, registered and deleted by the calls of `registration`, within bounds and without secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from contract.handler_cases import context, converse, drive
from pydantic import ValidationError
from unit.generic.support import FOLDER, NOW, make

from app.contract import Flow, HttpRequest, HttpResponse, Registration, RegistrationFailed, RegistrationWithSecret
from handlers.generic import HANDLER
from handlers.generic.config import Config
from handlers.generic.registration import (
    CREATED_MAX,
    LISTED_MAX,
    NAMED_MAX,
    PAGES_MAX,
    register,
    registrations,
    topics,
    unregister,
)
from handlers.generic.simulator import DEFAULT_API_KEY, ExampleShop

HOOK = "https://rescind.example.com/webhooks/in"
OTHER = "https://else.example.com/in"
BASE = "https://api.example.com/v2"
KEY = {"Authorization": "Bearer {{ secrets.api_key }}"}
SINGLE: dict[str, Any] = {
    "topics": ["orders/create", "orders/cancelled"],
    "list": {
        "url": "/webhooks?limit=250",
        "headers": KEY,
        "items": "webhooks",
        "fields": {"id": "id", "url": "address", "topic": "topic"},
        "next": "next",
    },
    "create": {
        "url": "/webhooks",
        "headers": KEY,
        "body": {"webhook": {"address": "{{ registration.url }}", "topic": "{{ registration.topic }}"}},
        "id": "webhook.id",
    },
    "delete": {"url": "/webhooks/{{ registration.id }}.json", "headers": KEY},
}
"""A source that takes one topic by a call."""
TOGETHER: dict[str, Any] = {
    "topics": ["order.placed", "order.canceled"],
    "list": {
        "url": "/v1/webhooks",
        "headers": KEY,
        "items": "data",
        "fields": {"id": "id", "url": "url", "topic": "topics"},
        "next": "next",
    },
    "create": {
        "url": "/v1/webhooks",
        "headers": KEY,
        "body": {"url": "{{ registration.url }}", "topics": "{{ registration.topics }}"},
        "id": "id",
        "secret": "secret",
    },
    "delete": {"url": "/v1/webhooks/{{ registration.id }}", "headers": KEY},
}
"""The API of the Example shop: all topics by one call, and a secret for each registration."""


def single(**changes: Any) -> Config:
    return make(registration=changed(SINGLE, changes))


def changed(api: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The API with some keys of its calls replaced: `create={"id": "x"}`."""
    return {**api, **{key: {**api[key], **new} if isinstance(new, dict) else new for key, new in changes.items()}}


def shop_config(**changes: Any) -> Config:
    return make(base_url="http://shop", api_key=DEFAULT_API_KEY, registration=changed(TOGETHER, changes))


def response(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {"content-type": "application/json"}, json.dumps(body).encode())


def outcome(flow: Flow[Any], *answers: HttpResponse) -> tuple[Any, list[HttpRequest]]:
    """(what the flow returns, its requests)."""
    result: tuple[Any, list[HttpRequest]] = drive(flow, list(answers))
    return result


def failure(flow: Flow[Any], *answers: HttpResponse) -> str:
    with pytest.raises(RegistrationFailed) as failed:
        drive(flow, list(answers))
    return str(failed.value)


def page(*ids: int, next: Any = None) -> HttpResponse:
    return response({"webhooks": [{"id": id, "address": HOOK, "topic": f"t{id}"} for id in ids], "next": next})


# -- At the Example shop ----------------------------------------------------------------------


def carry(flow: Flow[Any], shop: ExampleShop) -> Any:
    return converse(flow, shop, NOW.timestamp())


def hooks(shop: ExampleShop) -> list[Any]:
    return list(shop.act({"do": "list"}, NOW.timestamp())["webhooks"])


def test_all_topics_are_registered_by_one_call_listed_and_deleted() -> None:
    shop, config = ExampleShop(), shop_config()
    made = carry(register(HOOK, topics(config), config, context()), shop)
    [hook] = hooks(shop)
    assert (hook["url"], hook["topics"]) == (HOOK, TOGETHER["topics"])
    assert [one.topic for one in made] == TOGETHER["topics"]
    assert all(isinstance(one, RegistrationWithSecret) and one.secret.startswith("whsec_") for one in made)
    assert made[0].secret not in repr(made)
    listed = carry(registrations(config, context()), shop)
    assert listed == [Registration("hook_1", HOOK, topic) for topic in TOGETHER["topics"]]
    carry(unregister(listed, config, context()), shop)
    assert hooks(shop) == []
    carry(unregister(listed, config, context()), shop)


def test_where_the_source_makes_the_secret_there_is_one_registration_with_all_topics() -> None:
    shop, config = ExampleShop(), shop_config()
    [first] = carry(register(HOOK, ["order.placed"], config, context()), shop)
    carry(register(OTHER, ["order.placed"], config, context()), shop)
    second = carry(register(HOOK, ["order.canceled"], config, context()), shop)
    assert [(hook["url"], hook["topics"]) for hook in hooks(shop)] == [
        (OTHER, ["order.placed"]),
        (HOOK, ["order.placed", "order.canceled"]),
    ]
    assert first.secret != second[0].secret


def test_all_pages_are_read() -> None:
    shop, config = ExampleShop(), shop_config()
    for number in range(5):
        carry(register(f"{HOOK}-{number}", ["order.placed"], config, context()), shop)
    listed = carry(registrations(config, context()), shop)
    assert [one.url for one in listed] == [f"{HOOK}-{number}" for number in range(5)]


# -- The calls --------------------------------------------------------------------------------


def test_each_topic_is_registered_by_a_call_of_its_own() -> None:
    answers = (response({"webhook": {"id": 7}}, 201), response({"webhook": {"id": 8}}, 201))
    made, requests = outcome(register(HOOK, SINGLE["topics"], single(), context()), *answers)
    assert made == [Registration("7", HOOK, "orders/create"), Registration("8", HOOK, "orders/cancelled")]
    assert [json.loads(one.body)["webhook"] for one in requests] == [
        {"address": HOOK, "topic": topic} for topic in SINGLE["topics"]
    ]
    assert {(one.method, one.url, one.repeatable, one.confidential) for one in requests} == {
        ("POST", f"{BASE}/webhooks", False, False)
    }
    assert {one.headers["Authorization"] for one in requests} == {"Bearer k3y-of-the-api"}
    _, [deleted] = outcome(unregister(made[:1], single(), context()), response({}))
    assert (deleted.method, deleted.url, deleted.repeatable) == ("DELETE", f"{BASE}/webhooks/7.json", True)


def test_what_shows_secrets_is_confidential() -> None:
    flow = register(HOOK, ["order.placed"], shop_config(), context())
    listing = next(flow)
    creating = flow.send(response({"data": []}))
    assert (listing.confidential, creating.confidential, creating.repeatable) == (True, True, False)


def test_a_registration_for_all_topics_needs_no_topic_in_the_list() -> None:
    api = changed(TOGETHER, {"list": {"fields": {"id": "id", "url": "url"}}, "create": {"secret": None}})
    config = make(registration=api)
    listed, _ = outcome(registrations(config, context()), response({"data": [{"id": 1, "url": HOOK}]}))
    assert listed == [Registration("1", HOOK, topic) for topic in TOGETHER["topics"]]


def test_what_is_no_registration_in_a_list_is_left_out() -> None:
    rows = [{"id": 1, "address": HOOK}, {"address": HOOK, "topic": "a"}, {"id": 2, "topic": "a"}, 3, None, {}]
    rows += [{"id": "x", "address": HOOK, "topic": ["a", 4, "b"]}, {"id": [], "address": HOOK, "topic": "a"}]
    listed, _ = outcome(registrations(single(), context()), response({"webhooks": rows}))
    assert listed == [Registration("x", HOOK, "a"), Registration("x", HOOK, "b")]


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("?page=2&limit=5", f"{BASE}/webhooks?page=2&limit=5"),
        ("/v2/webhooks?page=2", f"{BASE}/webhooks?page=2"),
        (f"{BASE}/webhooks?page=2", f"{BASE}/webhooks?page=2"),
    ],
)
def test_the_next_page_may_be_a_query_a_path_or_a_url(given: str, url: str) -> None:
    listed, requests = outcome(registrations(single(), context()), page(1, next=given), page(2, next=""))
    assert [one.id for one in listed] == ["1", "2"]
    assert [one.url for one in requests] == [f"{BASE}/webhooks?limit=250", url]
    assert requests[1].headers["Authorization"] == "Bearer k3y-of-the-api"


def test_credentials_go_to_no_page_that_is_not_below_base_url() -> None:
    elsewhere = [
        "https://evil.example.com/v2/webhooks",
        "//evil.example.com/v2/webhooks",
        "https://api.example.com.evil.example.com/v2/",
        "https://api.example.com@evil.example.com/v2/",
        "http://api.example.com/v2/webhooks",
        "/v3/webhooks",
        "../v1/webhooks",
        "/v2/%2e%2e/v1/webhooks",
        "/v2/..%5cv1",
        "/v2/a b",
        "/v2/ä",
        "/v2/webhooks#x",
        "https://[",
        7,
        ["?page=2"],
    ]
    for given in elsewhere:
        said = failure(registrations(single(), context()), page(1, next=given))
        assert "registration.list.next" in said, given


def test_the_calls_carry_the_account_s_token() -> None:
    token = {"url": "https://api.example.com/token", "body": {"key": "{{ secrets.api_key }}"}}
    api = {**SINGLE, **{name: {**SINGLE[name], "headers": {}} for name in ("list", "create", "delete")}}
    config = make(registration=api, token=token)
    granted = response({"access_token": "t0ken-of-the-source", "expires_in": 3600})
    echo = response({"error": "t0ken-of-the-source is not allowed to"}, 403)
    flow, account = registrations(config, context()), context()
    _, requests = outcome(flow, granted, page(1, next="?page=2"), page(2))
    assert [one.headers.get("Authorization") for one in requests[1:]] == ["Bearer t0ken-of-the-source"] * 2
    assert requests[2].url == f"{BASE}/webhooks?page=2"
    said = failure(register(HOOK, ["orders/create"], config, account), granted, echo)
    assert "t0ken" not in said


# -- Bounds -----------------------------------------------------------------------------------


def test_a_list_without_an_end_is_left() -> None:
    answers = [page(number, next=f"?page={number}") for number in range(PAGES_MAX)]
    assert f"more than {PAGES_MAX} pages" in failure(registrations(single(), context()), *answers)


def test_a_page_that_is_too_long_is_not_read() -> None:
    assert f"may have {LISTED_MAX}" in failure(registrations(single(), context()), page(*range(LISTED_MAX + 1)))
    row = {"id": 1, "address": HOOK, "topic": ["t"] * (2 * NAMED_MAX)}
    assert "smaller pages" in failure(registrations(single(), context()), response({"webhooks": [row]}))


def test_what_the_list_never_shows_is_not_registered_for_ever() -> None:
    config, account = single(), context()
    for number in range(CREATED_MAX):
        outcome(register(HOOK, ["orders/create"], config, account), response({"webhook": {"id": number}}))
    assert "still `list` does not show it" in failure(register(HOOK, ["orders/create"], config, account))
    outcome(register(HOOK, ["orders/cancelled"], config, account), response({"webhook": {"id": 9}}))
    # Deleted by a person's order, it may be registered again.
    outcome(unregister([Registration("1", HOOK, "orders/create")], config, account), response({}))
    outcome(register(HOOK, ["orders/create"], config, account), response({"webhook": {"id": 10}}))


def test_a_refused_registration_does_not_count() -> None:
    config, account = single(), context()
    for _ in range(CREATED_MAX + 1):
        assert "taken" in failure(
            register(HOOK, ["orders/create"], config, account), response({"error": "The address is taken"}, 422)
        )


# -- Failures ---------------------------------------------------------------------------------


def test_what_failed_is_said_topic_by_topic() -> None:
    answers = (response({"error": "The topic is unknown"}, 422), response({"webhook": {"id": 8}}, 201))
    said = failure(register(HOOK, SINGLE["topics"], single(), context()), *answers)
    assert said.startswith("Not registered: orders/create: ")
    assert "The topic is unknown" in said
    assert said.endswith(" Registered were: orders/cancelled.")


def test_after_refused_credentials_nothing_more_is_tried() -> None:
    said = failure(register(HOOK, SINGLE["topics"], single(), context()), response({"error": "k3y-of-the-api?"}, 401))
    assert "orders/create: " in said
    assert said.endswith("orders/cancelled: not tried after that.")
    assert "k3y" not in said
    listed = [Registration(str(number), HOOK, f"t{number}") for number in range(2)]
    assert failure(unregister(listed, single(), context()), response({}, 403)).startswith("Not deleted: t0: ")


def test_a_registration_that_is_gone_is_no_failure_to_delete() -> None:
    listed = [Registration(str(number), HOOK, f"t{number}") for number in range(3)]
    answers = (HttpResponse(404), response({"error": "locked"}, 409), response({}, 410))
    said = failure(unregister(listed, single(), context()), *answers)
    assert said.startswith("Not deleted: t1: ")
    assert said.endswith("Deleted were: t0, t2.")


def test_an_id_that_fits_into_no_url_is_not_called() -> None:
    assert "cannot be made" in failure(unregister([Registration("../7", HOOK, "t")], single(), context()))


@pytest.mark.parametrize("body", [{}, {"webhook": {}}, {"webhook": {"id": None}}, [], {"webhook": {"id": {"a": 1}}}])
def test_a_response_without_an_id_is_a_failure(body: Any) -> None:
    assert "registration.create.id" in failure(register(HOOK, ["orders/create"], single(), context()), response(body))


@pytest.mark.parametrize("secret", [None, "", 7, ["x"], "x" * 1001])
def test_a_registration_without_its_secret_is_taken_back(secret: Any) -> None:
    flow = register(HOOK, ["order.placed"], make(registration=TOGETHER), context())
    next(flow)
    flow.send(response({"data": []}))
    deleted = flow.send(response({"id": "h1", "secret": secret}))
    assert (deleted.method, deleted.url) == ("DELETE", f"{BASE}/v1/webhooks/h1")
    with pytest.raises(RegistrationFailed, match=r"registration\.create\.secret") as failed:
        flow.send(response({}))
    assert "x" * 1001 not in str(failed.value)


@pytest.mark.parametrize(
    ("body", "said"), [({}, "webhooks || `[]`"), ([], "no list"), ({"webhooks": 3}, "no list"), ("x", "no list")]
)
def test_a_response_without_a_list_is_a_failure_and_not_an_empty_list(body: Any, said: str) -> None:
    assert said in failure(registrations(single(), context()), response(body))
    empty = single(list={"items": "webhooks || `[]`"})
    assert outcome(registrations(empty, context()), response({}))[0] == []


def test_a_list_that_is_refused_is_a_failure() -> None:
    for status in (401, 404, 429, 500):
        assert "cannot be listed" in failure(registrations(single(), context()), response({}, status))


# -- Configuration ----------------------------------------------------------------------------


def test_without_registration_an_account_registers_nothing() -> None:
    assert HANDLER.topics(make()) == ()
    assert HANDLER.topics(single()) == tuple(SINGLE["topics"])


@pytest.mark.parametrize(
    ("api", "changes", "said"),
    [
        (SINGLE, {"topics": []}, "topics"),
        (SINGLE, {"topics": ["a", "a"]}, "a topic stands there twice"),
        (SINGLE, {"topics": [str(number) for number in range(101)]}, "topics"),
        (SINGLE, {"create": {"body": {"topic": "{{ registration.topic }}"}}}, "nothing in it states the webhook's URL"),
        (
            SINGLE,
            {"create": {"body": ["{{ registration.url + registration.topic }}", "{{ registration.topics }}"]}},
            "not both",
        ),
        (SINGLE, {"list": {"fields": {"id": "id", "url": "address"}}}, "registration.list.fields.topic"),
        (SINGLE, {"create": {"secret": "secret"}}, "an endpoint has one secret"),
        (SINGLE, {"create": {"url": "/webhooks/{{ order.id }}"}}, "there is no order.id"),
        (SINGLE, {"create": {"body": "{{ registration.id }} {{ registration.url }}"}}, "there is no registration.id"),
        (SINGLE, {"create": {"url": "/webhooks?key={{ secrets.api_key }}"}}, "not in a URL"),
        (SINGLE, {"list": {"url": "/webhooks/{{ registration.url }}"}}, "there is no registration.url"),
        (SINGLE, {"list": {"method": "DELETE"}}, "a list reads"),
        (SINGLE, {"list": {"items": "a["}}, "JMESPath"),
        (SINGLE, {"delete": {"url": "/webhooks"}}, "nothing in it states which registration"),
        (SINGLE, {"delete": {"answers": [{"status": 200, "outcome": "accepted"}]}}, "cannot mean accepted"),
        (SINGLE, {"create": {"headers": {"Authorization": "Bearer x"}}}, "secrets.api_key"),
        (SINGLE, {"create": {"headers": {"X-A": "{{ secrets.none }}"}}}, "registration.create.headers.X-A"),
    ],
)
def test_what_does_not_fit_together_is_refused_when_it_is_saved(
    api: dict[str, Any], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        make(registration=changed(api, changes))
    assert said in str(refused.value)


def test_one_topic_may_have_a_secret_of_its_own() -> None:
    config = single(topics=["orders/create"], create={"secret": "secret"})
    answers = (page(), response({"webhook": {"id": 1}, "secret": "s3cret"}))
    [made], _ = outcome(register(HOOK, ["orders/create"], config, context()), *answers)
    assert made == RegistrationWithSecret("1", HOOK, "orders/create", "s3cret")


def test_the_readme_describes_every_key() -> None:
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name in ("topics", "list", "items", "fields", "next", "create", "secret", "delete"):
        assert f"`{name}`" in readme, name
    for name in ("url", "topic", "topics", "id"):
        assert f"`registration.{name}`" in readme, name
