"""Ledgers of several nodes on one PostgreSQL, which decide about the same orders at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from postgres import CleanSchema, give_back, take_schema

from app.config.secrets import Vault
from app.config.store import ConfigStore
from app.contract import InboundRequest
from app.core.aggregate import JobKind
from app.core.attempt import Attempt
from app.core.cancellation import Cancellation, State
from app.core.commands import ChangeTags, ClaimJob, FireTimer, RequestCancel
from app.core.pauses import Pause
from app.engine.committed import Committed
from app.engine.ledger import Ledger
from app.engine.rebuild import check
from app.engine.request import Request
from app.runtime import ids
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store import Receipt
from app.store.postgres.store import open_postgres
from app.web.parsing import parse_webhook

ACCOUNT = "photos"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = {
    "id": "p",
    "accounts": [ACCOUNT],
    "on": ["order.processed"],
    "when": "order.phase == 'open'",
    "cancel": {"reason": "duplicate_order", "note": "by policy"},
    "mode": "enforce",
    "limits": {"per_hour": 3},
}


class Side:
    """What a node has of the ledger."""

    async def start(self, schema: CleanSchema) -> None:
        self.store = await open_postgres(schema.target)
        self.config = ConfigStore(self.store, Vault(["k" * 32]), Redactor())
        await self.config.load()
        self.reloads = 0
        self.ids = Ids()
        self.ledger = Ledger(
            self.store,
            self.config.view,
            self.ids,
            accounts_of=self.config.accounts_of,
            configuration_version=lambda: self.config.loaded_version,
            reload=self.reload,
        )
        await self.ledger.load()
        self._running = asyncio.create_task(self.ledger.run())

    async def reload(self) -> None:
        self.reloads += 1
        await self.config.load()

    async def stop(self) -> None:
        self.ledger.close()
        await self._running
        await self.store.close()

    async def apply(self, **resources: Any) -> None:
        accounts = [{"id": ACCOUNT, "provider": "planomatic", "config": {"api_key": "a-key"}}]
        await self.config.apply({"accounts": accounts, **resources}, by="test", now=NOW, confirm=True)

    async def tell(self, order: str, event: str = "order.processed") -> None:
        body = msgspec.json.encode({"event": event, "order_id": order, "occurred_at": NOW.isoformat()})
        number = self.ids.next()
        inbound = InboundRequest({}, {}, body)
        parsed = parse_webhook(self.config.accounts[ACCOUNT], inbound, NOW, ids.show(ids.RECEIPT, number), 1 << 20)
        receipt = Receipt(number, "in", ACCOUNT, NOW, "accepted", "", [], [], body)
        await self.ledger.record_webhook(receipt, parsed.commands)


@asynccontextmanager
async def sides(number: int, **resources: Any) -> AsyncIterator[list[Side]]:
    """So many nodes on one schema; all but the first have yet to load what was applied."""
    schema, opened = await take_schema(), list[Side]()
    try:
        for _ in range(number):
            side = Side()
            await side.start(schema)
            opened.append(side)
        await opened[0].apply(**resources)
        yield opened
    finally:
        for side in opened:
            await side.stop()
        await give_back(schema)


def cut_commit(monkeypatch: pytest.MonkeyPatch, *, after: bool) -> list[bool]:
    """Cut the connection of the next COMMIT, before or after the server has done it; the list is empty when it is."""
    execute, cuts = asyncpg.Connection.execute, [after]

    async def cut(connection: Any, query: str, *values: Any, **how: Any) -> str:
        if query == "COMMIT" and cuts:
            if cuts.pop():
                await execute(connection, query, *values, **how)
            connection.terminate()
        return await execute(connection, query, *values, **how)

    monkeypatch.setattr(asyncpg.Connection, "execute", cut)
    return cuts


async def test_a_policy_acts_as_often_as_its_limit_says_on_all_nodes_together() -> None:
    async with sides(2, policies=[POLICY]) as (one, other):
        await other.config.load()
        orders = [f"o-{number}" for number in range(12)]
        await asyncio.gather(*((one, other)[number % 2].tell(order) for number, order in enumerate(orders)))
        made = "SELECT count(*) FROM @cancellations"
        assert (await one.store._db.fetch(made))[0][0] == 0, "they act where their limits are counted"
        due = await one.store._db.fetch("SELECT count(*) FROM @orders WHERE next_check_at <= $1", _micros(NOW))
        assert due[0][0] == 12, "at once"
        timers = [
            (one, other)[number % 2].ledger.execute(FireTimer(ACCOUNT, order, NOW))
            for number, order in enumerate(orders)
        ]
        await asyncio.gather(*timers)
        assert (await one.store._db.fetch(made))[0][0] == 3
        # It halted itself, and both know it with their next commit.
        for side in (one, other):
            await side.tell("o-99")
            assert list(side.ledger.pauses) == ["policy:p"]


async def test_an_order_s_log_is_in_the_order_in_which_twelve_writers_applied_it() -> None:
    async with sides(3) as opened:
        await opened[0].tell("o-1")
        changes = [
            (
                side,
                ChangeTags(
                    ACCOUNT,
                    "o-1",
                    NOW,
                    (f"{place}-{number % 5}",),
                    (f"{place}-{(number + 2) % 5}",),
                    "ann",
                    f"{place}-{number}",
                ),
            )
            for number in range(25)
            for place, side in enumerate(opened)
        ]
        await asyncio.gather(*(side.ledger.execute(command) for side, command in changes))
        # What the log gives, folded in its order, is what is stored.
        pages = [page async for page in check(opened[0].store)]
        assert [mismatch for page in pages for mismatch in page.mismatches] == []
        assert sum(page.events for page in pages) > 60


async def test_few_requests_share_a_commit_and_many_are_spread_without_an_order_in_two(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with sides(1) as (one,):
        commits, under_way = list[int](), Counter[str]()
        commit = one.ledger.commit

        async def watched(requests: list[Request[Any]]) -> Committed:
            commits.append(len(requests))
            orders = {command.order for request in requests for command in request.commands}
            assert not any(under_way[order] for order in orders)
            under_way.update(orders)
            try:
                return await commit(requests)
            finally:
                under_way.subtract(orders)

        monkeypatch.setattr(one.ledger, "commit", watched)
        await one.tell("o-0")
        commits.clear()
        await asyncio.gather(*(one.tell(f"o-{number}") for number in range(30)))
        assert commits == [30]
        commits.clear()
        tags = [
            one.ledger.execute(ChangeTags(ACCOUNT, f"o-{number % 70}", NOW, (f"t-{number}",), (), "ann", f"{number}"))
            for number in range(280)
        ]
        await asyncio.gather(*tags)
        assert max(commits) < 280
        assert sum(commits) == 280


async def test_a_node_loads_a_later_configuration_before_it_decides() -> None:
    async with sides(2) as (one, other):
        assert ACCOUNT not in other.config.accounts
        await other.ledger.execute(ChangeTags(ACCOUNT, "o-1", NOW, ("a",), (), "ann", "1"))
        assert other.reloads == 1
        assert other.config.loaded_version == one.config.loaded_version


async def test_a_configuration_that_a_failover_lost_is_not_waited_for() -> None:
    async with sides(1) as (one,):
        await one.store._db.fetch("UPDATE @shared_versions SET version = version - 1 WHERE what = 'configuration'")
        await one.ledger.execute(ChangeTags(ACCOUNT, "o-1", NOW, ("a",), (), "ann", "1"))
        assert one.reloads == 1
        assert one.config.loaded_version == await one.store.configuration_version()


async def test_all_that_waits_is_recorded_when_a_command_of_nothing_returns() -> None:
    async with sides(1) as (one,):
        told = [asyncio.ensure_future(one.tell(f"o-{number}")) for number in range(40)]
        await asyncio.sleep(0)
        await one.ledger.execute_all([])
        assert all(task.done() for task in told)


@pytest.mark.parametrize("after", [False, True])
async def test_a_claim_whose_commit_has_no_answer_is_made_once(monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    async with sides(1) as (one,):
        await one.tell("o-1")
        id = ids.show(ids.CANCELLATION, one.ids.next())
        asked = Cancellation(id, ACCOUNT, "o-1", "mistake", NOW, NOW, requested_by="ann")
        await one.ledger.execute(RequestCancel(ACCOUNT, "o-1", NOW, asked))
        number = one.ids.next()
        attempt = Attempt(number, 0, ACCOUNT, "o-1", JobKind.CANCEL, id, NOW)
        name = ids.show(ids.ATTEMPT, number)
        later = NOW + timedelta(seconds=5)
        claim = ClaimJob(
            ACCOUNT, "o-1", later, attempt=name, kind=JobKind.CANCEL, cancellation=id, lease_s=30, record=attempt
        )
        cuts = cut_commit(monkeypatch, after=after)
        granted = await one.ledger.execute(claim)
        assert not cuts
        assert granted is not None
        stored = await one.store.cancellation(id)
        assert stored is not None
        assert (stored.state, stored.attempts) == (State.SENDING, 1)
        rows = await one.store._db.fetch("SELECT id FROM @attempts")
        assert [row[0] for row in rows] == [number]


@pytest.mark.parametrize("after", [False, True])
async def test_a_webhook_whose_commit_has_no_answer_is_recorded_once(
    monkeypatch: pytest.MonkeyPatch, *, after: bool
) -> None:
    async with sides(1) as (one,):
        cuts = cut_commit(monkeypatch, after=after)
        await one.tell("o-1")
        rows = await one.store._db.fetch("SELECT (SELECT count(*) FROM @events), (SELECT count(*) FROM @receipts)")
        assert not cuts
        assert tuple(rows[0]) == (1, 1)


async def test_what_one_node_pauses_another_knows_with_its_next_commit_and_may_resume() -> None:
    async with sides(2) as (one, other):
        await other.config.load()
        await one.ledger.pause(Pause(f"account:{ACCOUNT}", "stop", NOW, "ann"))
        await other.tell("o-1")
        assert list(other.ledger.pauses) == [f"account:{ACCOUNT}"]
        await other.ledger.resume(Pause(f"account:{ACCOUNT}", "go on", NOW, "ann"))
        await one.tell("o-2")
        assert not one.ledger.pauses


def _micros(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
