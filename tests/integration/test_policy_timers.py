"""Timers of policies, on a clock that steps: late rather than never, and never early."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.config.secrets import Vault
from app.config.store import ConfigStore
from app.contract import Facts, InboundRequest, ParsedEvent, Phase, Source
from app.core.commands import RecordEvents
from app.core.event import to_event
from app.engine.ledger import Ledger
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store import Window
from app.store.filters import CancellationFilter
from app.store.sqlite import SqliteStore, open_sqlite
from app.web.parsing import parse_webhook
from app.workers.timers import Timers

ACCOUNT = "photos"
POLICY = {
    "id": "p",
    "accounts": [ACCOUNT],
    "when": "order.phase == 'open'",
    "wait": "48h since order.opened_at",
    "cancel": {"reason": "duplicate_order", "note": "by policy"},
    "mode": "enforce",
}


class Clock:
    """A process with its clock, which stands still until it is set."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    async def start(self, path: Path) -> None:
        self.store: SqliteStore = await open_sqlite(path)
        self.directory = ConfigStore(self.store, Vault(["k" * 32]), Redactor())
        await self.directory.load()
        self.ledger = Ledger(self.store, self.directory.view, Ids(), accounts_of=self.directory.accounts_of)
        self.timers = Timers(self.store, self.ledger, lambda: self.now)
        self._running = asyncio.create_task(self.ledger.run())

    async def stop(self) -> None:
        self.ledger.close()
        await self._running
        await self.store.close()

    async def strike(self, now: datetime | None = None) -> float:
        """The clock is set, and the timers look; how long they would sleep then."""
        self.now = now or self.now
        while await self.timers._fire_due() == 0.0:
            pass
        return await self.timers._fire_due()

    async def tell(self, event: str, order: str, at: datetime | None = None, **more: Any) -> None:
        body = {"event": event, "order_id": order, "occurred_at": (at or self.now).isoformat(), **more}
        inbound = InboundRequest({}, {}, msgspec.json.encode(body))
        parsed = parse_webhook(self.directory.accounts[ACCOUNT], inbound, self.now, "rcp_0000000000000001", 1 << 20)
        await self.ledger.execute_all(parsed.commands)

    async def canceled(self) -> list[str]:
        """The orders that the policy had canceled."""
        return sorted(
            each.order for _, each in await self.store.cancellations(Window(500), CancellationFilter(policy="p"))
        )


@pytest.fixture
async def clock(tmp_path: Path) -> AsyncIterator[Clock]:
    made = Clock(datetime(2026, 3, 1, 12, tzinfo=UTC))
    await made.start(tmp_path / "rescind.db")
    accounts = [{"id": ACCOUNT, "provider": "planomatic", "config": {"api_key": "a-key"}}]
    given = {"accounts": accounts, "policies": [POLICY]}
    await made.directory.apply(given, by="test", now=made.now, confirm=True)
    yield made
    await made.stop()


@pytest.mark.parametrize(
    "opened",
    [
        datetime(2026, 3, 28, 12, tzinfo=UTC),  # European clocks go forward on the 29th
        datetime(2026, 10, 24, 12, tzinfo=UTC),  # … and back on the 25th
        datetime(2028, 2, 28, 12, tzinfo=UTC),  # a leap day lies between
        datetime(2027, 2, 28, 12, tzinfo=UTC),
        datetime(2026, 12, 31, 12, tzinfo=UTC),
    ],
)
async def test_48_hours_are_48_hours(clock: Clock, opened: datetime) -> None:
    await clock.strike(opened)
    await clock.tell("order.processed", "o-1")
    await clock.strike(opened + timedelta(hours=48, seconds=-1))
    assert await clock.canceled() == []
    await clock.strike(opened + timedelta(hours=48))
    assert await clock.canceled() == ["o-1"]


@pytest.mark.parametrize("offset", ["+02:00", "-07:00", "+05:45"])
async def test_a_local_time_is_the_moment_that_it_means(clock: Clock, offset: str) -> None:
    opened = clock.now - timedelta(hours=1)
    local = opened.astimezone(datetime.fromisoformat(f"2026-01-01T00:00:00{offset}").tzinfo)
    await clock.tell("order.processed", "o-1", local)
    await clock.strike(opened + timedelta(hours=48, seconds=-1))
    assert await clock.canceled() == []
    await clock.strike(opened + timedelta(hours=48))
    assert await clock.canceled() == ["o-1"]


