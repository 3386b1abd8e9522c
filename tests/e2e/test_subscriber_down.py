"""A subscriber that is down for a week, while the server is killed again and again; then it comes back.

The week is the server's: each of its lives begins with the clock so much further ahead. In each life webhooks and
cancel requests come in over several connections, and SIGKILL ends it at a random point. One subscription's receiver is
down all the time, each life in another way; another one's is up, and refuses some deliveries. In the end every message
is held against the log, and every delivery against the messages.

`WEEK_KILLS=50 pytest tests/e2e/test_subscriber_down.py` for the whole of it.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sqlite3
from bisect import bisect
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
from moved_clock import prelude
from processes import lasting_port
from providers import WAIT_S, Provider
from receivers import Delivered, Down, Receiver
from servers import ACCOUNT, CANCEL_BODY, ENDPOINT, Server, account_of, endpoint_of, until, webhook
from standardwebhooks import Webhook

from app.runtime.ids import MESSAGE, show

WEEK, DAY = timedelta(days=7), timedelta(days=1)
KILLS = int(os.environ.get("WEEK_KILLS", "0")) or 6
SEEN_FAILING = 6
"""In so many lives the kill waits for a failed delivery: failures that are further apart than 36 hours are not one."""
ORDERS_PER_LIFE, CONNECTIONS = 10, 4
SECRET = "whsec_" + "QUJD" * 8
DOWN, UP = "down", "up"
VERDICT_CHANGED = "order.verdict_changed"
NOTICES = ("subscription.failing", "subscription.disabled", "breaker.opened", "breaker.closed")
"""Events in the log that are messages under their own names, besides those about cancellations."""


class Load:
    """What is said to Rescind, in turn; what got no response is said again."""

    def __init__(self, server: Server, provider: Provider, chance: random.Random) -> None:
        self.server, self.provider, self.chance = server, provider, chance
        self.now = datetime.now(UTC)
        self.orders: list[str] = []
        self.said = 0
        self._lines: list[tuple[str, str, bytes]] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self, ahead: timedelta) -> None:
        """Place some orders, and go on with those that are there."""
        self.now = datetime.now(UTC) + ahead
        placed = [f"o-{len(self.orders) + number}" for number in range(ORDERS_PER_LIFE)]
        await self.provider.create(*placed)
        for order in placed:
            self._lines.append(("hook", order, msgspec.json.encode(webhook("order.processed", order, self.now))))
        self.orders += placed
        for order in self.chance.sample(self.orders, ORDERS_PER_LIFE):
            event = self.chance.choice(["appointment.awaiting_availability", "appointment.scheduled", ""])
            if event:
                self._lines.append(("hook", order, msgspec.json.encode(webhook(event, order, self.now))))
            else:
                self._lines.append(("cancel", order, b""))
        self.chance.shuffle(self._lines)
        self._tasks = [asyncio.create_task(self._connection()) for _ in range(CONNECTIONS)]

    async def reaches(self, number: int) -> bool:
        """So many lines were said, or there are no more."""
        return self.said >= number or all(task.done() for task in self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks)

    async def _connection(self) -> None:
        while self._lines:
            line = self._lines.pop()
            try:
                await self._say(*line)
            except (aiohttp.ClientError, ConnectionError, asyncio.CancelledError):
                self._lines.append(line)
                return
            self.said += 1

    async def _say(self, what: str, order: str, body: bytes) -> None:
        if what == "hook":
            assert (await self.server.hook(body)).status == 200
            return
        path = f"/v1/accounts/{ACCOUNT}/orders/{order}/cancellations"
        reply = await self.server.ask("POST", path, CANCEL_BODY, headers={"Idempotency-Key": f"key-{order}"})
        assert reply.status in (202, 404, 409), reply


async def test_everything_arrives_once_after_a_week(
    tmp_path: Path, session: aiohttp.ClientSession, provider: Provider
) -> None:
    seed = int(os.environ.get("WEEK_SEED", "0")) or secrets.randbits(32)
    print(f"WEEK_SEED={seed}")  # noqa: T201 - to run it again
    chance = random.Random(seed)  # noqa: S311
    server = Server(tmp_path, session)
    down, up = await Receiver.start(lasting_port()), await Receiver.start()
    up.respond = lambda _: 500 if chance.random() < 0.1 else 204
    load = Load(server, provider, chance)
    try:
        lives = await kill_for_a_week(server, load, provider, down, up)
        server.prelude = prelude(WEEK)
        lives.append(begin(WEEK))
        await server.start()
        await load.begin(WEEK)
        await load.finish()
        await until(lambda: all_final(server), "every cancellation to end", 3 * WAIT_S)
        assert down.accepted == []
        tried = {request.id for request in down.requests}
        await come_back(server, down)
        # What was refused twice is due after five minutes.
        up.respond = lambda _: 204
        assert await server.stop() == 0
        server.prelude = prelude(WEEK + DAY)
        await server.start()
        await all_settled(server, UP)
        await all_settled(server, DOWN)
        events = (await server.pages("/v1/events", 500))[::-1]
        verdicts = {order: await verdicts_of(server, order) for order in load.orders}
        assert await server.stop() == 0
    finally:
        await server.kill()
        for subscriber in (down, up):
            await subscriber.close()
    recorded = Recorded.read(tmp_path / "rescind.db")
    recorded.check_deliveries()
    recorded.check_causes(events)
    for order in load.orders:
        recorded.check_verdicts(order, verdicts[order])
    check_arrivals(down.accepted, recorded.messages_to(DOWN), [])
    check_arrivals(up.accepted, recorded.messages_to(UP), lives)
    check_turns(down.accepted, recorded.messages)
    assert tried, "nothing was sent to the subscriber while it was down, so this shows little"


async def kill_for_a_week(
    server: Server, load: Load, provider: Provider, down: Receiver, up: Receiver
) -> list[datetime]:
    """Start the server and kill it again and again; returns when each life began, by its own clock."""
    chance, database, lives = load.chance, server.directory / "rescind.db", list[datetime]()
    for life in range(KILLS):
        await down.fail(chance.choice(list(Down)))
        ahead = WEEK * life / KILLS
        server.prelude, began = prelude(ahead), begin(ahead)
        lives.append(began)
        await server.start()
        if not life:
            await configure(server, provider, down, up)
        await load.begin(ahead)
        enough = load.said + chance.randrange(1, 3 * ORDERS_PER_LIFE)
        await until(lambda enough=enough: load.reaches(enough), f"{enough} lines")
        if life % (KILLS // SEEN_FAILING) == 0:
            await until(lambda began=began: has_failed(database, began), "a failure to be recorded")
        await server.kill()
        await load.stop()
    return lives


def begin(ahead: timedelta) -> datetime:
    """When a life begins whose clock is so far ahead, in whole seconds as deliveries tell them."""
    return (datetime.now(UTC) + ahead).replace(microsecond=0)


async def configure(server: Server, provider: Provider, down: Receiver, up: Receiver) -> None:
    limits = {"requests": 1000, "per_s": 1, "concurrency": 6}
    await server.put("accounts", ACCOUNT, account_of(provider.url, limits=limits))
    await server.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await server.put("subscriptions", DOWN, subscription_of(down, DOWN, ordered=True, timeout_s=1))
    # What it accepts counts as accepted, however long it takes.
    await server.put("subscriptions", UP, subscription_of(up, UP))


def subscription_of(receiver: Receiver, id: str, **more: Any) -> dict[str, Any]:
    return {"url": f"{receiver.url}/{id}", "secret": SECRET, "payload": "full", "timeout_s": 60, **more}


async def has_failed(database: Path, since: datetime) -> bool:
    """A failure of the subscription since then is on disk, or it was disabled already."""
    with closing(sqlite3.connect(database)) as connection:
        row = connection.execute("SELECT state FROM subscription_states WHERE subscription = ?", [DOWN]).fetchone()
    state = {} if row is None else msgspec.json.decode(row[0])
    last_failure_at = state.get("last_failure_at")
    return "disabled_at" in state or (last_failure_at is not None and datetime.fromisoformat(last_failure_at) > since)


async def all_final(server: Server) -> bool:
    return all(row["final"] for row in await server.pages("/v1/cancellations", 500))


async def come_back(server: Server, down: Receiver) -> None:
    """The subscriber is up again; its subscription was disabled meanwhile, and is enabled again."""
    assert (await server.get(f"/v1/subscriptions/{DOWN}"))["delivery"]["state"] == "disabled"
    await server.put("subscriptions", DOWN, subscription_of(down, DOWN, ordered=True))
    await down.up()
    assert (await server.ask("POST", f"/v1/subscriptions/{DOWN}/enable")).status == 200
    await all_settled(server, DOWN)


async def all_settled(server: Server, id: str) -> None:
    async def look() -> bool:
        return not (await server.get(f"/v1/subscriptions/{id}"))["delivery"]["pending"]

    await until(look, f"the deliveries to {id}", 3 * WAIT_S)


async def verdicts_of(server: Server, order: str) -> list[tuple[str, str]]:
    """The order's verdicts one after another, as recomputed from its events."""
    rows = [row["verdict"] for row in await server.timeline(order) if row["kind"] == "verdict"]
    return [(row["cancelable"], row["reason"]) for row in rows]


