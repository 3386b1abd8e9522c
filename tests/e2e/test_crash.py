"""Kill -9 at random points under load, again and again: nothing acknowledged is lost, nothing is sent blindly.

Each part has a database of its own. Several connections deliver webhooks about many orders, some
twice and some late, and ask for cancellations; the provider answers with small random delays. The
server is killed after so many lines as chance will have it, or while a call is held at the provider,
and started anew on the same file, and in the end everything must have drained.
Then the database is opened and held against what was acknowledged and what arrived at the provider.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sqlite3
import time
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from processes import lasting_port
from providers import CANCEL_PATH, RETRIEVE_PATH, WAIT_S, Provider
from servers import ACCOUNT, CANCEL_BODY, ENDPOINT, Server, account_of, endpoint_of, until, webhook

from app.config.log_key import stored_public_key
from app.config.secrets import open_vault
from app.core import order as orders
from app.core.aggregate import JobKind, is_fact
from app.core.event import Event, event_id
from app.engine.log_verify import verify, verify_end
from app.runtime.ids import RECEIPT, read
from app.store import Store
from app.store.sqlite import open_sqlite

PARTS, KILLS, CUT_OFF = 5 if os.environ.get("CI") else 2, 8, 3
"""So many kills, and so many of them while a call is out for certain."""
ORDERS, CONNECTIONS = 220, 8
LIMIT, PER_S = 12, 1.2
FOREVER = datetime(9000, 1, 1, tzinfo=UTC)
CLOSING = "appointment.scheduled"


@dataclass
class Told:
    """What was sent to Rescind, and what it said."""

    sent: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Order → ids of the events that were sent at all."""
    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    receipts: dict[str, bytes] = field(default_factory=dict)
    """Receipt → the body that it acknowledged."""
    closed: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Order → the event that closed it, and when that was first acknowledged."""
    cancellations: dict[str, str] = field(default_factory=dict)
    """Acknowledged cancellation → its order."""


@dataclass(order=True)
class Line:
    """One thing to say to Rescind. Lines are said in turn, the last first."""

    turn: float
    what: str = field(compare=False)
    order: str = field(compare=False)
    body: dict[str, Any] = field(compare=False, default_factory=dict)


class Load:
    """Connections that deliver webhooks and request cancels until they are told to stop."""

    def __init__(self, server: Server, provider: Provider, chance: random.Random) -> None:
        self.server, self.provider, self.chance, self.told = server, provider, chance, Told()
        self._lines: list[Line] = []
        for n in range(ORDERS):
            self._plan(f"o-{n}")
        self._lines.sort(reverse=True)
        self._tasks: list[asyncio.Task[None]] = []
        self.said = 0
        """How many lines were said."""

    def _plan(self, order: str) -> None:
        """An order's story: opened, perhaps closed, perhaps canceled by us; told out of order and twice."""
        opened = time.time() - 3600
        story = [Line(0, "tell", order, webhook("order.processed", order, opened))]
        later = [opened + n + 1 for n in range(self.chance.randrange(3))]
        story += [Line(0, "tell", order, webhook("appointment.awaiting_availability", order, at)) for at in later]
        story.append(replace(self.chance.choice(story)))
        if self.chance.random() < 0.4:
            story.append(Line(0, "cancel", order))
        if self.chance.random() < 0.5:
            story.append(Line(0, "close", order))
        begins = self.chance.random()
        for line in story:
            line.turn = begins + self.chance.random() * 0.3
        self._lines += story

    def run(self) -> None:
        self._tasks = [asyncio.create_task(self._connection()) for _ in range(CONNECTIONS)]

    async def reaches(self, number: int) -> bool:
        """So many lines were said, or there are no more."""
        return self.said >= number or all(task.done() for task in self._tasks)

    async def finish(self) -> None:
        await asyncio.gather(*self._tasks)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self) -> None:
        while self._lines:
            line = self._lines.pop()
            try:
                done = await self._say(line)
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                # It may have arrived. Most senders come again; what closes a window must arrive in the end.
                done = line.what == "tell" and line.body["event"] != CLOSING and self.chance.random() < 0.3
                await asyncio.sleep(0.02)
            if not done:
                self._lines.append(line)
            self.said += 1
            await asyncio.sleep(self.chance.random() * 0.05)

    async def _say(self, line: Line) -> bool:
        """True if it need not be said again."""
        match line.what:
            case "tell":
                return await self._tell(line.order, line.body)
            case "cancel":
                return await self._cancel(line.order)
            case _:
                return self._close(line.order)

    def _close(self, order: str) -> bool:
        """The window closes: first at the provider, then by its webhook."""
        try:
            self.provider.simulator.act({"do": "schedule_appointment", "order_id": order, "silent": True}, time.time())
        except ValueError:
            return True  # It is canceled there already.
        self._lines.append(Line(0, "tell", order, webhook(CLOSING, order, time.time())))
        return True

    async def _tell(self, order: str, body: dict[str, Any]) -> bool:
        raw = msgspec.json.encode(body)
        id = event_id(ACCOUNT, order, body["event"], raw)
        self.told.sent[order].add(id)
        reply = await self.server.hook(raw)
        if reply.status == 503:
            return False
        assert reply.status == 200, reply
        self.told.acknowledged[order].add(id)
        self.told.receipts[reply.json["receipt"]] = raw
        if body["event"] == CLOSING:
            self.told.closed.setdefault(order, (id, time.time()))
        return True

    async def _cancel(self, order: str) -> bool:
        path = f"/v1/accounts/{ACCOUNT}/orders/{order}/cancellations"
        reply = await self.server.ask("POST", path, CANCEL_BODY, headers={"Idempotency-Key": f"key-{order}"})
        if reply.status == 202:
            self.told.cancellations[reply.json["id"]] = order
        return reply.status in (202, 409)


