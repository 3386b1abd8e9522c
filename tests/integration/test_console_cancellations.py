"""Cancellations in the console: their pages, the actions of a person, and actions on many at once."""

from __future__ import annotations

import re
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest
from browsers import Browser, text_of
from providers import RETRIEVE_PATH, Provider
from servers import ACCOUNT, CANCEL_BODY, Rescind, account_of

FIELDS = f"cancel_reason={CANCEL_BODY['reason']}&cancel_note={quote(CANCEL_BODY['note'])}"
CANCEL = {"cancel_reason": CANCEL_BODY["reason"], "cancel_note": CANCEL_BODY["note"]}


@pytest.fixture
async def browser(rescind: Rescind) -> Browser:
    admin = Browser(rescind.url)
    await admin.sign_in()
    return admin


async def reader_of(rescind: Rescind, **key: Any) -> Browser:
    made = await rescind.ask("POST", "/v1/keys", {"name": "ann", "scope": "read", **key})
    browser = Browser(rescind.url)
    await browser.sign_in(made.json["key"])
    return browser


async def orders(rescind: Rescind, provider: Provider, *names: str) -> None:
    await provider.create(*names)
    for name in names:
        await rescind.tell("order.processed", name)


async def proposed(rescind: Rescind, provider: Provider, *names: str) -> list[str]:
    """Cancellations of orders that wait for approval."""
    policy = {"accounts": [ACCOUNT], "when": "order.phase == 'open'", "mode": "approve", "cancel": CANCEL_BODY}
    await rescind.put("policies", "tidy", policy)
    await orders(rescind, provider, *names)
    found = (await rescind.get("/v1/cancellations?waiting=approval"))["data"]
    ids = {cancellation["order"]: str(cancellation["id"]) for cancellation in found}
    return [ids[name] for name in names]


def boxes(page: str) -> dict[str, bool]:
    """What a page offers to choose, and whether it is chosen."""
    return {
        match[1]: bool(match[2])
        for match in re.finditer(r'name="selected" value="([^"]*)" aria-label="[^"]*"( checked)?', page)
    }


