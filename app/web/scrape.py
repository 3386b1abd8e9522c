"""`/metrics`, and the gauges that are measured when Prometheus asks for them."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
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
from app.web.worker_metrics import WorkerMetrics

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
        self.workers: WorkerMetrics | None = None
        """Those that serve behind the same port, if there are."""
        self._turn = asyncio.Lock()

    async def page(self) -> bytes:
        """The metrics of all workers behind this port."""
        own = await self.own_page()
        return own if self.workers is None else await self.workers.page(own)

    async def own_page(self) -> bytes:
        """The metrics of this process. With many accounts that is work for a thread, and for slices of time."""
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
    _measure_node(node)
    await asyncio.to_thread(_measure_files, node)
    try:
        await _measure_stored(node, now)
    except StoreError as error:
        log.warning("metrics_not_measured", error=str(error))


def _measure_files(node: Node) -> None:
    if node.settings.is_shared:
        # Its disk is another machine's, and so are its backups: no alert compares with NaN.
        for gauge in (metrics.BACKUP, metrics.DISK_FREE, metrics.DISK_SIZE, metrics.DATABASE_SIZE):
            gauge.set(math.nan)
        return
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


def _measure_node(node: Node) -> None:
    lease = node.store.lease
    if node.settings.is_shared:
        metrics.NODE_LEASE.set(0.0 if lease is None else max(0.0, lease.left_s))
        metrics.LOG_DELAY.set(node.store.log_delay_s)
    else:
        # The lease of the only node does not end: no alert compares with NaN.
        metrics.NODE_LEASE.set(math.nan)
    for result in ("committed", "not_committed"):
        metrics.COMMITS_UNKNOWN.labels(result)
    kinds = Counter(subject.partition(":")[0] for subject in node.ownership.owned)
    for kind in ("account", "subscription", "task"):
        metrics.NODE_OWNED.labels(kind).set(kinds[kind])


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
