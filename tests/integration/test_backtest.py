"""A backtest decides what a live policy decided: random histories, through the real door and then over their log.

The clock is the test's. Live, every timer fires as the timers fire it: what the store says is overdue, when it is.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.config.secrets import Vault
from app.config.store import ConfigStore
from app.contract import InboundRequest
from app.core.backtest.run import REPORTED
from app.core.cancellation import Cancellation
from app.core.commands import ChangeTags, Command, FireTimer, RequestCancel, Revoke
from app.engine.ledger import Ledger
from app.runtime import ids
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store import Window
from app.store.sqlite import SqliteStore, open_sqlite
from app.web.parsing import parse_webhook
from app.workers import backtest_process
from app.workers.backtest_process import Task
from app.workers.backtests import run_backtest

T0 = datetime(2026, 3, 27, 12, 0, tzinfo=UTC)
BODY_MAX = 1_048_576
STEPS = 160
ORDERS = 14
PHOTOS, BROADBAND = "photos", "broadband"
ACCOUNTS = [
    {"id": PHOTOS, "provider": "planomatic", "stale_after_s": 400_000.0},
    {"id": BROADBAND, "provider": "superloop"},
]
CONFIG = {
    PHOTOS: {"api_key": "a-key"},
    BROADBAND: {"base_url": "https://superloop.example", "access_token": "a-token"},
}
EVENTS = ["order.processed"] * 6 + [
    "appointment.awaiting_availability",
    "appointment.awaiting_reschedule",
    "appointment.scheduled",
    "order.delivered",
    "order.canceled",
]
VISITS = ["Booked", "Booked", "Reserved", "cancelled"]
POLICIES: dict[str, dict[str, Any]] = {
    "at-once": {"when": "order.phase == 'open' && order.version > 2"},
    "since": {"when": "order.phase == 'open' && !('vip' in order.tags)", "wait": "20h since order.opened_at"},
    "without-a-break": {"when": "order.provider_status == 'scheduling'", "wait": "3h"},
    "on": {"on": ["appointment.*"], "when": "event.type != 'x' && order.phase == 'open'", "wait": "90m"},
    "reads-the-time": {"when": "now - order.opened_at > duration('30h') && order.phase == 'open'"},
    "by-verdict": {"when": "order.verdict.cancelable == 'unknown'", "wait": "2h"},
    "fails": {"when": "order.attributes.metadata.rush == 'yes'"},
    "duplicates": {"when": "order.duplicates.exists(d, d.came == 'before' && d.phase != 'canceled')", "wait": "15m"},
    "last-moment": {
        "accounts": [BROADBAND],
        "when": "!('vip' in order.tags)",
        "before_close": "30m",
        "cancel": {"reason": "duplicate_order"},
    },
}


@dataclass
class Life:
    """A ledger at work, and its clock."""

    path: Path
    store: SqliteStore
    directory: ConfigStore
    ledger: Ledger
    chance: random.Random
    ids: Ids
    now: datetime = T0
    requested: list[Cancellation] = field(default_factory=list)

    async def record(self, *entries: Command[Any]) -> None:
        await self.ledger.execute_all(entries)

    async def pass_time(self, until: datetime) -> None:
        """The clock fires what is overdue, the moment it is."""
        while (due := await self.store.next_deadline()) is not None and due <= until:
            overdue = await self.store.overdue(due, 1)
            await self.record(*(FireTimer(account, order, due) for account, order in overdue))
        self.now = until

    async def webhook(self) -> None:
        number = self.chance.randrange(ORDERS)
        account = self.chance.choice([PHOTOS, PHOTOS, BROADBAND])
        headers, body = self.photos(number) if account == PHOTOS else self.broadband(number)
        inbound = InboundRequest(headers, {}, msgspec.json.encode(body))
        receipt = ids.show(ids.RECEIPT, self.ids.next())
        parsed = parse_webhook(self.directory.accounts[account], inbound, self.now, receipt, BODY_MAX)
        assert parsed.status == "accepted", parsed.reason
        await self.record(*parsed.commands)

    def photos(self, number: int) -> tuple[dict[str, str], dict[str, Any]]:
        event = self.chance.choice(EVENTS)
        late = timedelta(seconds=self.chance.choice([0, 0, 1, 60, 4000, 100_000]))
        status = self.chance.choice(["ordered", "scheduling"]) if event == "order.processed" else None
        body: dict[str, Any] = {"event": event, "order_id": str(number), "occurred_at": (self.now - late).isoformat()}
        body |= {"external_property_id": f"property-{number % 4}", "services": [{"slug": "photos"}]}
        return {}, body | ({"status": status} if status else {})

    def broadband(self, number: int) -> tuple[dict[str, str], dict[str, Any]]:
        if self.chance.random() < 0.3:
            return {"z-event-type": "order.created.event"}, {"id": number, "isCancellable": self.chance.random() < 0.8}
        starts_at = self.now + timedelta(hours=self.chance.choice([5, 27, 30, 80]))
        visit = {"id": 1, "orderId": number, "status": self.chance.choice(VISITS), "startTime": starts_at.isoformat()}
        return {"z-event-type": "appointment.updated.event"}, visit

    async def somebody(self) -> None:
        """A person requests a cancel, revokes one, or tags an order."""
        order, account = str(self.chance.randrange(ORDERS)), self.chance.choice([PHOTOS, BROADBAND])
        found = await self.store.order(account, order)
        if found is None:
            return
        number = self.ids.next()
        live = found[1].live
        if self.chance.random() < 0.5:
            add, remove = self.chance.choice([(("vip",), ()), ((), ("vip",))])
            await self.record(ChangeTags(account, order, self.now, add, remove, "ann", str(number)))
        elif live:
            await self.record(Revoke(account, order, self.now, live[0].id, "ann"))
        else:
            id = ids.show(ids.CANCELLATION, number)
            deadline = self.now + timedelta(days=90)
            asked = Cancellation(id, account, order, "duplicate_order", self.now, self.now, "n", "ann", deadline)
            await self.record(RequestCancel(account, order, self.now, asked))

    async def live(self) -> None:
        for _ in range(STEPS):
            await (self.webhook() if self.chance.random() < 0.8 else self.somebody())
            await self.pass_time(self.now + timedelta(seconds=self.chance.choice([0.001, 1, 400, 9000, 30_000])))


class Numbers(Ids):
    """Ids that are the same in every run of the same history."""

    def next(self) -> int:
        self._last += 1
        return self._last


def spec_of(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = {"id": name, "accounts": [PHOTOS], **POLICIES[name]}
    # PlanOmatic requires a note, and Superloop takes none.
    note = {"note": "by policy"} if spec["accounts"] == [PHOTOS] else {}
    return {**spec, "cancel": {"reason": "duplicate_order", **note}}


@asynccontextmanager
async def life(path: Path, seed: int, policies: Sequence[str]) -> AsyncIterator[Life]:
    store = await open_sqlite(path)
    directory = ConfigStore(store, Vault(["k" * 32]), Redactor())
    accounts = [{**each, "config": CONFIG[str(each["id"])]} for each in ACCOUNTS]
    given = {"accounts": accounts, "policies": [spec_of(name) for name in policies]}
    await directory.apply(given, by="test", now=T0)
    random.seed(seed)
    numbers = Numbers()
    ledger = Ledger(store, directory.view, numbers, accounts_of=directory.accounts_of)
    running = asyncio.create_task(ledger.run())
    try:
        yield Life(path, store, directory, ledger, random.Random(seed), numbers)  # noqa: S311 - a test, repeatable
    finally:
        ledger.close()
        await running
        await store.close()


Found = Counter[tuple[str, str, datetime, str, str]]


async def decided_live(store: SqliteStore, policy: str) -> Found:
    rows = await store.decisions(policy, Window(100_000))
    told = {each.value for each in REPORTED}
    return Counter(
        (event.account, event.order, event.received_at, event.data["outcome"], event.data.get("detail", ""))
        for _, event in rows
        if event.data["outcome"] in told
    )


async def backtested(
    it: Life, policy: dict[str, Any], accounts: Sequence[dict[str, Any]], since: datetime = T0, **no_cancel: str
) -> dict[str, Any]:
    """The report of a backtest that runs in a thread of this process."""
    task = Task(it.path, policy, tuple(accounts), no_cancel, since, it.now, listed=100_000)
    with ThreadPoolExecutor(1) as pool:
        return await run_backtest(task, pool, lambda _done, _orders: None)


async def decided_afterwards(it: Life, policy: str, since: datetime = T0) -> tuple[Found, dict[str, Any]]:
    own = [each for each in ACCOUNTS if each["id"] in spec_of(policy)["accounts"]]
    report = await backtested(it, spec_of(policy), own, since)
    found = Counter(
        (each["account"], each["order"], datetime.fromisoformat(each["at"]), each["outcome"], each["detail"])
        for each in report["decisions"]
    )
    return found, report


# When others wake an order, a policy that reads the time looks at it too, perhaps an hour earlier than by itself.
TOGETHER = [name for name in POLICIES if name != "reads-the-time"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_backtest_decides_as_the_policies_did_live(tmp_path: Path, seed: int) -> None:
    async with life(tmp_path / "rescind.db", seed, TOGETHER) as it:
        await it.live()
        seen: Counter[str] = Counter()
        for policy in TOGETHER:
            live = await decided_live(it.store, policy)
            afterwards, report = await decided_afterwards(it, policy)
            assert afterwards == live, policy
            assert report["would_cancel"] == sum(n for key, n in live.items() if key[3] == "shadowed")
            seen.update(key[3] for key in live.elements())
    assert set(seen) == {each.value for each in REPORTED}, "not all kinds of decisions came about"


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_backtest_decides_as_the_one_policy_did_live(tmp_path: Path, policy: str) -> None:
    async with life(tmp_path / "rescind.db", 77, [policy]) as it:
        await it.live()
        live = await decided_live(it.store, policy)
        assert (await decided_afterwards(it, policy))[0] == live
        assert live


async def test_a_policy_that_is_saved_later_decides_as_a_backtest_since_then(tmp_path: Path) -> None:
    """Only orders that are open then are looked at, as they were known then."""
    for policy in TOGETHER:
        async with life(tmp_path / f"{policy}.db", 5, []) as it:
            await it.live()
            since = it.now
            await it.directory.apply({"policies": [spec_of(policy)]}, by="test", now=since)
            await it.pass_time(since)
            await it.live()
            live = await decided_live(it.store, policy)
            assert (await decided_afterwards(it, policy, since))[0] == live, policy


async def test_what_was_live_then_plays_no_part_in_a_backtest(tmp_path: Path) -> None:
    """The same history twice, once with another version of the policy at work."""
    found: list[list[Any]] = []
    given = {**spec_of("since"), "id": "at-once"}
    for number, policies in enumerate(([], ["at-once"])):
        async with life(tmp_path / f"{number}.db", 9, policies) as it:
            await it.live()
            report = await backtested(it, given, ACCOUNTS[:1])
            found.append([(each["order"], each["at"], each["outcome"]) for each in report["decisions"]])
    assert found[0] == found[1]
    assert found[0]


@pytest.mark.parametrize("policy", ["since", "duplicates"])
async def test_several_processes_find_what_one_does(tmp_path: Path, policy: str) -> None:
    async with life(tmp_path / "rescind.db", 3, []) as it:
        await it.live()
        own = [each for each in ACCOUNTS if each["id"] in spec_of(policy)["accounts"]]
        alone = await backtested(it, spec_of(policy), own)
        task = Task(it.path, spec_of(policy), tuple(own), {}, T0, it.now, share=3)
        told: list[tuple[int, int]] = []
        with ProcessPoolExecutor(2, get_context("spawn"), backtest_process.begin_process) as pool:
            spread = await run_backtest(task, pool, lambda done, orders: told.append((done, orders)))
    assert spread == alone
    assert alone["decisions"]
    assert len(told) > 2
    assert told[-1] == (alone["orders"], alone["orders"])
    assert [done for done, _ in told] == sorted(done for done, _ in told)


async def test_where_the_provider_offers_no_cancel_all_is_too_late(tmp_path: Path) -> None:
    """As live: the account's configuration says so, and a backtest is not given the configuration."""
    async with life(tmp_path / "rescind.db", 3, []) as it:
        await it.live()
        offered = await backtested(it, spec_of("at-once"), ACCOUNTS[:1])
        report = await backtested(it, spec_of("at-once"), ACCOUNTS[:1], photos="It has no API to cancel.")
    assert offered["would_cancel"]
    assert (report["would_cancel"], report["too_late"]) == (0, report["decisions_total"])
    assert {each["detail"] for each in report["decisions"]} >= {"It has no API to cancel."}
