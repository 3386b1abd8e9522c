"""The hot orders are what the store has, whatever happens, and change nothing of what is recorded."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from integration.test_erasure import Erasing
from integration.test_rebuild import ACCOUNT, POLICIES, STEPS, World, check, gather, rebuild, rows, world
from msgspec.structs import replace

from app.core.commands import ChangeTags, FireTimer
from app.engine.commit import Commit
from app.engine.hot_orders import HotOrders
from app.store import FoundOrder, Name, OrderWrite, StoreUnavailable, codec
from app.store.records import EVENT_KEYS_MAX
from app.store.sqlite import SqliteStore, transaction
from app.store.sqlite.functions import add_functions

SUBSCRIPTION = {"id": "crm", "url": "https://crm.example/hooks", "events": ["*"], "secret": "whsec_" + "c2Vj" * 8}
RECORDED = ("events", "orders", "names", "shared_aliases", "jobs", "cancellations", "attempts", "messages")


class InjectedError(Exception):
    """A fault that a test made."""


def stored_orders(path: Path) -> tuple[dict[int, FoundOrder], dict[Name, int]]:
    """(every order as a look-up would give it, where every name leads), read beside the ledger."""
    keys: dict[int, set[str]] = {}
    with closing(sqlite3.connect(path)) as db:
        add_functions(db)
        for pk, key in db.execute("SELECT order_pk, key FROM events WHERE order_pk > 0"):
            keys.setdefault(pk, set()).add(f",{key & (1 << 64) - 1:016x}")
        orders = {
            pk: FoundOrder(pk, state, codec.read_told(told), "".join(sorted(keys.get(pk, ()))))
            for pk, state, *told in db.execute(f"SELECT pk, {codec.ORDER_STATE}, {codec.TOLD_COLUMNS} FROM orders")  # noqa: S608
        }
        names = {(account, name): pk for account, name, pk in db.execute("SELECT account, name, order_pk FROM names")}
    return orders, names


def require_equal(hot: HotOrders, path: Path) -> int:
    """Compare every hot order with the store; returns how many there are."""
    orders, names = stored_orders(path)
    for number, (order, leading) in hot.orders.items():
        assert order.keys is not None
        parted = "".join(sorted(f",{key}" for key in order.keys.split(",")[1:]))
        assert FoundOrder(order.number, order.state, order.told, parted) == orders[number]
        assert leading
        assert {names.get(name) for name in leading} == {number}
    return len(hot)


def broken_disk(text: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


class Faults:
    """Makes transactions fail now and then, each time at another step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, seed: int, share: float) -> None:
        self._chance, self._share = random.Random(seed), share  # noqa: S311 - a test, repeatable
        self.made: dict[str, int] = {}
        self.stopped = True
        of = transaction.SqliteTransaction
        find, merge, commit, write = of.find, of.merge, of.commit, transaction._commit
        decide = Commit._decide

        async def faulty_find(*given: Any) -> Any:
            self.strike("before the look-up", sqlite3.OperationalError)
            found = await find(*given)
            self.strike("after the look-up", sqlite3.OperationalError)
            return found

        async def faulty_merge(*given: Any) -> None:
            await merge(*given)
            self.strike("after a merge", sqlite3.OperationalError, 5)

        async def faulty_decide(*given: Any) -> Any:
            result = await decide(*given)
            self.strike("in a decision", InjectedError)
            return result

        def faulty_write(db: sqlite3.Connection, statements: Any) -> None:
            self.strike("before the statements", sqlite3.OperationalError)
            write(db, [*statements, *([("SELECT no_such_thing(?)", (1,))] * self.chosen("in the statements"))])
            self.strike("after COMMIT, on the thread", broken_disk)

        async def faulty_commit(*given: Any) -> None:
            self.strike("before COMMIT", StoreUnavailable)
            await commit(*given)
            self.strike("after COMMIT", StoreUnavailable)

        monkeypatch.setattr(of, "find", faulty_find)
        monkeypatch.setattr(of, "merge", faulty_merge)
        monkeypatch.setattr(of, "commit", faulty_commit)
        monkeypatch.setattr(transaction, "_commit", faulty_write)
        monkeypatch.setattr(Commit, "_decide", faulty_decide)

    def chosen(self, step: str, times: int = 1) -> bool:
        if self.stopped or self._chance.random() >= self._share * times:
            return False
        self.made[step] = self.made.get(step, 0) + 1
        return True

    def strike(self, step: str, error: Callable[[str], Exception], times: int = 1) -> None:
        if self.chosen(step, times):
            raise error(f"injected {step}")


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    return Faults(monkeypatch, 7, 0.012)


