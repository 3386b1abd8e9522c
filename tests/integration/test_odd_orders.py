"""Orders with ids and times as no one expects them: whatever a provider may send can be asked for."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import quote

import pytest
from providers import Provider
from servers import ACCOUNT, BOOTSTRAP_KEY, CANCEL_BODY, Rescind, account_of

from app.cli.client import connect, segment
from app.cli.paging import Paging

IDS = (
    "{",
    "a{b}c",
    "{order}",
    "{}",
    "/",
    "//x/",
    "a/../b",
    "..",
    ".",
    "...",
    "%",
    "%2F",
    "a%7Bb%00",
    "a b",
    " a",
    "a+b&c=d?e#f;g:h@i",
    "q\"u\\o'te",
    "заказ 7",
    "\U0001f3e0",
    "verdict",
    "cancellations",
    "x" * 200,
)


async def test_every_id_that_a_provider_may_send_can_be_asked_for(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    for id in IDS:
        await rescind.tell("order.processed", id)
    monkeypatch.setenv("RESCIND_URL", rescind.url)
    monkeypatch.setenv("RESCIND_API_KEY", BOOTSTRAP_KEY)

    def by_command_line() -> list[Any]:
        with connect() as api:
            found = []
            for id in IDS:
                path = f"/v1/accounts/{ACCOUNT}/orders/{segment(id)}"
                pages = api.pages(f"{path}/timeline", {}, Paging(everything=True))
                found.append((api.get(path)["id"], len([entry for page in pages for entry in page["data"]])))
            return found

    assert await asyncio.to_thread(by_command_line) == [(id, 2) for id in IDS]
    for id in IDS:
        path = f"/v1/accounts/{ACCOUNT}/orders/{quote(id, safe='')}"
        assert (await rescind.get(path))["id"] == id
        for what in ("verdict", "timeline", "policies"):
            await rescind.get(f"{path}/{what}")
        assert (await rescind.ask("POST", f"{path}/tags", {"add": ["seen"]})).json == {"tags": ["seen"]}
        assert (await rescind.ask("POST", f"{path}/cancellations", {**CANCEL_BODY, "dry_run": True})).status == 200, id
        listed = await rescind.get(f"/v1/events?account={ACCOUNT}&order={quote(id, safe='')}&type=order.*")
        assert [each["order"] for each in listed["data"]] == [id]
    (await rescind.ask("GET", "/v1/accounts/%7B%7D/orders/x")).problem(404, "not-found")
    (await rescind.ask("GET", f"/v1/accounts/{ACCOUNT}/orders/{{/verdict/more")).problem(404, "not-found")


async def test_an_order_may_have_been_opened_at_any_time(rescind: Rescind, provider: Provider) -> None:
    rules = {"duplicate_keys": ["external_order_id"]}
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, rules=rules))
    words = {"accounts": [ACCOUNT], "cancel": CANCEL_BODY, "mode": "shadow"}
    conditions = {
        "late": {"when": "order.phase == 'open'", "wait": "48h since order.opened_at"},
        "twins": {"when": "size(order.duplicates) > 0", "duplicates_within": "3d"},
        "closing": {"when": "order.phase == 'open'", "before_close": "30m"},
        "old": {"when": "now - order.opened_at > duration('48h')"},
        "next": {"when": "order.opened_at + duration('48h') < now"},
    }
    for id, condition in conditions.items():
        await rescind.put("policies", id, {**words, **condition})
    times = ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59-11:00")
    for number, at in enumerate(times):
        for order in (f"a-{number}", f"b-{number}"):
            await rescind.tell("order.processed", order, request_datetime=at, external_order_id=f"{number}")
            path = f"/v1/accounts/{ACCOUNT}/orders/{order}"
            await rescind.order(order)
            assert {each["policy"] for each in (await rescind.get(f"{path}/policies"))["data"]} == set(conditions)
            for what in ("verdict", "timeline"):
                await rescind.get(f"{path}/{what}")
            for id in conditions:
                body = {"account": ACCOUNT, "order": order}
                assert (await rescind.ask("POST", f"/v1/policies/{id}/test", body)).status == 200, (at, id)
    assert len(await rescind.pages("/v1/orders", 50)) == 2 * len(times)
