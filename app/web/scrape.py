"""`/metrics`, and the gauges that are measured when Prometheus asks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from aiohttp import web
from prometheus_client import generate_latest

from app import __version__
from app.core.cancellation import FINAL, State
from app.core.policy.model import Outcome
from app.engine.backup import last_backup
from app.node import Node
from app.runtime import disk, metrics
from app.runtime.time_slice import TimeSlice
from app.store import StoreError

COUNT_MAX = 1000
"""Rows are counted up to this number."""
CLOSING_DUE, CLOSING_WITHIN = timedelta(minutes=1), timedelta(minutes=15)
"""A cancel that has been due for so long, and has only so long left, may come too late."""
CLOSING_MAX = 10_000
"""Cancels that are looked at for that, of all accounts together."""
KEYS_MAX, KEYS_WITHIN = 100, timedelta(days=30)
_LIVE = [state for state in State if state not in FINAL]
_OPEN = ("idle", "sending", "rate_limited")

log = structlog.get_logger()


def _utc() -> datetime:
    return datetime.now(UTC)


class Scrapes:
    """Makes the page that Prometheus asks for."""

    def __init__(self, node: Node, clock: Callable[[], datetime] = _utc) -> None:
        self._node, self.clock = node, clock
        self._turn = asyncio.Lock()

    async def page(self) -> bytes:
        """All metrics in the text format. With many accounts that is work for a thread, and for slices of time."""
        # In turn: a gauge is empty for a moment while it is measured.
        async with self._turn:
            await measure(self._node, self.clock())
            return await asyncio.to_thread(generate_latest)


SCRAPES: web.AppKey[Scrapes] = web.AppKey("scrapes", Scrapes)


async def measure(node: Node, now: datetime) -> None:
    """Set all gauges. Those that need the database keep their values while it cannot be read."""
    metrics.BUILD.labels(__version__).set(1)
    metrics.WORKERS_ENDED.set(len(node.ended_workers))
    metrics.PAUSED.clear()
    for pause in node.ledger.pauses.values():
        metrics.PAUSED.labels(pause.scope, pause.code).set(1)
    metrics.KEY_EXPIRY.clear()
    for key in node.keys.expiring(now + KEYS_WITHIN)[:KEYS_MAX]:
        if key.expires_at is not None:
            metrics.KEY_EXPIRY.labels(key.id).set(key.expires_at.timestamp())
    await _measure_lanes(node)
    # At zero from the start: Prometheus sees an increase only of what was there before.
    for policy in node.config.policies:
        metrics.DECISIONS.labels(policy, Outcome.FAILED)
    time_slice = TimeSlice()
    for endpoint in list(node.config.endpoints):
        metrics.WEBHOOKS.labels(endpoint, "quarantined")
        await time_slice.pause()
    await asyncio.to_thread(_measure_files, node)
    try:
        await _measure_stored(node, now)
    except StoreError as error:
        log.warning("metrics_not_measured", error=str(error))


def _measure_files(node: Node) -> None:
    # Another process takes backups, also while the database cannot be read.
    backup = last_backup(node.settings.database_path)
    metrics.BACKUP.set(0 if backup is None else backup.at.timestamp())
    try:
        room = disk.room(node.database_files)
    except OSError as error:
        log.warning("disk_not_measured", error=str(error))
        return
    metrics.DISK_FREE.set(room.free)
    metrics.DISK_SIZE.set(room.size)
    metrics.DATABASE_SIZE.set(room.used)


async def _measure_lanes(node: Node) -> None:
    # Cleared first: an account that was removed has no lane.
    metrics.LANES.clear()
    metrics.LANES_CLOSED.clear()
    time_slice = TimeSlice()
    for account in list(node.config.accounts):
        metrics.CANCELLATIONS.labels(account, State.EXPIRED)
        lane = node.lane_status(account)
        metrics.LANES.labels(account).set(lane is not None and lane.state in _OPEN)
        if lane is not None and lane.state not in _OPEN:
            metrics.LANES_CLOSED.labels(account, lane.state).set(1)
        await time_slice.pause()


async def _measure_stored(node: Node, now: datetime) -> None:
    store = node.store
    backlogs = await store.backlogs(list(node.config.accounts), now, now, 1)
    deadline, review = await store.next_deadline(), await store.counts_for_review(COUNT_MAX)
    live = await store.cancellations_by_state(_LIVE, (), now, None, COUNT_MAX)
    closing = await store.closing_cancels(now - CLOSING_DUE, now + CLOSING_WITHIN, CLOSING_MAX)
    waits, time_slice = await store.waits(COUNT_MAX), TimeSlice()
    metrics.OVERDUE.clear()
    for account, backlog in backlogs.items():
        metrics.OVERDUE.labels(account).set(_since(backlog.oldest_due_at, now))
        await time_slice.pause()
    metrics.CLOSING.clear()
    for account, cancels in closing.items():
        metrics.CLOSING.labels(account).set(cancels)
    metrics.TIMERS_OVERDUE.set(_since(deadline, now))
    for state in _LIVE:
        metrics.LIVE.labels(state).set(live.get(state, 0))
    metrics.QUARANTINED.set(review["quarantined"])
    metrics.APPROVALS.set(review["approvals"])
    metrics.INDETERMINATE_OLDEST.set(_since(waits.indeterminate_since, now))
    metrics.APPROVALS_OLDEST.set(_since(waits.approval_since, now))
    metrics.APPROVALS_EXPIRY.set(waits.approval_expires_at.timestamp() if waits.approval_expires_at else 0)


def _since(at: datetime | None, now: datetime) -> float:
    return 0.0 if at is None else max(0.0, (now - at).total_seconds())