async def stir(it: World) -> None:
    """What changes orders besides webhooks and cancel requests: other rules and policies, rows mended by a rebuild."""
    if it.chance.random() < 0.5:
        statuses = it.chance.sample(["new_request", "ordered", "scheduling", "scheduled", "hold"], 3)
        account = {"id": ACCOUNT, "provider": "planomatic", "config": {"api_key": "a-key"}}
        given = {"accounts": [{**account, "rules": {"cancelable_statuses": statuses}}], "policies": POLICIES}
        await it.directory.apply({**given, "subscriptions": [SUBSCRIPTION]}, by="ann", now=it.now, confirm=True)
    elif it.path.exists():
        with closing(sqlite3.connect(it.path, timeout=10)) as db, db:
            add_functions(db)
            some = "pk IN (SELECT pk FROM orders ORDER BY pk DESC LIMIT 3)"
            wrong = f"json_set({codec.ORDER_STATE}, '$.order.provider_status', 'x')"
            db.execute(f"UPDATE orders SET state = {wrong} WHERE {some}")  # noqa: S608
        await gather(rebuild(it.store, it.directory.view, now=it.now))


@pytest.mark.parametrize(("orders_max", "make"), [(5, World), (20_000, World), (12, Erasing)])
async def test_hot_orders_equal_the_store_whatever_fails(
    tmp_path: Path, faults: Faults, orders_max: int, make: type[World]
) -> None:
    path, kept, hits = tmp_path / "rescind.db", 0, 0
    async with world(path, orders_max, make=make, subscriptions=[SUBSCRIPTION]) as it:
        hot = it.ledger.hot = HotOrders(it.store, orders_max)
        faults.stopped = False
        inbound, others = (
            [it.webhook] * 8 + [it.repeat] * 3 + [it.request_cancel] * 3,
            [it.send, it.elapse, it.pause, it.tag],
        )
        for step in range(STEPS):
            doing = it.chance.choice(inbound + others)
            together = [doing, *(it.chance.choice(inbound) for _ in range(it.chance.randrange(4)) if doing in inbound)]
            for outcome in await asyncio.gather(*(each() for each in together), return_exceptions=True):
                # After a fault between COMMIT and the callers, they are told that it failed, and it is stored.
                assert outcome is None or "injected" in str(outcome) or "no_such_thing" in str(outcome), repr(outcome)
            if step % 40 == 39:
                faults.stopped = True
                await stir(it)
                faults.stopped = False
            # Whatever a commit is not known to have written is forgotten before the next look-up.
            if not hot.is_outdated:
                kept += require_equal(hot, path)
            it.now += timedelta(seconds=it.chance.choice([0.001, 1, 400, 9000]))
        faults.stopped, hits = True, hot.hits
        assert len(hot) <= orders_max
        assert (await gather(check(it.store)))[0] == []
    assert set(faults.made) >= {
        "before the look-up",
        "after the look-up",
        "in a decision",
        "before the statements",
        "in the statements",
        "after COMMIT, on the thread",
        "before COMMIT",
        "after COMMIT",
    }
    assert kept > STEPS
    assert hits > STEPS // 4


