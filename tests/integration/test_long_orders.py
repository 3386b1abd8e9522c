"""Orders with thousands of events: what comes late is folded once, a timeline is read by pages, and nobody waits."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from commits import one_commit
from providers import Provider
from servers import ACCOUNT, Rescind, endpoint_of, webhook
from unit.core.test_folding import counted

from app.contract import Facts, ParsedEvent, Source
from app.core.commands import RecordEvents
from app.core.event import to_event
from app.engine import ledger as ledgers
from app.engine import writer
from app.engine.ledger import Ledger
from app.engine.rebuild import check
from app.engine.request import Request
from app.runtime.time_slice import TimeSlice
from app.web import timeline as timelines
from app.web.pages import encode_cursor

T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANY = 1200


def told(number: float, order: str = "long", **more: Any) -> dict[str, Any]:
    return webhook("order.processed", order, T0 + timedelta(seconds=number), n=number, **more)


async def tell(rescind: Rescind, numbers: range, order: str = "long", **more: Any) -> None:
    replies = await asyncio.gather(*(rescind.hook(told(number, order, **more)) for number in numbers))
    assert {(reply.status, reply.json["status"]) for reply in replies} == {(200, "accepted")}


async def test_a_late_batch_of_many_webhooks_is_folded_once_for_the_commit(rescind: Rescind) -> None:
    await tell(rescind, range(MANY, 2 * MANY))
    with counted() as steps:
        async with one_commit(rescind, 90):
            tasks = [asyncio.create_task(rescind.hook(told(number))) for number in range(90)]
        assert {(await task).status for task in tasks} == {200}
    assert steps() == MANY + 90 + 1
    assert (await rescind.order("long"))["version"] == MANY + 90
    assert [each async for each in check(rescind.node.store) if each.mismatches] == []


async def test_two_long_orders_become_one_by_one_fold(rescind: Rescind) -> None:
    for names in ({"order_id": "long"}, {"order_id": "", "request_id": "r"}):
        bodies = [{k: v for k, v in {**told(n), **names}.items() if v != ""} for n in range(300)]
        replies = await asyncio.gather(*map(rescind.hook, bodies))
        assert {reply.status for reply in replies} == {200}
    with counted() as steps:
        assert (await rescind.hook(told(0, request_id="r"))).status == 200
    assert steps() <= 3 * 601
    assert (await rescind.order("request:r"))["version"] == 601
    assert [each async for each in check(rescind.node.store) if each.mismatches] == []


async def test_a_timeline_is_one_pass_for_each_page(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    await tell(rescind, range(MANY))
    path = f"/v1/accounts/{ACCOUNT}/orders/long/timeline"
    with counted() as steps:
        page = await rescind.get(f"{path}?limit=100")
    assert (len(page["data"]), page["has_more"]) == (100, True)
    assert steps() <= 110
    with counted() as steps:
        assert len((await rescind.get(f"{path}?limit=500&cursor={page['next_cursor']}"))["data"]) == 500
    assert steps() <= 610
    whole = await rescind.pages(path, 500)
    assert [each["kind"] for each in whole] == ["event", "verdict", *["event"] * (MANY - 1)]
    assert await rescind.pages(path, 100) == whole
    # Events that came backwards: all would be folded again for each. A page that would cost too much ends early.
    monkeypatch.setattr(timelines, "SLICES_MAX", 3)
    for number in range(40):
        await tell(rescind, range(10_000 - number, 10_001 - number), "backwards")
    monkeypatch.setattr("app.core.history.SLICE", 10)
    path, found, cursor = f"/v1/accounts/{ACCOUNT}/orders/backwards/timeline", [], ""
    pages = 0
    while cursor is not None:
        with counted() as steps:
            page = await rescind.get(f"{path}?limit=500{cursor and f'&cursor={cursor}'}")
        assert steps() <= 4 * 40 + 100
        assert page["data"]
        found, cursor, pages = [*found, *page["data"]], page["next_cursor"], pages + 1
    assert [each["kind"] for each in found] == ["event", "verdict", *["event"] * 39]
    assert pages > 3


async def test_what_one_webhook_tells_late_is_judged_once(rescind: Rescind, provider: Provider) -> None:
    config = {
        "base_url": provider.url,
        "fields": {"order": "data.id", "status": "data.status"},
        "phases": {"placed": "open", "packed": "in_progress"},
        "cancel": {"url": "/cancel"},
    }
    await rescind.put("accounts", "shop", {"provider": "generic", "config": config})
    await rescind.put("endpoints", "shop-in", endpoint_of("shop"))

    def event(number: int, status: str) -> dict[str, Any]:
        at = (T0 + timedelta(seconds=number)).isoformat()
        told = {"specversion": "1.0", "id": f"e-{number}", "source": "/shop", "type": "t", "time": at}
        return {**told, "data": {"id": "long", "status": status}}

    headers = {"Content-Type": "application/cloudevents-batch+json"}
    for part in ([event(n, "placed") for n in range(500, 900)], [event(n, "packed") for n in range(300)]):
        assert (await rescind.hook(part, "shop-in", headers=headers)).status == 200
    path = "/v1/accounts/shop/orders/long/timeline"
    with counted() as steps:
        page = await rescind.get(f"{path}?limit=500")
    assert steps() <= 2 * 700
    whole = await rescind.pages(path, 130)
    assert whole[:500] == page["data"]
    assert [(n, each["verdict"]["cancelable"]) for n, each in enumerate(whole) if each["kind"] == "verdict"] == [
        (400, "yes")
    ]
    assert len(whole) == 701


async def test_attempts_stand_in_the_timeline_where_they_began(rescind: Rescind, provider: Provider) -> None:
    await provider.create("long")
    await tell(rescind, range(3))
    assert (await rescind.settled(await rescind.cancel("long")))["state"] == "succeeded"
    path = f"/v1/accounts/{ACCOUNT}/orders/long/timeline"
    whole = await rescind.pages(path, 500)
    kinds = [each["kind"] for each in whole]
    assert "attempt" in kinds
    assert [each["at"] for each in whole] == sorted(each["at"] for each in whole)
    one_by_one, cursor = [], ""
    while cursor is not None:
        page = await rescind.get(f"{path}?limit=1{cursor and f'&cursor={cursor}'}")
        one_by_one, cursor = [*one_by_one, *page["data"]], page["next_cursor"]
    assert one_by_one == whole
    for wrong in ("-1", "x", str(1 << 63)):
        (await rescind.ask("GET", f"{path}?cursor={wrong}")).problem(422, "invalid-request")
    far = await rescind.get(f"{path}?cursor={encode_cursor((1 << 63) - 1)}")
    assert (far["data"], far["has_more"]) == ([], False)


async def test_the_verdict_of_what_was_known_is_folded_once(rescind: Rescind) -> None:
    await tell(rescind, range(200))
    moment = datetime.now(UTC).isoformat().replace("+", "%2B")
    with counted() as steps:
        path = f"/v1/accounts/{ACCOUNT}/orders/long/verdict?known_at={moment}"
        assert (await rescind.get(path))["cancelable"] == "yes"
    assert steps() == 200


async def test_others_have_the_loop_while_a_long_order_is_folded(rescind: Rescind) -> None:
    """The fold of a late event is cut into slices: between two of them whoever waits is served."""
    await tell(rescind, range(MANY, 2 * MANY))
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.core.history.SLICE", 10)
        patch.setattr("app.runtime.time_slice.SLICE_S", 0.0)
        task = asyncio.create_task(others())
        try:
            assert (await rescind.hook(told(0))).status == 200
        finally:
            task.cancel()
    assert turns >= MANY / 10


async def test_a_webhook_of_many_orders_is_recorded_in_pieces(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses, former = 0, TimeSlice.pause

    async def counting(breather: TimeSlice) -> None:
        nonlocal pauses
        pauses += 1
        await former(breather)

    now = datetime.now(UTC)
    seen = [ParsedEvent(f"o{n}", "order.processed", b"key", Facts(), now) for n in range(MANY)]
    events = [to_event(each, ACCOUNT, now, Source.WEBHOOK, None) for each in seen]
    monkeypatch.setattr("app.runtime.time_slice.SLICE_S", 0.0)
    monkeypatch.setattr(TimeSlice, "pause", counting)
    await rescind.node.ledger.execute_all([RecordEvents(ACCOUNT, each.order, now, (each,)) for each in events])
    assert pauses >= 4 * MANY, "while linking, looking for what is late, deciding, and putting together what to write"


async def test_those_who_wait_with_a_large_webhook_are_few(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "COMMANDS_MAX", 3)
    sizes: list[int] = []
    former = ledgers.Ledger._commit

    async def noting(ledger: Ledger, requests: list[Request[Any]]) -> Any:
        sizes.append(len(requests))
        return await former(ledger, requests)

    monkeypatch.setattr(ledgers.Ledger, "_commit", noting)
    async with one_commit(rescind, 7):
        tasks = [asyncio.create_task(rescind.hook(told(number, f"o{number}"))) for number in range(7)]
    assert {(await task).status for task in tasks} == {200}
    assert sizes == [1, 3, 3, 1]
