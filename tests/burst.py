"""A burst of cancels that exceeds the limit, on a clock of its own: how many arrive in time.

The store, the ledger, the fence, the timers' question and the limiter are the real ones; the provider and its answers
and the time are made up. Half of the orders have an appointment, whose cut-off closes the window; the other half of the
cancels have a deadline of their own.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from app.config.secrets import Vault
from app.config.store import ConfigStore
from app.contract import CancelOutcome, CancelResult, InboundRequest, Limits
from app.core.aggregate import Job
from app.core.cancellation import Cancellation
from app.core.commands import ClaimJob, Command, FireTimer, RequestCancel
from app.core.lane.pacing import meter_of, schedule_starts
from app.core.results import RecordResult
from app.engine.ledger import Ledger
from app.runtime import ids
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store import Window
from app.store.filters import CancellationFilter
from app.store.sqlite import SqliteStore, open_sqlite
from app.web.parsing import parse_webhook

ACCOUNT = "broadband"
T0 = datetime(2026, 3, 1, 12, tzinfo=UTC)
CUTOFF = timedelta(hours=26)
TOGETHER = 250


@dataclass(slots=True)
class Burst:
    """So many cancels at once, under this limit."""

    size: int
    limits: Limits
    longest_s: float
    """The latest deadline."""
    latency_s: float = 0.2
    seed: int = 1
    send_by: list[float] = field(default_factory=list)
    """For each order the second by which its cancel must leave to arrive in time."""

    def __post_init__(self) -> None:
        chance = random.Random(self.seed)  # noqa: S311 - a simulation, repeatable
        self.send_by = [chance.uniform(1.0, self.longest_s) for _ in range(self.size)]

    def optimum(self) -> int:
        """How many any schedule could send in time: of calls of the same length, that all may start at once."""
        turn = meter_of(self.limits).start_times(0.0, self.latency_s)
        in_turn = sorted(self.send_by)
        return sum(start < by for start, by in zip(schedule_starts(turn, in_turn), in_turn, strict=True))

    def first_come_first_served(self) -> int:
        """How many leave in time in the order in which they came, even if none that is late takes a turn."""
        turn = meter_of(self.limits).start_times(0.0, self.latency_s)
        starts = schedule_starts(turn, self.send_by)
        return sum(start < by for start, by in zip(starts, self.send_by, strict=True))


@dataclass(slots=True)
class Found:
    """What became of a burst."""

    in_time: int
    late: int
    """Calls that left too late: quota spent in vain."""
    expired: int
    calls: int
    open: int
    most_in_a_window: int


async def run(burst: Burst, folder: Path) -> Found:
    """Let a burst happen, in a database in `folder`."""
    store = await open_sqlite(folder / "burst.db")
    directory = ConfigStore(store, Vault(["k" * 32]), Redactor())
    config = {"base_url": "https://superloop.example", "access_token": "a-token"}
    await directory.apply({"accounts": [{"id": ACCOUNT, "provider": "superloop", "config": config}]}, by="x", now=T0)
    ledger = Ledger(store, directory.view, Ids(), latency_s=lambda _: burst.latency_s)
    running = asyncio.create_task(ledger.run())
    try:
        await _place(burst, directory, ledger)
        return await _send(burst, store, ledger)
    finally:
        ledger.close()
        await running
        await store.close()


def _at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


async def _place(burst: Burst, directory: ConfigStore, ledger: Ledger) -> None:
    """The orders are told of by webhooks, and the cancels are asked for."""
    account = directory.accounts[ACCOUNT]
    commands: list[Command[Any]] = []
    for number, by in enumerate(burst.send_by):
        told: dict[str, dict[str, object]] = {"order.created.event": {"id": number, "isCancellable": True}}
        if number % 2:
            starts_at = (_at(by + burst.latency_s) + CUTOFF).isoformat()
            visit = {"id": number, "orderId": number, "status": "Booked", "startTime": starts_at}
            told["appointment.booked.event"] = visit
        for type, body in told.items():
            inbound = InboundRequest({"z-event-type": type}, {}, msgspec.json.encode(body))
            commands += parse_webhook(account, inbound, T0, ids.show(ids.RECEIPT, number + 1), 1 << 20).commands
    for number, by in enumerate(burst.send_by):
        deadline = _at(burst.longest_s * 2 if number % 2 else by)
        id = ids.show(ids.CANCELLATION, number + 1)
        asked = Cancellation(id, ACCOUNT, str(number), "a burst", T0, T0, requested_by="x", deadline=deadline)
        commands.append(RequestCancel(ACCOUNT, str(number), T0, asked))
    for start in range(0, len(commands), TOGETHER):
        await ledger.execute_all(commands[start : start + TOGETHER])


async def _send(burst: Burst, store: SqliteStore, ledger: Ledger) -> Found:
    meter, now, calls = meter_of(burst.limits), 0.0, list[tuple[float, int]]()
    while True:
        await _expire(store, ledger, now)
        free_at = meter.free_at(now)
        jobs = await store.jobs(ACCOUNT, _at(now), 1)
        if not jobs:
            break
        if free_at is None or free_at > now:
            now = free_at or now + burst.latency_s
            continue
        room = burst.limits.requests - meter.used(now)
        for _, job in await store.jobs(ACCOUNT, _at(now), room):
            if await _call(job, ledger, now, burst.latency_s):
                meter.start(now)
                calls.append((now, int(job.order)))
        now += burst.latency_s
        while meter.running:
            meter.end(now)
    return await _sum(burst, store, calls)


async def _expire(store: SqliteStore, ledger: Ledger, now: float) -> None:
    """What the timers do."""
    while overdue := await store.overdue(_at(now), TOGETHER):
        await ledger.execute_all([FireTimer(account, order, _at(now)) for account, order in overdue])


async def _call(job: Job, ledger: Ledger, now: float, latency_s: float) -> bool:
    """Claim the job, and have the provider answer; False if the fence held it back."""
    attempt = f"att-{job.order}"
    claim = ClaimJob(ACCOUNT, job.order, _at(now), attempt, job.kind, job.cancellation, 60.0)
    if await ledger.execute(claim) is None:
        return False
    done = CancelResult(CancelOutcome.SUCCEEDED, "canceled")
    answered = RecordResult(ACCOUNT, job.order, _at(now + latency_s), attempt, str(job.cancellation), done)
    await ledger.execute(answered)
    return True


async def _sum(burst: Burst, store: SqliteStore, calls: list[tuple[float, int]]) -> Found:
    in_time = sum(at < burst.send_by[order] for at, order in calls)
    starts, span = sorted(at for at, _ in calls), burst.limits.per_s
    most = max((sum(start <= at < start + span for at in starts) for start in set(starts)), default=0)
    states = [
        state
        for state in ("expired", "revoked")
        for _ in await store.cancellations(Window(100_000), CancellationFilter(state=state))
    ]
    left = await store.accounts_with_cancellations()
    return Found(in_time, len(calls) - in_time, len(states), len(calls), len(left), most)