@dataclass(frozen=True)
class Recorded:
    """What the database holds in the end, read without Rescind."""

    messages: dict[str, dict[str, Any]]
    """Every message by its id, oldest first: `id`, `type`, `cause`, `data`."""
    deliveries: Counter[tuple[str, str]]
    """(subscription, state) → how many deliveries."""

    @classmethod
    def read(cls, database: Path) -> Recorded:
        with closing(sqlite3.connect(database)) as connection:
            connection.row_factory = sqlite3.Row
            messages = [dict(row) for row in connection.execute("SELECT * FROM messages ORDER BY id")]
            deliveries = connection.execute("SELECT subscription, state FROM deliveries").fetchall()
        for row in messages:
            row["data"] = msgspec.json.decode(row["data"])
        return cls(
            {show(MESSAGE, row["id"]): row for row in messages},
            Counter((row["subscription"], row["state"]) for row in deliveries),
        )

    def messages_to(self, subscription: str) -> dict[str, dict[str, Any]]:
        """What it is to receive: all messages, but those about its own failures."""
        return {id: row for id, row in self.messages.items() if row["data"].get("subscription") != subscription}

    def check_deliveries(self) -> None:
        """Each message has one delivery to each subscription, and all are delivered."""
        assert self.deliveries == {(id, "delivered"): len(self.messages_to(id)) for id in (DOWN, UP)}

    def check_causes(self, events: list[dict[str, Any]]) -> None:
        """Each event by which a cancellation changes its state, and each notice, is one message; nothing else is."""
        told = Counter((row["cause"], row["type"]) for row in self.messages.values() if row["type"] != VERDICT_CHANGED)
        due, states = Counter[tuple[str, str]](), dict[str, str]()
        for event in events:
            type, cancellation = event["type"], event["data"].get("cancellation")
            if type.startswith("cancellation."):
                before, states[cancellation] = states.get(cancellation), type
                due[event["id"], type] += before != type
            elif type in NOTICES:
                due[event["id"], type] += 1
        assert told == +due
        assert sum(type.startswith("cancellation.") for _, type in told) > ORDERS_PER_LIFE
        assert {type for _, type in told} >= {"subscription.failing", "subscription.disabled"}

    def check_verdicts(self, order: str, recomputed: list[tuple[str, str]]) -> None:
        """Each message goes on where the one before ended, and each was true at some moment, the last is now."""
        about = [row for row in self.messages.values() if row["type"] == VERDICT_CHANGED]
        data = [row["data"] for row in about if row["data"]["order"] == order]
        assert data, f"nobody was told of {order}"
        # A cancel may have been requested before anything was heard of the order.
        assert data[0]["previous"] is None or data[0]["previous"]["reason"] == "never_seen"
        for before, after in pairwise(data):
            assert before["verdict"] | after["previous"] == before["verdict"] | {"closes_at": before["closes_at"]}
        said = [(row["verdict"]["cancelable"], row["verdict"]["reason"]) for row in data]
        assert said[-1] == recomputed[-1]
        # Changes of one commit are one message, so that it may skip some.
        moments = iter(recomputed)
        assert all(verdict in moments for verdict in said), (order, said, recomputed)


