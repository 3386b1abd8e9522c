"""Gauges that are measured when Prometheus asks for them."""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from app.core.cancellation import FINAL, State
from app.core.policy.model import Outcome
from app.engine.backup import last_backup
from app.node import Node
from app.runtime import metrics
from app.store import StoreError

COUNT_MAX = 1000
"""Rows are counted up to this number."""
_LIVE = [state for state in State if state not in FINAL]
_OPEN = ("idle", "sending", "rate_limited")

log = structlog.get_logger()


async def measure(node: Node, now: datetime) -> None:
    """Set all gauges. Those that need the database keep their values while it cannot be read."""
    metrics.PAUSED.clear()
    for scope in node.ledger.pauses:
        metrics.PAUSED.labels(scope).set(1)
    # Cleared first: an account that was removed has no lane.
    metrics.LANES.clear()
    for account in node.config.accounts:
        # At zero from the start: Prometheus sees an increase only of what was there before.
        metrics.CANCELLATIONS.labels(account, State.EXPIRED)
        lane = node.lane_status(account)
        metrics.LANES.labels(account).set(lane is not None and lane.state in _OPEN)
    for policy in node.config.policies:
        metrics.DECISIONS.labels(policy, Outcome.FAILED)
    # Another process takes backups, also while the database cannot be read.
    backup = await asyncio.to_thread(last_backup, node.settings.database_path)
    metrics.BACKUP.set(0 if backup is None else backup.at.timestamp())
    try:
        await _measure_stored(node, now)
    except StoreError as error:
        log.warning("metrics_not_measured", error=str(error))


async def _measure_stored(node: Node, now: datetime) -> None:
    store = node.store
    backlogs = await store.backlogs(list(node.config.accounts), now, now, 1)
    deadline, review = await store.next_deadline(), await store.counts_for_review(COUNT_MAX)
    live = await store.cancellations_by_state(_LIVE, (), now, None, COUNT_MAX)
    metrics.OVERDUE.clear()
    for account, backlog in backlogs.items():
        metrics.OVERDUE.labels(account).set(_since(backlog.oldest_due_at, now))
    metrics.TIMERS_OVERDUE.set(_since(deadline, now))
    for state in _LIVE:
        metrics.LIVE.labels(state).set(live.get(state, 0))
    metrics.QUARANTINED.set(review["quarantined"])
    metrics.APPROVALS.set(review["approvals"])


def _since(due_at: datetime | None, now: datetime) -> float:
    return 0.0 if due_at is None else max(0.0, (now - due_at).total_seconds())
