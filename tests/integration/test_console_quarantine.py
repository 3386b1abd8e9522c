"""The quarantine in the console: why webhooks were set aside, what helps, a preview, and parsing them again."""

from __future__ import annotations

import re

import pytest
from browsers import Browser, text_of
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

NAMED_ELSEWHERE = [{"name": "order.processed", "order_id": f"o-{number}"} for number in range(3)]


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    admin = Browser(rescind.url)
    await admin.sign_in()
    for body in (*NAMED_ELSEWHERE, b"{", b"{{", b'[{"<script>": 1}', {"event": "<script>x</script>", "order_id": "1"}):
        assert (await rescind.hook(body)).json["status"] == "quarantined"
    await rescind.put("accounts", "other", account_of("http://127.0.0.1:9"))
    await rescind.put("endpoints", "other-in", endpoint_of("other"))
    await rescind.hook(b"{", "other-in")
    return admin


def groups(page: str) -> dict[tuple[str, str], int]:
    """(reason, endpoint) → count, as the page shows them."""
    found = {}
    for card in page.partition('<ul class="cards">')[2].partition("</ul>")[0].split("<li>")[1:]:
        reason = text_of(card.partition("</h2>")[0])
        endpoint = re.search(r'href="/endpoints/([^"]*)"', card)
        count = re.search(r"(\d+) receipt", text_of(card))
        assert endpoint
        assert count
        found[reason, endpoint[1]] = int(count[1])
    return found


async def test_it_is_grouped_by_reason_and_endpoint_with_what_helps(browser: Browser) -> None:
    page = await browser.get("/quarantine")
    shown = groups(page)
    assert sum(shown.values()) == 8
    assert next(iter(shown.values())) == 3, "the largest first"
    assert sorted(endpoint for _, endpoint in shown if endpoint == "other-in") == ["other-in"]
    assert page.count("What helps:") == len(shown)
    assert "set event_keys" in text_of(page)
    assert "It is not what this provider sends" in text_of(page)
    assert "<script>x" not in page
    assert {endpoint for _, endpoint in groups(await browser.get("/quarantine?account=other"))} == {"other-in"}
    assert "No quarantined receipt matches" in await browser.get("/quarantine?since=2999-01-01T00:00")


async def test_reprocessing_is_previewed_then_done(rescind: Rescind, browser: Browser) -> None:
    page = await browser.get("/quarantine")
    largest = (
        page.partition("Preview reprocessing …")[0].rpartition('href="')[2].partition('"')[0].replace("&amp;", "&")
    )
    before = await browser.get(largest)
    assert len(re.findall(r'name="selected"', before)) == 3
    assert " checked" not in before.partition("<table")[2], "it would change nothing yet"
    config = account_of("http://127.0.0.1:9", config={"event_keys": ["name"]})
    await rescind.put("accounts", ACCOUNT, config)
    preview = await browser.get(largest)
    assert preview.partition("<table")[2].count(" checked") == 3
    assert "1 of 1 events new, of o-0" in text_of(preview)
    assert not (await rescind.get("/v1/events"))["data"], "a preview records nothing"
    chosen = re.findall(r'name="selected" value="([^"]*)"', preview)
    form = [("selected", id) for id in chosen[:2]]
    assert (await browser.send(preview, "/bulk/reprocess", [*form, ("count", "3")]))[0] == 409
    status, _, done = await browser.send(preview, "/bulk/reprocess", [*form, ("count", "2")])
    assert status == 200
    assert "2 receipts: 2 accepted" in text_of(done)
    assert len((await rescind.get("/v1/events"))["data"]) == 2
    assert sum(groups(await browser.get("/quarantine")).values()) == 6


async def test_who_may_only_read_or_see_one_account(rescind: Rescind, browser: Browser) -> None:
    await browser.get("/quarantine")
    reader = Browser(rescind.url)
    await reader.sign_in((await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read"})).json["key"])
    page = await reader.get("/quarantine")
    assert "/bulk/" not in page
    assert (await reader.ask("GET", f"/bulk/reprocess?endpoint={ENDPOINT}"))[0] == 403
    (receipt, *_) = (await rescind.get("/v1/receipts?status=quarantined"))["data"]
    form = {"selected": receipt["id"], "count": "1"}
    assert (await reader.send(page, "/bulk/reprocess", form))[0] == 403
    body = {"name": "bob", "scope": "write", "accounts": ["other"]}
    stranger = Browser(rescind.url)
    await stranger.sign_in((await rescind.ask("POST", "/v1/keys", body)).json["key"])
    page = await stranger.get("/quarantine")
    assert {endpoint for _, endpoint in groups(page)} == {"other-in"}
    (mine, *_) = (await rescind.get(f"/v1/receipts?account={ACCOUNT}"))["data"]
    assert (await stranger.send(page, "/bulk/reprocess", {"selected": mine["id"], "count": "1"}))[0] == 404
