"""The console's search: an id or a name leads there, other text is looked for."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from browsers import Browser, text_of
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of, webhook


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    browser = Browser(rescind.url)
    await browser.sign_in()
    return browser


async def led(browser: Browser, text: str) -> str:
    """Where a search leads; empty if it shows a page of results."""
    status, response, _ = await browser.ask("GET", f"/search?q={quote(text, safe='')}")
    assert status in (200, 303), text
    return response.headers.get("Location", "")


async def test_every_id_leads_to_its_page(rescind: Rescind, browser: Browser) -> None:
    policy = {"accounts": [ACCOUNT], "when": "false", "mode": "shadow"}
    cancel = {"reason": "client_requested_cancelation", "note": "x"}
    await rescind.put("policies", "never", {**policy, "cancel": cancel})
    await rescind.put("subscriptions", "crm", {"events": ["cancellation.*"]})
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "stock-taking"})
    receipt = await rescind.tell("order.processed", "654321", request_id="r-1")
    cancellation = await rescind.cancel("654321")
    event = (await rescind.get("/v1/events?type=order.processed"))["data"][0]["id"]
    (alias, *_) = (await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/654321"))["aliases"]
    order = f"/orders/{ACCOUNT}/654321"
    for text, path in {
        receipt: f"/receipts/{receipt}",
        cancellation: f"/cancellations/{cancellation}",
        event: f"/events/{event}",
        ACCOUNT: f"/accounts/{ACCOUNT}",
        ENDPOINT: f"/endpoints/{ENDPOINT}",
        "never": "/policies/never",
        "crm": "/subscriptions/crm",
        "654321": order,
        " 654321 ": order,
        alias: order,
        f"{ACCOUNT}/654321": order,
    }.items():
        assert await led(browser, text) == path, text
    for nothing in ("evt_0", "rcp_x", "can_06544770b18cb000", "msg_0", "bat_0", "evt_" + "f" * 32, "nix", "%"):
        assert await led(browser, nothing) == "", nothing
        assert "Nothing was found" in await browser.get(f"/search?q={quote(nothing)}"), nothing


async def test_calls_keys_and_backtests_lead_to_where_they_are_shown(rescind: Rescind, browser: Browser) -> None:
    await rescind.tell("order.processed", "654321")
    cancellation = await rescind.cancel("654321")
    await rescind.settled(cancellation)
    attempt = (await rescind.get("/v1/attempts?kind=cancel"))["data"][0]
    key = (await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read"})).json["id"]
    cancel = {"reason": "client_requested_cancelation", "note": "x"}
    policy = {"accounts": [ACCOUNT], "when": "false", "mode": "shadow", "cancel": cancel}
    await rescind.put("policies", "new", policy)
    backtest = (await rescind.ask("POST", "/v1/policies/new/backtest", {})).json["id"]
    assert await led(browser, attempt["id"]) == f"/cancellations/{cancellation}"
    assert await led(browser, key) == f"/keys/{key}"
    assert await led(browser, backtest) == f"/policies/new/backtests/{backtest}"
    for nothing in ("att_0", "att_06544770b18cb000", "key_0", "bkt_0"):
        assert await led(browser, nothing) == "", nothing


async def test_a_resource_may_be_named_new(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("accounts", "new", account_of("http://127.0.0.1:9"))
    await rescind.put("endpoints", "new", endpoint_of("new"))
    await rescind.put("subscriptions", "new", {"events": ["cancellation.*"]})
    for kind in ("accounts", "endpoints", "subscriptions"):
        assert ">new</h1>" in await browser.get(f"/{kind}/new"), kind


async def test_a_message_leads_to_its_delivery(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("subscriptions", "crm", {"events": ["cancellation.*"]})
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "stock-taking"})
    await rescind.tell("order.processed", "654321")
    await rescind.cancel("654321")
    (delivery,) = (await rescind.get("/v1/subscriptions/crm/deliveries"))["data"]
    assert await led(browser, delivery["message"]) == f"/subscriptions/crm/deliveries/{delivery['message']}"


async def test_several_of_one_name_are_listed(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:9"))
    await rescind.put("endpoints", "other-in", endpoint_of("other"))
    await rescind.tell("order.processed", "654321")
    await rescind.tell("order.processed", "654321", "other-in")
    text = await browser.get("/search?q=654321")
    for account in (ACCOUNT, "other"):
        assert f'class="id" href="/orders/{account}/654321"' in text, account
    assert await led(browser, "other/654321") == "/orders/other/654321"


async def test_text_of_events_and_the_beginning_of_names(rescind: Rescind, browser: Browser) -> None:
    await rescind.tell("order.processed", "654321", request_id="zebra-7")
    await rescind.tell("order.processed", "654322", request_id="lion-7")
    text = await browser.get("/search?q=6543")
    assert f'href="/orders/{ACCOUNT}/654321"' in text
    assert f'href="/orders/{ACCOUNT}/654322"' in text
    event = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=654321"))["data"][0]["id"]
    text = await browser.get("/search?q=zebra-7")
    assert f'href="/events/{event}"' in text
    assert "654322" not in text
    assert await led(browser, "654321"), "one match leads there"
    assert f'class="id" href="/orders/{ACCOUNT}/654321"' in await browser.get("/search?q=654321&all=1")


async def test_a_key_finds_only_what_it_sees(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:9"))
    receipt = await rescind.tell("order.processed", "654321", request_id="zebra-7")
    body = {"name": "ann", "scope": "read", "accounts": ["other"]}
    reader = Browser(rescind.url)
    await reader.sign_in((await rescind.ask("POST", "/v1/keys", body)).json["key"])
    for text in (receipt, "654321", ACCOUNT, f"{ACCOUNT}/654321", "zebra-7", "6543"):
        assert await led(reader, text) == "", text
        assert "Nothing was found" in await reader.get(f"/search?q={quote(text)}"), text
        assert await led(browser, text) or text in await browser.get(f"/search?q={quote(text)}"), text


async def test_hostile_text(rescind: Rescind, browser: Browser) -> None:
    name = '<script>alert("x")</script>/../'
    assert (await rescind.hook(webhook("order.processed", name))).status == 200
    assert await led(browser, name) == f"/orders/{ACCOUNT}/{quote(name, safe='')}"
    for text in (*"%\"'*", "<script>", "a\0b", "x" * 5000, "../../", "\ud800".encode("utf-8", "replace").decode()):
        page = await browser.get(f"/search?q={quote(text, safe='')}")
        assert "<script>" not in page, text
    assert "<script>" in text_of(await browser.get(f"/search?q={quote('<script>')}"))
    assert "leads there at once" in await browser.get("/search")
