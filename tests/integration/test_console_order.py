"""The console's page of one order: what it shows, time travel, and what one does there."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from browsers import Browser
from providers import Provider, until
from servers import ACCOUNT, Rescind, webhook

from app.web.console import order

ORDER = f"/orders/{ACCOUNT}/654321"
HOSTILE = ('<script>alert("x")</script>', "../../keys", "a/b?c=d#e", "{braces}", "100%")


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    browser = Browser(rescind.url)
    await browser.sign_in()
    return browser


async def show(browser: Browser, path: str, status: int = 200) -> str:
    """The page's text, which must have come with this status."""
    got, response, text = await browser.ask("GET", path)
    assert got == status, (path, got, response.headers.get("Location"), text[:2000])
    return text


async def send(browser: Browser, path: str, form: dict[str, str], page: str = "") -> tuple[int, str, str]:
    """(status, location, text) of a form of the page at `page`, sent to `path`."""
    status, response, text = await browser.send(await show(browser, page or path), path, form)
    return status, response.headers.get("Location", ""), text


def member(text: str, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', text)
    assert found is not None, name
    return unescape(found[1])


async def cancellations(rescind: Rescind) -> list[Any]:
    return list((await rescind.get("/v1/cancellations"))["data"])


async def test_an_order_with_its_evidence_and_its_picture(rescind: Rescind, browser: Browser) -> None:
    receipt = await rescind.tell("order.processed", "654321", customer="<b>Ann</b>")
    text = await show(browser, ORDER)
    verdict = await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/654321/verdict")
    assert "Can be canceled" in text
    assert verdict["explanation"] in unescape(text)
    (evidence,) = verdict["evidence"]
    for link in (f"/events/{evidence}", f"/receipts/{receipt}", f"/accounts/{ACCOUNT}"):
        assert f'href="{link}"' in text, link
    assert 'class="window yes"' in text
    assert f'href="#{evidence}"' in text, "the dot leads to the row of the timeline"
    assert f'<tr id="{evidence}"' in text
    assert "<b>Ann" not in text
    assert " style=" not in text
    assert "<script>" not in text


async def test_names_of_an_order_lead_to_its_id(rescind: Rescind, browser: Browser) -> None:
    await rescind.tell("order.processed", "654321", request_id="r-1")
    aliases = (await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/654321"))["aliases"]
    for alias in aliases:
        status, response, _ = await browser.ask("GET", f"/orders/{ACCOUNT}/{quote(alias, safe='')}?page=1")
        assert (status, response.headers["Location"]) == (303, f"{ORDER}?page=1"), alias
    assert aliases


async def test_hostile_names_are_shown_as_text(rescind: Rescind, browser: Browser) -> None:
    for name in HOSTILE:
        assert (await rescind.hook(webhook("order.processed", name))).status == 200
        text = await show(browser, f"/orders/{ACCOUNT}/{quote(name, safe='')}")
        assert "<script>" not in text
        assert f'<span class="id">{name}</span>' in unescape(text)
        assert f'href="/orders/{ACCOUNT}/{quote(name, safe="")}/cancel"' in text, "links lead to this order"
    missing = '<img src="x">'
    text = await show(browser, f"/orders/{ACCOUNT}/{quote(missing, safe='')}", 404)
    assert missing not in text
    assert "Ask the provider" in text


async def test_time_travel(rescind: Rescind, browser: Browser) -> None:
    await rescind.tell("order.processed", "654321")
    await rescind.tell("appointment.scheduled", "654321")
    timeline = await rescind.timeline("654321")
    first, last = timeline[0]["at"], timeline[-1]["at"]
    now = await show(browser, ORDER)
    assert "Cannot be canceled" in now
    then = await show(browser, f"{ORDER}?known_at={first}&at={first}")
    assert "Can be canceled" in then
    assert "appointment.scheduled" not in then.partition('<table class="timeline"')[2]
    assert 'class="window no later"' in then, "what came later is faint"
    status, response, _ = await browser.ask("GET", f"{ORDER}?step=0")
    assert status == 303
    assert quote(first, safe="") in response.headers["Location"]
    _, response, _ = await browser.ask("GET", f"{ORDER}?step=1")
    assert quote(last, safe="") in response.headers["Location"]
    _, response, _ = await browser.ask("GET", f"{ORDER}?step=2")
    assert response.headers["Location"] == ORDER, "the last step is now"
    for wrong in ("at=yesterday", "known_at=1", "since=x", "at=9999-99-99T00:00"):
        assert "Invalid request" in await show(browser, f"{ORDER}?{wrong}", 422), wrong
    for odd in ("step=-1", "step=99999999", "page=0", "page=x"):
        assert (await browser.ask("GET", f"{ORDER}?{odd}"))[0] in (200, 303), odd


async def test_a_cancel_is_sent_only_after_a_dry_run_and_once(
    rescind: Rescind, provider: Provider, browser: Browser
) -> None:
    await provider.create("654321")
    await rescind.tell("order.processed", "654321")
    entered = {"reason": "client_requested_cancelation", "note": "No longer <wanted>", "deadline": "", "force": ""}
    path = f"{ORDER}/cancel"
    status, _, text = await send(browser, path, {**entered, "note": ""})
    assert status == 422
    assert "PlanOmatic requires notes" in text
    status, _, text = await send(browser, path, {**entered, "step": "check"})
    assert status == 200
    assert "would be sent" in text
    assert await cancellations(rescind) == [], "nothing was recorded by the dry run"
    confirm = {name: member(text, name) for name in ("form_token", "request_id", "reason", "note", "deadline", "force")}
    assert confirm["note"] == entered["note"]
    for _ in range(2):
        status, response, _ = await browser.ask("POST", path, {**confirm, "step": "confirm"})
        assert (status, response.headers["Location"]) == (303, ORDER)
    (cancellation,) = await cancellations(rescind)
    assert cancellation["note"] == entered["note"]

    async def done() -> bool:
        return "cancellation.succeeded" in await show(browser, ORDER)

    await until(done, "the cancel")
    text = await show(browser, ORDER)
    assert f'href="/cancellations/{cancellation["id"]}"' in text
    assert 'class="attempt good"' in text


async def test_a_cancel_of_an_order_that_cannot_be_canceled(rescind: Rescind, browser: Browser) -> None:
    await rescind.tell("appointment.scheduled", "654321")
    entered = {"reason": "client_requested_cancelation", "note": "No longer wanted"}
    status, _, text = await send(browser, f"{ORDER}/cancel", {**entered, "step": "check"})
    assert status == 200
    assert "would be rejected" in text
    assert 'value="confirm"' not in text, "there is nothing to confirm"
    _, _, text = await send(browser, f"{ORDER}/cancel", {**entered, "force": "yes", "step": "check"})
    assert "would be sent" in text or "would be asked first" in text
    assert "all the same" in text
    status, _, text = await send(browser, f"{ORDER}/cancel", {**entered, "step": "confirm"})
    assert status == 409
    assert "cannot be canceled" in text
    text = await show(browser, ORDER)
    assert "The last cancellation" in text, "the page says why the order was not canceled"
    assert "rejected" in text.partition("The last cancellation")[0].rpartition("card")[2]


async def test_a_live_cancellation_is_revoked(rescind: Rescind, browser: Browser) -> None:
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "stock-taking"})
    await rescind.tell("order.processed", "654321")
    id = await rescind.cancel("654321")
    text = await show(browser, ORDER)
    assert "waits for paused" in text
    assert f'href="{ORDER}/cancel"' not in text, "one cancellation at a time"
    assert (await send(browser, f"{ORDER}/revoke", {"cancellation": id}, ORDER))[:2] == (303, ORDER)
    assert (await rescind.get(f"/v1/cancellations/{id}"))["state"] == "revoked"
    assert "is revoked" in await show(browser, ORDER), "the page says what was done"
    status, _, text = await send(browser, f"{ORDER}/revoke", {"cancellation": id}, ORDER)
    assert (status, "Only a scheduled cancellation can be revoked" in text) == (409, True)


