"""Searches of the log beside the main job: with their connections taken, and with more to search than time."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from providers import Provider
from servers import ACCOUNT, Rescind

from app.store.sqlite.connection import READERS
from app.store.use import Use

pytestmark = pytest.mark.usefixtures("quick")


async def test_verdicts_cancels_and_timers_wait_for_no_search(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    for order in ("o-1", "o-2"):
        await rescind.tell("order.processed", order)
    store = rescind.node.store
    async with AsyncExitStack() as taken:
        for use in (Use.LISTS, Use.SEARCHES):
            for _ in range(READERS[use]):
                await taken.enter_async_context(store._db.borrow(use))  # type: ignore[attr-defined]
        searches = [asyncio.create_task(rescind.get("/v1/events?text=processed")) for _ in range(8)]
        lists = [asyncio.create_task(rescind.get("/v1/orders")) for _ in range(4)]
        path = f"/v1/accounts/{ACCOUNT}/orders/o-1/verdict"
        assert (await rescind.get(path))["cancelable"] == "yes"
        id = await rescind.cancel("o-1", headers={"Idempotency-Key": "once"})
        assert (await rescind.settled(id))["state"] == "succeeded"
        assert await rescind.cancel("o-1", headers={"Idempotency-Key": "once"}) == id
        await rescind.tell("order.processed", "o-3")
        assert (await rescind.get("/readyz", key=None))["status"] == "ready"
        assert not any(task.done() for task in (*searches, *lists))
    assert {(await task)["complete"] for task in searches} == {True}
    assert {len((await task)["data"]) for task in lists} == {3}


async def test_a_page_says_how_far_a_search_got(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(30):
        await rescind.tell(
            "order.processed", f"o-{number}", metadata={"city": "Denver" if number % 10 == 0 else "Rome"}
        )
    path = "/v1/receipts?text=denver&limit=10"
    whole = await rescind.get(path)
    assert (len(whole["data"]), whole["complete"], whole["has_more"]) == (3, True, False)
    assert whole.get("searched_until") is None
    monkeypatch.setattr("app.store.pieces.SEARCH_S", 0.0)
    monkeypatch.setattr("app.store.pieces.PIECE_ROWS", 8)
    first = await rescind.get(path)
    assert (first["complete"], first["has_more"]) == (False, True)
    (oldest, *_) = [each["received_at"] for each in (await rescind.get("/v1/receipts?limit=8"))["data"]][::-1]
    assert first["searched_until"] == oldest
    found, page = list(first["data"]), first
    while page["has_more"]:
        page = await rescind.get(f"{path}&cursor={page['next_cursor']}")
        found += page["data"]
    assert found == whole["data"]
