from __future__ import annotations

import json
from typing import Any

import pytest
from contract.handler_cases import context, converse, drive
from unit.shoplazza.support import CONFIG, SECRET, TOKEN, make

from app.contract import Flow, HttpRequest, HttpResponse, Registration, RegistrationFailed
from handlers.shoplazza.registration import PAGE_MAX, PAGES_MAX, register, registrations, unregister
from handlers.shoplazza.simulator import Shoplazza
from handlers.shoplazza.words import TOPICS

URL = "https://rescind.example.com/webhooks/acme-in"
BASE = "https://acme.myshoplaza.com/openapi/2022-01"
NOW = 1_772_467_445.0


def answer(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {}, json.dumps(body).encode())


def webhook(number: int, topic: str = "orders/paid", address: str = URL) -> dict[str, str]:
    at = "2026-03-02T16:04:05Z"
    return {
        "id": f"w-{number}",
        "address": address,
        "topic": topic,
        "format": "json",
        "created_at": at,
        "updated_at": at,
    }


def failing(flow: Flow[Any], responses: list[HttpResponse]) -> tuple[str, list[HttpRequest]]:
    """What a flow that fails says, and what it asked."""
    asked = []
    with pytest.raises(RegistrationFailed) as caught:  # noqa: PT012 - the flow fails at its last answer
        asked.append(next(flow))
        asked.extend(flow.send(each) for each in responses)
    assert len(asked) == len(responses)
    said = str(caught.value)
    assert TOKEN not in said
    assert SECRET not in said
    assert said.endswith(".")
    return said, asked


# -- List ------------------------------------------------------------------------------------


def test_all_webhooks_are_listed() -> None:
    body = {"webhooks": [webhook(1), webhook(2, "orders/create", "https://else.example.com/")]}
    found, [request] = drive(registrations(CONFIG, context()), [answer(body)])
    assert found == [
        Registration("w-1", URL, "orders/paid"),
        Registration("w-2", "https://else.example.com/", "orders/create"),
    ]
    assert (request.method, request.url) == ("GET", f"{BASE}/webhooks?limit=250&page=1")
    assert request.headers["access-token"] == TOKEN
    assert request.repeatable


def test_pages_are_asked_for_until_one_is_not_full() -> None:
    pages = [[webhook(page * PAGE_MAX + n) for n in range(PAGE_MAX)] for page in range(2)]
    answers = [answer({"webhooks": each}) for each in (*pages, [webhook(9999)])]
    found, asked = drive(registrations(CONFIG, context()), answers)
    assert len(found) == 2 * PAGE_MAX + 1
    assert [each.url.rpartition("=")[2] for each in asked] == ["1", "2", "3"]
    _, asked = drive(registrations(CONFIG, context()), [answers[0], answer({"webhooks": []})])
    assert len(asked) == 2


def test_a_server_that_knows_no_pages_is_asked_twice_at_most() -> None:
    full = answer({"webhooks": [webhook(n) for n in range(PAGE_MAX)]})
    found, asked = drive(registrations(CONFIG, context()), [full, full])
    assert (len(found), len(asked)) == (PAGE_MAX, 2)


def test_the_pages_are_bounded() -> None:
    answers = [
        answer({"webhooks": [webhook(page * PAGE_MAX + n) for n in range(PAGE_MAX)]}) for page in range(PAGES_MAX)
    ]
    said, asked = failing(registrations(CONFIG, context()), answers)
    assert "more than 5000" in said
    assert len(asked) == PAGES_MAX


@pytest.mark.parametrize(
    "odd", [None, 1, [], {}, {**webhook(1), "id": None}, {**webhook(1), "topic": 1}, {**webhook(1), "id": ".."}]
)
def test_an_odd_entry_is_left_out(odd: object) -> None:
    found, _ = drive(registrations(CONFIG, context()), [answer({"webhooks": [odd, webhook(2)]})])
    assert [each.id for each in found] == ["w-2"]


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (answer({"errors": ["Unauthorized"]}, 400), "access_token"),
        (answer({}, 429), "429"),
        (answer({}), "no list of webhooks"),
        (answer({"webhooks": {}}), "no list of webhooks"),
        (HttpResponse(200, {}, b""), "no list of webhooks"),
        (HttpResponse(200, {}, b"<html>"), "not what Shoplazza answers"),
        (HttpResponse(404, {}, b""), "base_url"),
        (HttpResponse(502, {}, b""), "502"),
    ],
)
def test_a_list_that_cannot_be_had_is_no_empty_list(response: HttpResponse, says: str) -> None:
    said, _ = failing(registrations(CONFIG, context()), [response])
    assert says in said


# -- Register --------------------------------------------------------------------------------


def test_only_the_topics_asked_for_are_registered() -> None:
    topics = ["orders/paid", "orders/cancelled"]
    answers = [answer({"webhook": webhook(n, topic)}) for n, topic in enumerate(topics)]
    made, asked = drive(register(URL, topics, CONFIG, context()), answers)
    assert made == [Registration("w-0", URL, "orders/paid"), Registration("w-1", URL, "orders/cancelled")]
    assert [(each.method, each.url) for each in asked] == [("POST", f"{BASE}/webhooks")] * 2
    assert [json.loads(each.body) for each in asked] == [{"address": URL, "topic": topic} for topic in topics]
    assert not any(each.repeatable for each in asked)
    assert drive(register(URL, [], CONFIG, context()), []) == ([], [])


