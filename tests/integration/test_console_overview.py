"""The console's start page and its list of orders: what needs a person, which windows close, and where names lead."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
from browsers import Browser, text_of
from providers import Provider
from servers import ACCOUNT, ROOT, Rescind, account_of, endpoint_of, execute_sql, webhook

from app.web import overview
from app.web.console.overview import where_to_act
from app.web.console.pages import PAGES
from app.web.pages import encode_cursor

CLOUD_EVENT = {"specversion": "1.0", "source": "/shop", "type": "com.example.shop.order.placed"}


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "FRESH_S", 0.0)
    monkeypatch.setattr(overview, "LASTING_S", 0.0)


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    browser = Browser(rescind.url)
    await browser.sign_in()
    return browser


async def open_shop(rescind: Rescind, provider: Provider, **closes_in_h: float) -> None:
    """An account `shop` with these orders, whose windows close in so many hours."""
    scenario = json.loads((ROOT / "handlers" / "generic" / "fixtures" / "_scenario.json").read_text(encoding="utf-8"))
    config = {**scenario["config"], "base_url": provider.url}
    await rescind.put("accounts", "shop", {"provider": "generic", "config": config, "rules": scenario["rules"]})
    await rescind.put("endpoints", "shop-in", endpoint_of("shop"))
    for id, hours in closes_in_h.items():
        begins = (datetime.now(UTC) + timedelta(hours=24 + hours)).isoformat()
        delivery = {"id": "d-1", "state": "booked", "from": begins}
        order = {"id": id, "number": f"no-{id}", "status": "placed", "deliveries": [delivery]}
        body = json.dumps({**CLOUD_EVENT, "id": id, "data": {"order": order}}).encode()
        told = await rescind.hook(body, "shop-in", headers={"Content-Type": "application/cloudevents+json"})
        assert told.json["status"] == "accepted", told


def orders_of(text: str) -> list[str]:
    return [unescape(id) for id in re.findall(r'<th scope="row"><a href="/orders/[^"]*" class="id">([^<]*)</a>', text)]


async def test_windows_that_close_lead_to_their_orders(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    await open_shop(rescind, provider, a=0.5, b=0.6, c=5.5)
    text = await browser.get("/")
    bars = re.findall(r'<a href="(/orders\?[^"]*)" tabindex="-1">\s*<rect class="bar"[^>]*><title>(\d+) between', text)
    assert [count for _, count in bars] == ["2", "1"]
    assert [sorted(orders_of(await browser.get(unescape(link)))) for link, _ in bars] == [["a", "b"], ["c"]]
    table = text.partition("As a table")[2].partition("</table>")[0]
    assert re.findall(r'class="number"><a href="([^"]*)">(\d+)</a>', table) == bars, "the table says what the bars say"
    assert orders_of(text)[:3] == ["a", "b", "c"], "those that close next, in turn"
    hour = await browser.get("/orders?closes_in=1h")
    assert orders_of(hour) == ["a", "b"], "those that close soonest come first"
    assert "in 29 min" in hour
    assert orders_of(await browser.get("/orders?closes_in=1h&cancelable=no")) == []


async def test_orders_by_closing_time_page_both_ways(rescind: Rescind, provider: Provider) -> None:
    await open_shop(rescind, provider, late=9, soon=0.5, later=20, next=2)
    by_closing = f"/v1/orders?closes_after={datetime.now(UTC).isoformat().replace('+00:00', 'Z')}"
    ids = ["soon", "next", "late", "later"]
    assert [order["id"] for order in await rescind.pages(by_closing, 1)] == ids
    page = await rescind.get(f"{by_closing}&limit=3")
    moments = [datetime.fromisoformat(order["closes_at"]) for order in page["data"]]
    assert moments == sorted(moments)
    page = await rescind.get(f"{by_closing}&limit=3&cursor={page['next_cursor']}")
    assert ([order["id"] for order in page["data"]], page["next_cursor"]) == (ids[3:], None)
    back = await rescind.get(f"{by_closing}&limit=3&cursor={page['previous_cursor']}")
    assert ([order["id"] for order in back["data"]], back["previous_cursor"]) == (ids[:3], None)
    before = await rescind.get(f"{by_closing}&cursor={encode_cursor((0, '', 0), newer=True)}")
    assert (before["data"], before["previous_cursor"]) == ([], None)
    again = await rescind.get(f"{by_closing}&limit=3&cursor={before['next_cursor']}")
    assert [order["id"] for order in again["data"]] == ids[:3]
    (await rescind.ask("GET", f"{by_closing}&cursor={encode_cursor(7)}")).problem(422, "invalid-request")


async def test_a_list_by_verdict_has_no_order_that_has_another_one_by_now(rescind: Rescind, tmp_path: Path) -> None:
    await rescind.tell("order.processed", "o-1")
    reason = (await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/o-1"))["verdict"]["reason"]
    assert [order["id"] for order in (await rescind.get(f"/v1/orders?cancelable=yes&reason={reason}"))["data"]] == [
        "o-1"
    ]
    # As if time had changed its verdict, and the timer had not been there yet.
    execute_sql(tmp_path, "UPDATE orders SET cancelable = 'unknown', reason = 'stale'")
    for query in ("cancelable=unknown", "reason=stale"):
        assert (await rescind.get(f"/v1/orders?{query}"))["data"] == []


async def test_what_needs_a_person_leads_to_where_one_acts(rescind: Rescind, browser: Browser) -> None:
    assert "Nothing needs a person now" in await browser.get("/")
    await rescind.hook({"event": "order.flown", "order_id": "<b>1</b>"})
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "<script>stock-taking</script>"})
    await rescind.tell("order.processed", "1")
    await rescind.cancel("1")
    text = await browser.get("/")
    for link in ("/quarantine", f"/accounts/{ACCOUNT}"):
        assert f'class="button" href="{link}"' in text, link
    assert "<script>" not in text
    said = text_of(text)
    assert "<script>stock-taking</script>" in said
    assert "1 live cancellations" in said
    assert "1 jobs due" in said
    assert "0 of 100" in said


def test_every_finding_leads_to_a_page() -> None:
    pages = {page.path.strip("/").partition("/")[0] for page in PAGES} | {"quarantine", "cancellations"}
    for code, what in (
        ("quarantined", "receipts"),
        ("approvals", "cancellations"),
        ("indeterminate", "cancellations"),
        ("paused", "account a/b"),
        ("paused", "everything"),
        ("paused", "all policies"),
        ("policy_halted", "policy p"),
        ("endpoint_silent", "endpoint e"),
        ("subscription_failing", "subscription s"),
    ):
        link, _ = where_to_act({"code": code, "account": None, "what": what})
        assert link.strip("/").partition("/")[0].partition("?")[0] in pages | {"policies", "subscriptions", "endpoints"}
        assert "a/b" not in link


async def test_a_key_of_some_accounts_sees_one_of_them(rescind: Rescind, browser: Browser) -> None:
    await rescind.put("accounts", "zoo", account_of("http://127.0.0.1:9"))
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:9"))
    await rescind.ask("POST", "/v1/pause", {"account": "other", "reason": "secret stock-taking"})
    body = {"name": "ann", "scope": "read", "accounts": [ACCOUNT, "zoo"]}
    await browser.sign_in((await rescind.ask("POST", "/v1/keys", body)).json["key"])
    text = await browser.get("/")
    assert f"Overview of {ACCOUNT}" in text
    assert "secret stock-taking" not in text
    assert "Overview of zoo" in await browser.get("/?account=zoo")
    assert (await browser.ask("GET", "/?account=other"))[0] == 404
    await rescind.tell("order.processed", "1")
    assert orders_of(await browser.get("/orders")) == ["1"]
    assert orders_of(await browser.get("/orders?account=zoo")) == []


async def test_a_name_leads_to_its_order(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    await open_shop(rescind, provider, abc=3.0, abcd=3.0)
    for name, order in (("abcd", "abcd"), ("no-abcd", "abcd")):
        status, response, _ = await browser.ask("GET", f"/orders?text={name}")
        assert (status, response.headers["Location"]) == (303, f"/orders/shop/{order}"), name
    assert sorted(orders_of(await browser.get("/orders?text=abc"))) == ["abc", "abcd"]
    assert "No order matches" in await browser.get("/orders?text=zzz")


async def test_hostile_filters_and_names(rescind: Rescind, browser: Browser) -> None:
    name = '<script>alert("x")</script>/../'
    assert (await rescind.hook(webhook("order.processed", name))).status == 200
    text = await browser.get("/orders")
    assert "<script>" not in text
    assert f'href="/orders/{ACCOUNT}/{quote(name, safe="")}"' in text
    status, _, text = await browser.ask("GET", f"/orders?phase={quote('<script>')}")
    assert (status, "<script>" in text) == (422, False)
    assert "<script>" not in await browser.get(f"/orders?text={quote('<script>none')}")
    for wrong in ("closes_after=soon", "cursor=x", "opened_until=1"):
        assert (await browser.ask("GET", f"/orders?{wrong}"))[0] == 422, wrong


async def test_orders_page_both_ways_with_their_filters(
    rescind: Rescind, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.console.orders.ROWS", 2)
    for number in range(5):
        await rescind.tell("order.processed", f"{number}")
    seen, path = [], "/orders?cancelable=yes"
    while path:
        text = await browser.get(path)
        assert 'value="yes" selected' in text
        seen.append(orders_of(text))
        path = next((f"/orders{unescape(link)}" for link in re.findall(r'rel="next" href="([^"]*)"', text)), "")
    assert seen == [["4", "3"], ["2", "1"], ["0"]]
    (back,) = re.findall(r'rel="prev" href="([^"]*)"', text)
    assert orders_of(await browser.get(f"/orders{unescape(back)}")) == ["2", "1"]
