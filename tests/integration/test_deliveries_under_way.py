"""Deliveries whose sender fails in an unforeseen way, or whose subscription changes while they are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from providers import until
from subscribers import Received, Sending, Subscriber, is_delivered, tried

from app.config.settings import Settings
from app.core.outbound import examples
from app.core.outbound.delivery import Delivery
from app.core.outbound.message import Target
from app.core.outbound.outcome import Outcome
from app.node import Node
from app.runtime import ids
from app.store import Changes
from app.store.codec import micros
from app.store.sqlite import open_sqlite
from app.workers.deliveries.queue import BEHIND_MAX, PAGE
from app.workers.deliveries.send import WebhookSender


async def test_an_unforeseen_error_of_a_sender_is_a_failed_try(
    sending: Sending, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the message would wait until the process ends, and its order with it."""
    send, failures = WebhookSender.send, [LookupError("surprise")]

    async def fail_once(self: WebhookSender, deliveries: Sequence[Delivery], now: datetime) -> Outcome:
        if failures:
            raise failures.pop()
        return await send(self, deliveries, now)

    monkeypatch.setattr(WebhookSender, "send", fail_once)
    sending.put(url=subscriber.url, ordered=True)
    first, second = await sending.write(1, 1)
    [attempt] = (await sending.until(first, tried(1))).attempts
    assert attempt.error == "an error of Rescind's own: LookupError; its log has the details"
    sending.pass_time(minutes=1)
    await sending.until(second, is_delivered)
    assert subscriber.numbers == [1, 2]


async def test_what_the_former_url_answers_says_nothing_of_the_new_one(
    sending: Sending, subscriber: Subscriber
) -> None:
    answer = asyncio.Event()

    async def gone(_received: Received) -> web.Response:
        await answer.wait()
        return web.Response(status=410)

    former = await Subscriber.start(gone)
    try:
        sending.put(url=former.url)
        [message] = await sending.write(1)
        await former.wait_for(1)
        sending.put(url=subscriber.url)
        answer.set()
        await sending.until(message, is_delivered)
    finally:
        await former.close()
    assert sending.deliveries.state("crm").disabled_at is None
    assert subscriber.numbers == [1]


async def test_a_change_of_one_subscription_lets_no_other_look(
    sending: Sending, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else to create a thousand, one by one, would cost half a million looks at queues."""
    sending.put(url=subscriber.url)
    await sending.until((await sending.write(1))[0], is_delivered)
    looks: list[str] = []
    due = sending.store.due_deliveries

    async def look(subscription: str, *given: Any) -> Any:
        looks.append(subscription)
        return await due(subscription, *given)

    monkeypatch.setattr(sending.store, "due_deliveries", look)
    others = [f"other-{number}" for number in range(8)]
    for other in others:
        sending.put(other, url=subscriber.url)
        await sending.until((await sending.write(1, to=other))[0], is_delivered, other)
    # Its own delivery may still wake the first once or twice, each of the others would wake it eight times.
    assert looks.count("crm") < len(others)


@pytest.mark.parametrize(("ahead", "follows"), [(timedelta(minutes=30), True), (timedelta(days=9), False)])
async def test_a_clock_that_is_set_back_between_two_processes_turns_no_messages_round(
    tmp_path: Path, ahead: timedelta, follows: bool
) -> None:
    """An order's messages are sent in the order of their ids."""
    store = await open_sqlite(tmp_path / "rescind.db")
    waiting = ids.at(micros(datetime.now(UTC) + ahead) // 1000)
    async with store.transaction() as transaction:
        message = examples.message(waiting, "breaker.opened", datetime.now(UTC), "acme", (Target("crm"),))
        await transaction.commit(Changes(messages=[message]))
    await store.close()
    node = await Node.start(Settings(database_url=f"sqlite:///{tmp_path}/rescind.db"))
    drawn = [node.ids.next() for _ in range(3)]
    await node.stop()
    assert drawn == sorted(set(drawn))
    assert (drawn[0] > waiting) is follows


async def test_a_sequence_goes_on_though_its_last_result_is_recorded_before_the_next_messages_are_read(
    sending: Sending, subscriber: Subscriber, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = sending.store.deliveries_in_turn

    async def read_late(subscription: str, sequence: int, after: int, limit: int) -> list[Delivery]:
        queue = sending.deliveries._workers[subscription]._queue

        async def recorded() -> bool:
            return after not in queue._taken

        await until(recorded, "the result on disk")
        return await read(subscription, sequence, after, limit)

    monkeypatch.setattr(sending.store, "deliveries_in_turn", read_late)
    sending.put(url=subscriber.url, ordered=True)
    # More than are remembered: those that were put off in the store are sent in turn, not when they are due again.
    messages = await sending.write(*[7] * (BEHIND_MAX + 2 * PAGE))
    await sending.until(messages[-1], is_delivered)
    assert subscriber.numbers == [*range(1, len(messages) + 1)]