async def test_a_week_of_downtime(clock: Clock, tmp_path: Path) -> None:
    began = clock.now
    for order in ("a", "b", "c"):
        await clock.tell("order.processed", order)
    await clock.stop()
    clock.now = began + timedelta(days=7)
    await clock.start(tmp_path / "rescind.db")
    # What the provider sends again after the downtime comes before the timers look, or after them.
    await clock.tell("order.delivered", "b", began + timedelta(days=1))
    await clock.strike()
    await clock.tell("order.delivered", "c", began + timedelta(days=2))
    assert await clock.canceled() == ["a", "c"]
    states = {
        each.order: each.state.value
        for _, each in await clock.store.cancellations(Window(9), CancellationFilter(policy="p"))
    }
    assert states == {"a": "scheduled", "c": "revoked"}, "nothing was sent in vain"


async def test_a_clock_that_is_set_back(clock: Clock) -> None:
    began = clock.now
    await clock.tell("order.processed", "o-1")
    await clock.strike(began - timedelta(days=3))
    await clock.tell("order.processed", "o-2")
    sleeps_s = await clock.strike(began - timedelta(days=1) + timedelta(seconds=-1))
    assert await clock.canceled() == []
    assert sleeps_s <= 60
    await clock.strike(began - timedelta(days=1))
    assert await clock.canceled() == ["o-2"]
    await clock.strike(began + timedelta(days=2))
    assert await clock.canceled() == ["o-1", "o-2"]


async def test_a_clock_that_jumps_ahead_is_noticed_within_a_minute(clock: Clock) -> None:
    await clock.tell("order.processed", "o-1")
    assert await clock.strike() <= 60
    await clock.strike(clock.now + timedelta(days=400))
    assert await clock.canceled() == ["o-1"]


async def test_what_has_just_become_due_does_not_wait_for_a_backlog(clock: Clock) -> None:
    for number in range(900):
        await clock.tell("order.processed", f"o-{number}")
    clock.now += timedelta(seconds=1)
    await clock.tell("order.processed", "late")
    clock.now += timedelta(hours=48)
    assert await clock.timers._fire_due() == 0.0
    newest = await clock.store.cancellations(Window(600), CancellationFilter(policy="p"))
    assert "late" in {each.order for _, each in newest}


async def test_more_timers_than_one_look_takes(clock: Clock) -> None:
    for number in range(620):
        await clock.tell("order.processed", f"o-{number}")
    await clock.strike(clock.now + timedelta(days=3))
    assert len(await clock.canceled()) == 500, "a page of what is listed"
    assert await clock.store.next_deadline() > clock.now


async def test_an_order_is_no_duplicate_of_itself_when_its_id_changes(clock: Clock) -> None:
    """An order has the id that its earliest event gives it; a late event may give it another one."""
    policy = {**POLICY, "when": "size(order.duplicates) > 0", "wait": None}
    await clock.directory.apply({"policies": [policy]}, by="test", now=clock.now, confirm=True)
    house = Facts(phase=Phase.OPEN, attributes={"external_property_id": "house-1", "services": [{"slug": "photos"}]})
    first = ParsedEvent("web-1", "order.processed", b"1", house, clock.now - timedelta(minutes=1))
    late = ParsedEvent("o-1", "order.read", b"2", Facts(aliases=("web-1",)), clock.now - timedelta(minutes=2))
    for parsed in (first, late):
        event = to_event(parsed, ACCOUNT, clock.now, Source.PROVIDER, None)
        await clock.ledger.execute(RecordEvents(ACCOUNT, parsed.order, clock.now, (event,)))
    stored = await clock.store.order(ACCOUNT, "web-1")
    assert stored is not None
    assert stored[1].order.id == "o-1"
    assert await clock.canceled() == []
    await clock.tell("order.processed", "o-2", external_property_id="house-1", services=[{"slug": "photos"}])
    await clock.strike()
    assert await clock.canceled() == ["o-1", "o-2"]