async def test_tags_and_a_probe(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    await provider.create("654321")
    await rescind.tell("order.processed", "654321")
    assert (await send(browser, f"{ORDER}/tags", {"add": "vip, checked"}, ORDER))[0] == 303
    assert (await send(browser, f"{ORDER}/tags", {"add": "", "remove": "vip"}, ORDER))[0] == 303
    assert (await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/654321"))["tags"] == ["checked"]
    assert (await send(browser, f"{ORDER}/probe", {}, ORDER))[0] == 303

    async def probed() -> bool:
        return "order.probed" in await show(browser, ORDER)

    await until(probed, "the probe")


async def test_a_key_that_reads_has_no_buttons_and_changes_nothing(rescind: Rescind, browser: Browser) -> None:
    await rescind.tell("order.processed", "654321")
    reader = Browser(rescind.url)
    await reader.sign_in((await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read"})).json["key"])
    text = await show(reader, ORDER)
    for button in ("/cancel", "/probe", "/tags", "/revoke"):
        assert f'"{ORDER}{button}"' in await show(browser, ORDER) or button == "/revoke"
        assert f"{ORDER}{button}" not in text, button
        status, _, answer = await send(reader, f"{ORDER}{button}", {"note": "x", "step": "confirm"}, ORDER)
        assert (status, "requires scope write" in answer) == (403, True), button
    assert await cancellations(rescind) == []


async def test_an_erasure_is_counted_first_and_wants_the_id_typed(rescind: Rescind, browser: Browser) -> None:
    receipt = await rescind.tell("order.processed", "654321", customer="Ann")
    path = f"{ORDER}/erase"
    assert f'"{path}"' in await show(browser, ORDER)
    status, _, text = await send(browser, path, {"reason": "asked for", "step": "check"})
    assert (status, "<strong>1</strong> receipts" in text) == (200, True)
    for typed in ("", "65432", "acme"):
        status, _, text = await send(browser, path, {"reason": "asked for", "confirmation": typed, "step": "confirm"})
        assert (status, "type the order" in unescape(text)) == (422, True)
    assert "Ann" in (await rescind.get(f"/v1/receipts/{receipt}?raw=true"))["body"], "nothing was erased yet"
    writer = Browser(rescind.url)
    await writer.sign_in((await rescind.ask("POST", "/v1/keys", {"name": "bea", "scope": "write"})).json["key"])
    assert path not in await show(writer, ORDER)
    await show(writer, path, 403)
    form = {"reason": "asked for", "confirmation": "654321", "step": "confirm"}
    assert (await send(writer, path, form, ORDER))[0] == 403
    assert (await send(browser, path, form))[:2] == (303, ORDER)
    assert "Ann" not in str(await rescind.get(f"/v1/receipts/{receipt}?raw=true"))
    assert "order.erased" in await show(browser, ORDER)


async def test_an_order_of_another_account_is_not_shown(rescind: Rescind) -> None:
    await rescind.tell("order.processed", "654321")
    other = Browser(rescind.url)
    body = {"name": "bea", "scope": "write", "accounts": ["other"]}
    await rescind.put("accounts", "other", {"provider": "planomatic", "config": {"api_key": "k"}})
    await other.sign_in((await rescind.ask("POST", "/v1/keys", body)).json["key"])
    for path in (ORDER, f"{ORDER}/cancel"):
        text = await show(other, path, 404 if path == ORDER else 200)
        assert "Can be canceled" not in text
        assert "not scheduled" not in text


async def test_a_long_timeline_comes_in_parts(
    rescind: Rescind, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await rescind.tell("order.processed", "654321")
    for number in range(130):
        change = {"remove" if number % 2 else "add": ["vip"]}
        await rescind.ask("POST", f"/v1/accounts/{ACCOUNT}/orders/654321/tags", change)
    log = [entry["event"]["id"] for entry in await rescind.timeline("654321") if "event" in entry]
    last = await show(browser, ORDER)
    assert "Part 2 of 2" in last
    assert len(last) < 200_000
    assert rows(await show(browser, f"{ORDER}?page=1")) + rows(last) == log
    # Of a timeline longer than a page reads, the latest is shown, and a link leads to the beginning.
    monkeypatch.setattr(order, "ENTRIES", 60)
    monkeypatch.setattr(order, "LATEST", 50)
    text = await show(browser, ORDER)
    assert rows(text) == log[-50:]
    (beginning,) = re.findall(r'href="(\?since=[^"]*)">from the beginning', text)
    text = await show(browser, ORDER + unescape(beginning))
    assert rows(text) == log[:59]
    (following,) = re.findall(r'href="(\?since=[^"]*)">what follows', text)
    assert rows(await show(browser, ORDER + unescape(following)))[:2] == log[58:60]


def rows(text: str) -> list[str]:
    return re.findall(r'<tr id="(evt_\w+)"', text)