@pytest.mark.parametrize("make", [World, Erasing])
async def test_the_same_is_recorded_with_and_without_hot_orders(tmp_path: Path, make: type[World]) -> None:
    for seed in (11, 12):
        recorded = []
        for orders_max in (0, 4, 20_000):
            path = tmp_path / f"{seed}-{orders_max}.db"
            async with world(path, seed, make=make, subscriptions=[SUBSCRIPTION]) as it:
                hot = it.ledger.hot = HotOrders(it.store, orders_max)
                await it.live()
                assert (len(hot) > 0, hot.hits > 0) == (orders_max > 0, orders_max > 0)
            recorded.append([rows(path, f"SELECT * FROM {table} ORDER BY 1, 2, 3") for table in RECORDED])  # noqa: S608
        assert [table for table, written in zip(RECORDED, recorded[0], strict=True) if not written] == [
            "shared_aliases"
        ]
        assert recorded[1] == recorded[0]
        assert recorded[2] == recorded[0]


class OneVisit:
    """Counts the visits to the database's thread."""

    def __init__(self, store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count, visit = 0, store._writer.visit

        async def counted(work: Any) -> Any:
            self.count += 1
            return await visit(work)

        monkeypatch.setattr(store._writer, "visit", counted)


async def test_a_commit_about_hot_orders_makes_one_visit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path / "rescind.db", 1, policies=[]) as it:
        visits, body = OneVisit(it.store, monkeypatch), b'{"event": "%b", "order_id": 1, "occurred_at": "%b"}'
        for step, (event, needed) in enumerate((("order.processed", 2), ("order.delivered", 1))):
            visits.count = 0
            await it.webhook(body % (event.encode(), f"2026-03-01T0{step}:00:00Z".encode()))
            assert visits.count == needed
        visits.count = 0
        await it.webhook(body % (b"order.delivered", b"2026-03-01T01:00:00Z"))
        assert (visits.count, len(rows(it.path, "SELECT 1 FROM events WHERE order_pk > 0"))) == (1, 2)


async def test_long_and_large_orders_are_not_kept(tmp_path: Path) -> None:
    async with world(tmp_path / "rescind.db", 1, policies=[]) as it:
        body = '{"event": "order.processed", "order_id": 1, "occurred_at": "2026-03-01T00:00:00.%06dZ"}'
        for number in range(EVENT_KEYS_MAX + 4):
            await it.webhook((body % number).encode())
            assert len(it.ledger.hot) == (1 if number < EVENT_KEYS_MAX else 0)
        # Its keys are too many for a look-up, too.
        await it.webhook((body % 0).encode())
        assert len(it.ledger.hot) == 0
        it.ledger.hot = HotOrders(it.store, bytes_max=40_000)
        for number in range(40):
            await it.webhook(
                b'{"event": "order.processed", "order_id": "n-%d", "metadata": {"m": "%b"}}' % (number, b"x" * 4000)
            )
        assert 4 < len(it.ledger.hot) < 10


async def test_orders_that_were_replaced_are_looked_up_again(tmp_path: Path) -> None:
    async with world(tmp_path / "rescind.db", 1, policies=[]) as it:
        await it.webhook(b'{"event": "order.processed", "order_id": 1}')
        stored = await it.store.order(ACCOUNT, "1")
        assert stored is not None
        number, aggregate = stored
        await it.store.replace_orders(
            [OrderWrite(number, replace(aggregate, tags=("vip",)), "yes", None, None, had_job=False)], []
        )
        assert await it.record(ChangeTags(ACCOUNT, "1", it.now, ("late",), (), "ann", "1")) == [("late", "vip")]


async def test_a_store_with_other_writers_has_no_hot_orders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SqliteStore, "single_writer", False)
    async with world(tmp_path / "rescind.db", 1, policies=[]) as it:
        for _ in range(2):
            await it.webhook(b'{"event": "order.processed", "order_id": 1, "status": "x"}')
        await it.record(FireTimer(ACCOUNT, "1", it.now))
        assert (len(it.ledger.hot), it.ledger.hot.hits) == (0, 0)