@pytest.mark.parametrize("part", range(PARTS))
async def test_kill_at_random_points(part: int, tmp_path: Path, session: aiohttp.ClientSession) -> None:
    seed = int(os.environ.get("CRASH_SEED", "0")) or secrets.randbits(32)
    print(f"CRASH_SEED={seed} (part {part})")  # noqa: T201 - to run it again
    chance = random.Random(seed + part)  # noqa: S311
    provider = await Provider.start()
    server = Server(tmp_path, session)
    server.port = lasting_port()  # while it is down, nobody else gets what is sent to it
    try:
        await provider.create(*(f"o-{n}" for n in range(ORDERS)))
        for _ in range(400):
            processed = chance.choice(["before", "after"])
            await provider.fault("delay", path=None, seconds=chance.random() ** 2 * 0.3, processed=processed)
        await server.start()
        limits = {"requests": LIMIT, "per_s": PER_S, "concurrency": 6}
        await server.put("accounts", ACCOUNT, account_of(provider.url, limits=limits))
        await server.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        load = Load(server, provider, chance)
        load.run()
        try:
            for number in range(KILLS):
                if number < CUT_OFF:
                    await provider.catch()
                enough = load.said + chance.randrange(1, 60)
                await until(lambda enough=enough: load.reaches(enough), f"{enough} lines")
                await server.kill()
                if number < CUT_OFF:
                    provider.release(cut_off=True)
                await server.start()
            await load.finish()
        finally:
            await load.stop()
        await until(lambda: drained(server, tmp_path), "everything to drain", 5 * WAIT_S)
        assert await server.stop() == 0
        calls = await provider.calls(None)
    finally:
        await server.kill()
        await provider.close()
    store = await open_sqlite(tmp_path / "rescind.db")
    try:
        await check(store, load.told, calls)
        await check_chain(store, tmp_path)
    finally:
        await store.close()


async def drained(server: Server, folder: Path) -> bool:
    """Every cancellation is final; until then each waits for something, until a time that it names (I5).

    An order whose call a crash cut off may be probed for a while after its cancellation became final otherwise.
    """
    waiting = [each for each in await server.pages("/v1/cancellations", 500) if not each["final"]]
    for each in waiting:
        assert each["waiting"]["for"] not in ("", "nothing"), each
        assert each["waiting"]["until"], each
    with closing(sqlite3.connect(f"file:{folder}/rescind.db?mode=ro", uri=True)) as db:
        jobs = db.execute("SELECT count(*) FROM jobs").fetchone()[0]
    return not waiting and jobs == 0