async def test_a_cancellation_is_followed_to_its_end(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    await rescind.put("subscriptions", "crm", {"events": ["cancellation.*"]})
    await orders(rescind, provider, "o-1")
    id = await rescind.cancel("o-1")
    await rescind.settled(id)
    listed = await browser.get("/cancellations?state=succeeded")
    assert f'href="/cancellations/{id}"' in listed
    assert id not in await browser.get("/cancellations?state=refused")
    page = await browser.get(f"/cancellations/{id}")
    history = text_of(page.partition('id="history"')[2].partition("</table>")[0])
    assert re.findall(r"\b(scheduled|sending|succeeded) event\b", history) == ["scheduled", "sending", "succeeded"]
    assert "/orders/cancel: 200" in text_of(page), "the call at the provider"
    assert f'href="/orders/{ACCOUNT}/o-1"' in page
    (*_, message) = re.findall(r'href="(/messages/[^"]*)"', page)
    sent = await browser.get(message)
    assert f'href="/subscriptions/crm/deliveries/{message.removeprefix("/messages/")}"' in sent
    cause = re.search(r'href="(/events/[^"]*)"', sent)
    assert cause
    event = await browser.get(cause[1])
    assert f'href="{message}"' in event, "both ways"
    assert f'href="/cancellations/{id}"' in event
    for word in ("Approve …", "Revoke …", "Resolve …", "data-refresh"):
        assert word not in page, "it is final"
    assert (await browser.ask("GET", "/cancellations/can_0"))[0] == 404


async def test_a_person_approves_and_revokes(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    first, second = await proposed(rescind, provider, "o-1", "o-2")
    page = await browser.get(f"/cancellations/{first}")
    assert "Waits for approval" in text_of(page)
    status, response, _ = await browser.send(page, f"/cancellations/{first}/approve")
    assert (status, response.headers["Location"]) == (303, f"/cancellations/{first}")
    assert (await rescind.settled(first))["state"] == "succeeded"
    page = await browser.get(f"/cancellations/{second}")
    assert (await browser.send(page, f"/cancellations/{second}/revoke"))[0] == 303
    assert (await rescind.cancellation(second))["state"] == "revoked"
    status, _, text = await browser.send(page, f"/cancellations/{second}/revoke")
    assert status == 409
    assert "Only a scheduled cancellation can be revoked" in text_of(text)
    assert "History" in text, "the problem stands in the page"
    assert (await browser.send(page, f"/cancellations/{second}/destroy"))[0] == 404
    assert await provider.effects("o-2") == 0


async def test_a_person_resolves_what_nobody_knows(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    await orders(rescind, provider, "o-1")
    await provider.fault("reset_before")
    await provider.hold(path=RETRIEVE_PATH)
    id = await rescind.cancel("o-1")
    await rescind.settled(id, "indeterminate")
    page = await browser.get(f"/cancellations/{id}")
    status, _, text = await browser.send(page, f"/cancellations/{id}/resolve", {"outcome": "refused", "note": " "})
    assert status == 422
    assert "The field note" in text_of(text)
    assert re.search(r'value="refused" required checked', text), "what was entered stays"
    form = {"outcome": "refused", "note": "I <b>called</b> them."}
    assert (await browser.send(page, f"/cancellations/{id}/resolve", form))[0] == 303
    assert (await rescind.cancellation(id))["state"] == "refused"
    assert "&lt;b&gt;called" in await browser.get(f"/cancellations/{id}")


async def test_a_read_key_sees_no_action_and_can_do_none(rescind: Rescind, provider: Provider) -> None:
    (id,) = await proposed(rescind, provider, "o-1")
    reader = await reader_of(rescind)
    page = await reader.get(f"/cancellations/{id}")
    for word in ("Approve", "Revoke"):
        assert word not in page
    assert "/bulk/" not in await reader.get("/cancellations?waiting=approval")
    for path in ("approve", "revoke", "resolve"):
        form = {"outcome": "refused", "note": "x"}
        assert (await reader.send(page, f"/cancellations/{id}/{path}", form))[0] == 403
    for path in ("cancel", "approve", "revoke"):
        assert (await reader.ask("GET", f"/bulk/{path}"))[0] == 403
        assert (await reader.send(page, f"/bulk/{path}", {"selected": id, "count": "1"}))[0] == 403
    assert (await rescind.cancellation(id))["waiting"]["for"] == "approval"
    await rescind.put("accounts", "other", account_of(provider.url))
    stranger = await reader_of(rescind, accounts=["other"])
    assert (await stranger.ask("GET", f"/cancellations/{id}"))[0] == 404


async def test_many_orders_are_canceled_after_a_dry_run(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    await orders(rescind, provider, "o-1", "o-2", "o-3")
    await rescind.tell("appointment.scheduled", "o-3")
    first = await browser.get(f"/bulk/cancel?account={ACCOUNT}")
    assert "3 orders match (account acme)" in text_of(first)
    assert not boxes(first), "nothing to confirm before a dry run"
    page = await browser.get(f"/bulk/cancel?account={ACCOUNT}&{FIELDS}")
    assert boxes(page) == {f"{ACCOUNT}/o-1": True, f"{ACCOUNT}/o-2": True, f"{ACCOUNT}/o-3": False}
    assert "no longer cancels it" in text_of(page)
    assert not (await rescind.get("/v1/cancellations"))["data"], "a dry run records nothing"
    chosen = [("selected", f"{ACCOUNT}/o-1"), ("selected", f"{ACCOUNT}/o-2"), *CANCEL.items()]
    for count in ("", "3", "two"):
        status, _, text = await browser.send(page, "/bulk/cancel", [*chosen, ("count", count)])
        assert status == 409
        assert "2 orders chosen" in text_of(text)
    assert not (await rescind.get("/v1/cancellations"))["data"]
    status, response, _ = await browser.send(page, "/bulk/cancel", [*chosen, ("count", "2")])
    assert status == 303
    batch = response.headers["Location"]
    for cancellation in (await rescind.get("/v1/cancellations"))["data"]:
        assert (await rescind.settled(cancellation["id"]))["state"] == "succeeded"
    progress = await browser.get(batch)
    assert "2 of 2 cancellations are final" in text_of(progress)
    assert "data-refresh" not in progress
    # The same form sent again requests nothing again.
    _, again, _ = await browser.send(page, "/bulk/cancel", [*chosen, ("count", "2")])
    assert again.headers["Location"] == batch
    assert [await provider.effects(order) for order in ("o-1", "o-2", "o-3")] == [1, 1, 0]


async def test_what_was_not_taken_on_is_listed(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    await orders(rescind, provider, "o-1", "o-2")
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    page = await browser.get(f"/bulk/cancel?{FIELDS}")
    live = await rescind.cancel("o-1")
    chosen = [("selected", f"{ACCOUNT}/{order}") for order in ("o-1", "o-2", "<b>")]
    status, _, text = await browser.send(page, "/bulk/cancel", [*chosen, *CANCEL.items(), ("count", "3")])
    assert status == 200
    assert f"Cancellation {live} of this order is scheduled" in text_of(text)
    assert "<b>" not in text
    assert 'href="/batches/' in text
    assert (await browser.send(page, "/bulk/cancel", [*CANCEL.items(), ("count", "0")]))[0] == 422
    many = [("selected", f"{ACCOUNT}/{number}") for number in range(201)]
    assert (await browser.send(page, "/bulk/cancel", [*many, ("count", "201")]))[0] == 422


async def test_a_bulk_action_says_what_it_leaves_out(
    rescind: Rescind, provider: Provider, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    await orders(rescind, provider, "o-1", "o-2", "o-3")
    assert "left out" not in await browser.get("/bulk/cancel")
    monkeypatch.setattr("app.web.console.bulk.AT_ONCE", 2)
    page = await browser.get(f"/bulk/cancel?{FIELDS}")
    assert "2 orders, of more than that, match" in text_of(page)
    assert "left out" in page
    assert len(boxes(page)) == 2


async def test_a_parameter_that_is_no_filter_selects_nothing(
    rescind: Rescind, provider: Provider, browser: Browser
) -> None:
    await proposed(rescind, provider, "o-1")
    for path in ("cancel", "approve", "revoke", "reprocess"):
        status, _, text = await browser.ask("GET", f"/bulk/{path}?acount={ACCOUNT}")
        assert status == 422, path
        assert "acount is no filter" in text_of(text)
    page = await browser.get("/orders?closes_in=24h&cancelable=yes")
    (link,) = re.findall(r'href="(/bulk/cancel[^"]*)"', await browser.get("/orders?cancelable=yes")) or [""]
    assert "1 order matches" in text_of(await browser.get(unescape(link)))
    assert "o-1" not in text_of(page.partition("<tbody>")[2]), "no window of it closes by time"


async def test_many_are_approved_and_revoked(rescind: Rescind, provider: Provider, browser: Browser) -> None:
    ids = await proposed(rescind, provider, "o-1", "o-2", "o-3", "o-4")
    await rescind.ask("POST", "/v1/pause", {"scope": "policies"})  # the policy's own withdrawal is not what is tested
    page = await browser.get("/bulk/approve?policy=tidy")
    assert boxes(page) == dict.fromkeys(reversed(ids), True)
    assert text_of(page.partition("<tbody>")[2]).count("approval send") == 4
    form = [("selected", ids[0]), ("selected", ids[1]), ("count", "2")]
    status, _, text = await browser.send(page, "/bulk/approve", form)
    assert status == 200
    assert "2 done" in text_of(text)
    for id in ids[:2]:
        assert (await rescind.settled(id))["state"] == "succeeded"
    page = await browser.get("/bulk/revoke?policy=tidy")
    assert boxes(page) == dict.fromkeys(reversed(ids[2:]), True)
    form = [*(("selected", id) for id in ids[1:]), ("count", "3")]
    status, _, text = await browser.send(page, "/bulk/revoke", form)
    assert "2 done, 1 not" in text_of(text), "one has been sent already"
    assert "Only a scheduled cancellation can be revoked" in text_of(text)
    assert [(await rescind.cancellation(id))["state"] for id in ids] == ["succeeded"] * 2 + ["revoked"] * 2
