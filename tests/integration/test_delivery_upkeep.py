"""Deliveries around failures of the machine and the store, changes of the configuration, and their retention."""

from __future__ import annotations

import asyncio
import errno
from datetime import timedelta
from typing import Any

import pytest
from subscribers import Sending, Subscriber, is_delivered, tried

from app.core.outbound.delivery import DeliveryState
from app.runtime.outgoing import OutgoingHttp, SendFailedError
from app.store import Resource, StoreUnavailable, Window
from app.store.filters import DeliveryFilter
from app.workers.deliveries import recorder, worker
from app.workers.deliveries.fairness import Turns
from app.workers.deliveries.housekeeping import delete_old

DELIVERED, FAILED, PENDING = DeliveryState.DELIVERED, DeliveryState.FAILED, DeliveryState.PENDING


async def test_a_machine_that_cannot_send_blames_no_receiver(
    sending: Sending, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "UNABLE_WAIT_S", 0.01)
    send, left = OutgoingHttp.send, [1, 2, 3]

    async def fail(self: OutgoingHttp, *given: Any, **more: Any) -> Any:
        if left:
            left.pop()
            raise SendFailedError("no files", None) from OSError(errno.EMFILE, "Too many open files")
        return await send(self, *given, **more)

    monkeypatch.setattr(OutgoingHttp, "send", fail)
    sending.put(url=subscriber.url, concurrency=1)
    (message,) = await sending.write(7)
    stored = await sending.until(message, is_delivered)
    assert len(stored.attempts) == 1
    assert sending.deliveries.state("crm").failing_since is None


async def test_results_that_cannot_be_written_are_written_later(
    sending: Sending, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "RETRY_S", 0.01)
    save, left = sending.store.save_deliveries, [1, 2]

    async def fail(*given: Any, **more: Any) -> None:
        if left:
            left.pop()
            raise StoreUnavailable("the disk is full")
        await save(*given, **more)

    monkeypatch.setattr(sending.store, "save_deliveries", fail)
    sending.put(url=subscriber.url)
    messages = await sending.write(*range(30))
    for message in messages:
        await sending.until(message, is_delivered)
    assert left == []
    assert len(subscriber.received) == 30  # none was sent twice for it


async def test_a_removed_subscription_leaves_nothing_to_a_new_one(sending: Sending, subscriber: Subscriber) -> None:
    other = await Subscriber.start()
    sending.put(url=subscriber.url, enabled=False)
    old = await sending.write(*range(20))
    resource = Resource("subscriptions", "crm", 1, sending.now, "me", b"")
    await sending.store.save_resources([resource], [], [])
    await sending.store.save_resources([], [("subscriptions", "crm")], [])
    sending.remove("crm")
    sending.put(url=other.url)
    (new,) = await sending.write(99)
    await sending.until(new, is_delivered)
    assert [entry.json["data"]["order"] for entry in other.received] == [99]
    assert [await sending.store.delivery("crm", message) for message in old] == [None] * 20
    await other.close()


async def test_a_subscription_expires(sending: Sending) -> None:
    sending.put("listener", expires_at=sending.now + timedelta(minutes=5))
    sending.put("crm", url="http://127.0.0.1:1/hooks")
    await sending.write(7, to="listener")
    await sending.deliveries._expire_due()
    assert sending.expired == []
    sending.now += timedelta(minutes=5)
    await sending.deliveries._expire_due()
    assert sending.expired == ["listener"]
    assert set(sending.specs) == {"crm"}


async def test_what_was_delivered_is_deleted_after_its_time(sending: Sending, subscriber: Subscriber) -> None:
    subscriber.respond = lambda received: 500 if received.n == 1 else 200
    sending.put(url=subscriber.url)
    messages = await sending.write(*range(5))
    for message in messages[1:]:
        await sending.until(message, is_delivered)
    await sending.until(messages[0], tried(1))
    for days, left in ((29, 5), (31, 1)):
        await delete_old(sending.store, ["crm"], sending.now + timedelta(days=days), timedelta(days=30))
        assert len(await sending.store.deliveries(Window(9), DeliveryFilter(subscription="crm"))) == left


async def test_a_new_url_is_tried_at_once(sending: Sending, subscriber: Subscriber) -> None:
    sending.put(url="http://10.0.0.1/hooks", concurrency=1)
    (message,) = await sending.write(7)
    await sending.until(message, tried(1))
    sending.put(url=subscriber.url)
    await sending.until(message, is_delivered)
    assert (await sending.store.subscription_states())["crm"].failing_since is None


async def test_the_rate_is_kept(sending: Sending, subscriber: Subscriber) -> None:
    sending.put(url=subscriber.url, rate_per_s=50, concurrency=8)
    started = asyncio.get_running_loop().time()
    await sending.write(*range(26))
    await subscriber.wait_for(26)
    assert asyncio.get_running_loop().time() - started >= 0.5


async def test_while_webhooks_wait_deliveries_go_slowly_and_never_stop() -> None:
    waiting, passed = 99, []
    turns = Turns(lambda: waiting)

    async def pass_(number: int) -> None:
        await turns.wait()
        passed.append(number)

    passing = [asyncio.create_task(pass_(number)) for number in range(1000)]
    while not passed:  # noqa: ASYNC110 - what is tested waits by a clock of its own
        await asyncio.sleep(0)
    assert len(passed) < 20
    while len(passed) < 12:  # noqa: ASYNC110
        await asyncio.sleep(0)
    waiting = 0
    await asyncio.gather(*passing)
    assert passed == list(range(1000))
    await turns.wait()