async def check_chain(store: Store, tmp_path: Path) -> None:
    """The log is sealed as it is, although processes died between two blocks, and all the time in one."""
    vault = open_vault("", tmp_path / "rescind.db.key")
    public_key, (_, last) = await stored_public_key(store, vault), await store.block_numbers()
    assert public_key is not None
    assert last > KILLS / 2, "a life that is too short seals nothing"
    progress = [step async for step in verify(store, public_key, 1, last)]
    assert [fault for step in progress for fault in step.faults] == []
    assert await verify_end(store) == []


async def check(store: Store, told: Told, calls: list[dict[str, Any]]) -> None:
    """Hold what is stored against what was acknowledged, and against what arrived at the provider."""
    assert len(told.receipts) > ORDERS
    assert len(told.cancellations) > ORDERS / 8
    for id, body in told.receipts.items():
        kept = await store.receipt(read(RECEIPT, id))
        assert kept is not None, f"the acknowledged receipt {id} is lost"
        assert kept.body == body
    by_order: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for call in calls:
        by_order[call["order"]].append(call)
    interrupted = 0
    for order in told.sent:
        await check_order(store, order, told)
        interrupted += await check_sending(store, order, told, by_order[order])
    assert interrupted, "no call was ever out when the process ended, so this shows little"
    for id, order in told.cancellations.items():
        known = await store.cancellation(id)
        assert known is not None, f"the acknowledged cancellation {id} of {order} is lost"
        assert known.final
    assert await store.jobs(ACCOUNT, FOREVER, 9) == []
    assert await store.unfinished_attempts() == []
    check_limit(calls)
    seen = Counter(each["path"] for each in calls)
    assert seen[CANCEL_PATH] > 20, seen


async def check_order(store: Store, order: str, told: Told) -> None:
    """What was acknowledged is in the log, what is in the log was sent, and the order is the fold of it (I1, I2)."""
    found = await store.order(ACCOUNT, order)
    if found is None:
        assert not told.acknowledged[order], f"everything about {order} is lost"
        return
    pk, aggregate = found
    log = await store.order_events(pk)
    webhooks = {each.id for each in log if each.source == "webhook"}
    assert told.acknowledged[order] <= webhooks <= told.sent[order]
    state, _ = orders.fold(ACCOUNT, order, [each for each in log if is_fact(each)])
    assert state == aggregate.order
    assert aggregate.live == ()


async def check_sending(store: Store, order: str, told: Told, calls: list[dict[str, Any]]) -> int:
    """No claim after a closing event, no cancel repeated without a probe, one call at a time (I3, I4).

    Returns how many calls were out when a process ended.
    """
    found = await store.order(ACCOUNT, order)
    if found is None:
        assert not calls
        return 0
    log = await store.order_events(found[0])
    attempts = sorted(await store.attempts(found[0], 1000), key=lambda each: each.started_at)
    cancels = [each for each in attempts if each.kind is JobKind.CANCEL]
    if order in told.closed:
        closing, acknowledged = told.closed[order]
        assert all(each.started_at.timestamp() <= acknowledged for each in cancels), order
        assert not sent_after(log, closing), f"{order} was claimed after the event that closed it"
    for one, other in pairwise(attempts):
        assert one.ended_at is not None
        assert one.ended_at <= other.started_at, f"two calls about {order} at once"
    paths = [each["path"] for each in calls]
    assert paths.count(CANCEL_PATH) <= len(cancels), f"a call about {order} that no claim preceded"
    for one, other in pairwise(paths):
        assert (one, other) != (CANCEL_PATH, CANCEL_PATH), f"{order} was canceled again without a probe"
    assert set(paths) <= {CANCEL_PATH, RETRIEVE_PATH}
    return sum(each.outcome == "interrupted" for each in attempts)


def sent_after(log: list[Event], closing: str) -> bool:
    types = [each.type for each in log]
    return "cancellation.sending" in types[[each.id for each in log].index(closing) :]


def check_limit(calls: list[dict[str, Any]]) -> None:
    """No window, wherever it is laid, sees more calls than the limit, over all restarts (I6)."""
    arrivals = sorted(each["at"] for each in calls)
    for first, beyond in zip(arrivals, arrivals[LIMIT:], strict=False):
        assert beyond - first >= PER_S, f"{LIMIT + 1} calls within {beyond - first:.3f} s"