def check_arrivals(accepted: Sequence[Delivered], messages: Mapping[str, Any], began: Sequence[datetime]) -> None:
    """Every message arrived, signed, and nothing else did; a repeat only after a kill, and with the same content."""
    lives, contents = Counter[tuple[str, int]](), defaultdict[str, set[bytes]](set)
    for request in accepted:
        sent_at = datetime.fromtimestamp(int(request.headers["webhook-timestamp"]), UTC)
        # The package's `verify` would find the time too far ahead.
        assert request.headers["webhook-signature"] == Webhook(SECRET).sign(request.id, sent_at, request.body.decode())
        lives[request.id, bisect(began, sent_at)] += 1
        contents[request.id].add(request.body)
    assert set(contents) == set(messages)
    assert all(len(bodies) == 1 for bodies in contents.values())
    # What was accepted is sent again if the server was killed before it wrote so, in its next life.
    assert set(lives.values()) == {1}
    assert len(lives) < 2 * len(messages), "hardly anything was written before the kills"
    for id, (body,) in contents.items():
        payload = msgspec.json.decode(body)
        assert (payload["type"], payload["data"]["order"]) == (messages[id]["type"], messages[id]["data"]["order"])


def check_turns(accepted: Iterable[Delivered], messages: Mapping[str, Any]) -> None:
    """The messages of each order arrived in the order in which they were written."""
    turn = {id: number for number, id in enumerate(messages)}
    by_order: dict[str, list[int]] = defaultdict(list)
    for request in accepted:
        by_order[request.payload["data"]["order"]].append(turn[request.id])
    for order, turns in by_order.items():
        assert turns == sorted(turns), order
    assert max(map(len, by_order.values())) > 3
