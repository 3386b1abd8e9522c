"""Orders that nothing is heard of: polling, and verdicts that rest on old news."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from providers import CANCEL_PATH, RETRIEVE_PATH, Provider, until
from servers import ACCOUNT, Rescind, account_of

from app.workers import polling

OFTEN: dict[str, Any] = {"every_s": 0.2}


async def polled(rescind: Rescind, provider: Provider, **more: Any) -> None:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, **more))


async def test_what_nobody_tells_is_learned_by_asking(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1", "o-2")
    for order in ("o-1", "o-2"):
        await rescind.tell("order.processed", order)
    await provider.act("cancel_by_staff", order_id="o-1", silent=True)
    await polled(rescind, provider, polling=OFTEN)

    async def look() -> bool:
        return (await rescind.order("o-1"))["phase"] == "canceled"

    await until(look, "the poll that finds it canceled")
    assert (await rescind.order("o-2"))["verdict"]["cancelable"] == "yes"
    await provider.arrived(3, RETRIEVE_PATH, "o-2")
    asked = len(await provider.calls(RETRIEVE_PATH, "o-1"))
    await provider.arrived(6, RETRIEVE_PATH, "o-2")
    assert len(await provider.calls(RETRIEVE_PATH, "o-1")) == asked, "an order that is over is not asked about"
    assert await provider.calls(CANCEL_PATH) == []


async def test_an_account_without_polling_asks_nothing(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1", "o-2")
    await rescind.tell("order.processed", "o-1", at=time.time() - 100_000)
    await rescind.settled(await rescind.cancel("o-2"))
    assert await provider.calls(RETRIEVE_PATH, "o-1") == []


async def test_polling_leaves_room_for_cancels(rescind: Rescind, provider: Provider) -> None:
    orders = [f"o-{number}" for number in range(12)]
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)
    limits = {"requests": 10, "per_s": 3600.0}
    await polled(rescind, provider, polling={**OFTEN, "share": 0.5}, limits=limits)
    await provider.arrived(5, RETRIEVE_PATH)
    done = await rescind.settled(await rescind.cancel("o-0"))
    assert done["state"] == "succeeded"
    for order in ("o-1", "o-2", "o-3", "o-4"):
        assert (await rescind.settled(await rescind.cancel(order)))["state"] == "succeeded"
    assert len(await provider.calls(RETRIEVE_PATH)) == 5, "half of the limit, whatever is due"
    lane = (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
    assert (lane["used"], lane["limit"]) == (10, 10)


async def test_a_quiet_account_is_polled_until_webhooks_come_again(rescind: Rescind, provider: Provider) -> None:
    await provider.create("o-1")
    await rescind.tell("order.processed", "o-1")
    quiet = {**OFTEN, "when": "quiet", "quiet_after_s": 3600.0}
    await polled(rescind, provider, polling=quiet)
    await rescind.settled(await rescind.cancel("o-9", reason="duplicate_order"), "succeeded", "refused", "failed")
    polls = rescind.node.lanes[ACCOUNT].polls
    heard = polls.heard_at
    assert await provider.calls(RETRIEVE_PATH, "o-1") == []
    # An hour without a webhook passes.
    polls.heard_at = heard - 3601
    rescind.node.lanes[ACCOUNT].wake()
    await provider.arrived(2, RETRIEVE_PATH, "o-1")
    await rescind.tell("order.processed", "o-2")
    assert polls.heard_at > heard


async def test_an_order_that_the_provider_does_not_know_is_asked_about_less_and_less(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(polling, "time", clock)
    await rescind.tell("order.processed", "o-gone")
    await polled(rescind, provider, polling={"every_s": 0.1})
    for number, wait_s in enumerate((0.1, 0.2, 0.4, 0.8), 1):
        await provider.arrived(number, RETRIEVE_PATH, "o-gone")
        clock.now += wait_s - 0.05
        await provider.create(f"o-{number}")
        await rescind.tell("order.processed", f"o-{number}")
        # The longest unheard of goes first, so it would have been asked about before this one.
        await provider.arrived(1, RETRIEVE_PATH, f"o-{number}")
        assert len(await provider.calls(RETRIEVE_PATH, "o-gone")) == number
        clock.now += 0.06
    assert (await rescind.order("o-gone"))["phase"] == "open", "what is not known is not over"


async def test_a_yes_that_rests_on_old_news_is_unknown_and_a_cancel_is_preceded_by_a_probe(
    rescind: Rescind, provider: Provider
) -> None:
    await provider.create("o-1", "o-2")
    await rescind.tell("order.processed", "o-1", at=time.time() - 7200)
    await rescind.tell("order.processed", "o-2")
    assert (await rescind.order("o-1"))["verdict"]["cancelable"] == "yes"
    await polled(rescind, provider, stale_after_s=3600)
    stale, fresh = (await rescind.order("o-1"))["verdict"], (await rescind.order("o-2"))["verdict"]
    assert (stale["cancelable"], stale["reason"], len(stale["evidence"])) == ("unknown", "stale", 1)
    assert fresh["cancelable"] == "yes"
    assert fresh["changes_at"] is not None, "time alone will make it unknown"
    for order, probes in (("o-1", 1), ("o-2", 0)):
        assert (await rescind.settled(await rescind.cancel(order)))["state"] == "succeeded"
        assert len(await provider.calls(RETRIEVE_PATH, order)) == probes


async def test_lists_follow_what_time_alone_changes(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await provider.create("o-1", "o-2")
    await polled(rescind, provider, stale_after_s=3600.0)
    await rescind.tell("order.processed", "o-1")
    listed = f"/v1/orders?account={ACCOUNT}&cancelable="
    assert [each["id"] for each in (await rescind.get(listed + "yes"))["data"]] == ["o-1"]

    async def look() -> bool:
        return [each["id"] for each in (await rescind.get(listed + "unknown"))["data"]] == ["o-1"]

    rescind.later(timedelta(hours=1))
    with monkeypatch.context() as an_hour_later:  # verdicts are shown as of now
        clock = SimpleNamespace(now=lambda zone: datetime.now(zone) + timedelta(hours=1))
        an_hour_later.setattr("app.web.orders.datetime", clock)
        await until(look, "the order among those of which nothing is known")
        assert (await rescind.get(listed + "yes"))["data"] == []
    rescind.later(timedelta())
    await rescind.tell("order.processed", "o-1", note="again")
    assert [each["id"] for each in (await rescind.get(listed + "yes"))["data"]] == ["o-1"]