def test_what_failed_and_what_did_not_is_said() -> None:
    answers = [
        answer({"webhook": webhook(1, "orders/create")}),
        answer({"errors": {"address": ["is invalid"]}}, 422),
        answer({"webhook": webhook(3, "orders/update")}),
        answer({"webhook": webhook(4, "another/topic")}),
    ]
    topics = ["orders/create", "orders/paid", "orders/update", "orders/finished"]
    said, _ = failing(register(URL, topics, CONFIG, context()), answers)
    assert said == (
        "Not registered: orders/paid: Shoplazza answered 422, address: is invalid. "
        "orders/finished: The response shows no webhook. Registered were: orders/create, orders/update."
    )


@pytest.mark.parametrize(
    "response",
    [answer({"error": "Unauthorized"}, 400), answer({}, 403), answer({}, 429), answer({}, 404), answer({}, 302)],
)
def test_what_is_in_vain_is_not_tried_again(response: HttpResponse) -> None:
    made = answer({"webhook": webhook(1, "orders/create")})
    topics = ["orders/create", "orders/paid", "orders/update", "orders/finished"]
    said, asked = failing(register(URL, topics, CONFIG, context()), [made, response])
    assert len(asked) == 2
    assert "orders/update, orders/finished: not tried after that. Registered were: orders/create." in said


# -- Unregister ------------------------------------------------------------------------------


def test_webhooks_are_deleted() -> None:
    given = [Registration("w-1", URL, "orders/paid"), Registration("b ?", URL, "orders/create")]
    answers = [answer({}), HttpResponse(204, {}, b"")]
    _, asked = drive(unregister(given, CONFIG, context()), answers)
    assert [(each.method, each.url) for each in asked] == [
        ("DELETE", f"{BASE}/webhooks/w-1"),
        ("DELETE", f"{BASE}/webhooks/b%20%3F"),
    ]
    assert all(each.repeatable and not each.body for each in asked)


@pytest.mark.parametrize("id", ["", "..", "a/b", "a\n"])
def test_an_id_that_leads_elsewhere_is_not_deleted(id: str) -> None:
    given = [Registration(id, URL, "orders/paid"), Registration("w-1", URL, "orders/create")]
    with pytest.raises(RegistrationFailed, match=r"orders/paid: its id .* fits into no URL.*were: orders/create"):
        drive(unregister(given, CONFIG, context()), [answer({})])


def test_what_is_gone_already_is_deleted() -> None:
    given = [Registration("w-1", URL, "orders/paid")]
    drive(unregister(given, CONFIG, context()), [answer({"errors": ["Record not found"]}, 404)])
    said, _ = failing(unregister(given, CONFIG, context()), [HttpResponse(404, {}, b"")])
    assert said.startswith("Not deleted: orders/paid: What answered (404)")


def test_what_could_not_be_deleted_is_said() -> None:
    given = [
        Registration(f"w-{n}", URL, topic) for n, topic in enumerate(["orders/paid", "orders/paid", "orders/create"])
    ]
    said, _ = failing(unregister(given, CONFIG, context()), [answer({}, 500), answer({}), answer({}, 502)])
    assert said.count("orders/") == 3
    assert said.endswith("Deleted were: orders/paid.")
    said, asked = failing(unregister(given, CONFIG, context()), [answer({}, 401)])
    assert len(asked) == 1
    assert "orders/paid, orders/create: not tried after that." in said


# -- Around the loop -------------------------------------------------------------------------


def test_a_subscription_that_shoplazza_dropped_is_restored() -> None:
    provider = Shoplazza(topics=())
    config = make(base_url="http://127.0.0.1:1")

    def run(flow: Flow[Any]) -> Any:
        return converse(flow, provider, NOW)

    def missing() -> list[str]:
        known = {each.topic for each in run(registrations(config, context())) if each.url == URL}
        return [each for each in TOPICS if each not in known]

    provider.act({"do": "create_order"}, NOW)
    assert provider.emitted() == []
    assert missing() == list(TOPICS)
    made = run(register(URL, missing(), config, context()))
    assert [each.topic for each in made] == list(TOPICS)
    assert missing() == []
    provider.act({"do": "pay", "order_id": "633130-00000004"}, NOW)
    assert [each.headers["X-Shoplazza-Topic"] for each in provider.emitted()] == ["orders/paid"]
    provider.act({"do": "drop_webhook", "topic": "orders/fulfilled"}, NOW)
    provider.act({"do": "ship", "order_id": "633130-00000004"}, NOW)
    assert provider.emitted() == []
    assert missing() == ["orders/fulfilled"]
    run(register(URL, missing(), config, context()))
    assert missing() == []
    with pytest.raises(RegistrationFailed, match="already been taken"):
        run(register(URL, ["orders/paid"], config, context()))
    run(unregister(run(registrations(config, context())), config, context()))
    assert run(registrations(config, context())) == []
