"""What a node does for the subjects that it owns: lanes, deliveries, and tasks of which there is one for all nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from app.config.store import ConfigStore
from app.core.results import Interrupted
from app.engine.ledger import Ledger
from app.runtime.uptime import uptime
from app.store import Store, StoreError
from app.store.node_protocol import ACCOUNT, SUBSCRIPTION, TASK
from app.workers.deliveries.manager import Deliveries
from app.workers.errands import ErrandFailedError, Errands
from app.workers.lane import Lane
from app.workers.lane_board import LaneBoard
from app.workers.lane_status import LaneStatus
from app.workers.lane_tools import Tools

UPKEEP = "deliveries"
"""The upkeep of all queues of deliveries."""
FORECAST, FORECAST_S = "forecast", 2.0
"""An errand, and how long a request waits for it: it is answered without a forecast then."""
ENABLE, ENABLE_S = "enable-subscription", 5.0
"""The same, to enable a subscription."""
DIED = "The process ended before the answer."

log = structlog.get_logger()

Spawn = Callable[[str, Coroutine[Any, Any, None]], None]


@dataclass(slots=True)
class Duties:
    """Starts and stops what belongs to subjects."""

    store: Store
    ledger: Ledger
    config: ConfigStore
    deliveries: Deliveries
    spawn: Spawn
    running: dict[str, asyncio.Task[None]]
    """The node's tasks, by name."""
    tasks: dict[str, Callable[[], Coroutine[Any, Any, None]]]
    """What one node does for all, by name."""
    changed: Callable[[], None]
    """Called when the owned subjects have changed."""
    tools: Tools
    board: LaneBoard
    """The lanes of other nodes."""
    lanes: dict[str, Lane] = field(default_factory=dict)
    """The lanes of owned accounts."""
    errands: Errands | None = None
    claims: bool = True
    """Whether new lanes may claim jobs."""

    def wanted(self) -> list[str]:
        """All subjects."""
        return [
            *(ACCOUNT + id for id in self.config.accounts),
            *(SUBSCRIPTION + id for id in self.config.subscriptions),
            *(TASK + name for name in self.tasks),
            TASK + UPKEEP,
        ]

    def update(self) -> None:
        """Resources have changed."""
        for id, lane in self.lanes.items():
            if id in self.config.accounts:
                lane.update(self.config.accounts[id])
        self.deliveries.follow(self.config.subscriptions, ())

    async def start(self, subjects: Collection[str]) -> None:
        """Begin to work on these."""
        subscriptions = [subject.removeprefix(SUBSCRIPTION) for subject in subjects if subject.startswith(SUBSCRIPTION)]
        if subscriptions and not self.store.single_writer:
            await self.deliveries.load()
        for subject in subjects:
            kind, _, id = subject.partition(":")
            if kind + ":" == ACCOUNT and id in self.config.accounts and id not in self.lanes:
                self.lanes[id] = lane = Lane(self.config.accounts[id], self.tools)
                if not self.claims:
                    lane.stop_claiming()
                self.spawn(f"lane {id}", lane.run())
            elif kind + ":" == TASK and id in self.tasks and id not in self.running:
                self.spawn(id, self.tasks[id]())
        self.deliveries.follow(self.config.subscriptions, subscriptions)
        self.changed()

    async def finish(self, subject: str) -> None:
        """Begin nothing more for this one, and wait for what is under way."""
        kind, _, id = subject.partition(":")
        if kind + ":" == ACCOUNT and id in self.lanes:
            await self.lanes[id].finish()
        elif kind + ":" == SUBSCRIPTION:
            await self.deliveries.finish(id)
        elif kind + ":" == TASK and id in self.running:
            task = self.running.pop(id)
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def drop(self, subjects: Collection[str]) -> None:
        """Stop at once: these are another node's, or gone. Calls under way end by themselves."""
        for subject in subjects:
            kind, _, id = subject.partition(":")
            if kind + ":" == ACCOUNT and id in self.lanes:
                sending = self.running.pop(f"lane {id}", None)  # None: the node is about to stop
                if sending is not None:
                    sending.cancel()
                lane = self.lanes.pop(id)
                lane.stop_claiming()
                lane.gate.close()
                lane.forget()
            elif kind + ":" == SUBSCRIPTION:
                self.deliveries.drop(id)
            elif kind + ":" == TASK and id in self.running:
                self.running.pop(id).cancel()
        if subjects:
            self.changed()

    def status(self, account: str) -> LaneStatus | None:
        """The status of an account's lane, whichever node has it; None if there is none."""
        lane = self.lanes.get(account)
        if lane is not None:
            return lane.status()
        configured = self.config.accounts.get(account)
        if configured is None or self.store.single_writer:
            return None
        return self.board.status(configured, self.ledger.pauses.of_account(account), datetime.now(UTC))

    def latency_s(self, account: str) -> float:
        """How long an account's cancels have recently taken; 0.0 if unknown."""
        lane = self.lanes.get(account)
        return self.board.latency_s(account) if lane is None else lane.latency_s

    async def expected(self, account: str, deadlines: Sequence[datetime]) -> Sequence[datetime] | None:
        """Expected send times of cancels with these deadlines, the most urgent first; None if they are not known."""
        lane = self.lanes.get(account)
        if lane is not None:
            return lane.expected(deadlines)
        if self.errands is None or self.errands.alone:
            return None
        try:
            asked = await self.errands.ask(ACCOUNT + account, FORECAST, _written(deadlines), FORECAST_S)
        except (ErrandFailedError, StoreError) as error:
            log.warning("forecast_unknown", account=account, error=str(error))
            return None
        return None if asked is None else _read(asked)

    async def enable(self, subscription: str) -> None:
        """Let a subscription's worker forget that it failed, on whichever node it is."""
        if self.deliveries.sends(subscription) or self.errands is None or self.errands.alone:
            self.deliveries.enable(subscription)
            return
        try:
            await self.errands.ask(SUBSCRIPTION + subscription, ENABLE, None, ENABLE_S)
        except ErrandFailedError as error:
            log.warning("subscription_not_enabled", subscription=subscription, error=str(error))

    async def _enable(self, subscription: str, _request: Any) -> None:
        self.deliveries.enable(subscription)

    def serve(self, errands: Errands) -> None:
        """Forecast for other nodes, and ask them by these errands."""
        self.errands, errands.kinds[FORECAST] = errands, self._forecast
        errands.kinds[ENABLE] = self._enable

    async def _forecast(self, account: str, deadlines: Any) -> Any:
        lane = self.lanes.get(account)
        expected = None if lane is None else lane.expected(_read(deadlines))
        return None if expected is None else _written(expected)

    async def recover(self, accounts: Collection[str] | None, delay: timedelta) -> Collection[str]:
        """Record calls that a former owner had under way as interrupted, before anything is sent.

        A call that was claimed a moment ago counts as one that ends after `delay`.
        """
        now, up = datetime.now(UTC), uptime()
        if up is not None:
            up = up._replace(micros=up.micros + delay // timedelta(microseconds=1))
        left = set()
        for attempt in await self.store.unfinished_attempts(accounts):
            left.add(attempt.account)
            await self.ledger.record_attempt(attempt.interrupted(now + delay, up, DIED))
        interrupted = await self.store.interrupted_calls(accounts)
        if interrupted:
            log.warning("interrupted", calls=len(interrupted))
            await self.ledger.execute_all([Interrupted(account, order, now) for account, order in interrupted])
        return left | {account for account, _ in interrupted}


def _written(moments: Sequence[datetime]) -> list[str]:
    return [moment.isoformat() for moment in moments]


def _read(moments: Sequence[str]) -> list[datetime]:
    return [datetime.fromisoformat(moment) for moment in moments]
