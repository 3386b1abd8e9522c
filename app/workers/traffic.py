"""The traffic of endpoints: what came of their requests, why some were refused, and whether an endpoint fails.

Ingest only counts, in memory. Every few seconds the counts are added to those in the store, which all nodes share. What
a stranger can cause is bounded: for each endpoint a few refusals are remembered, and a flush writes a limited number.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

import structlog

from app.config.resolve import Endpoint
from app.config.store import ConfigStore
from app.kit.storable import storable
from app.runtime import metrics
from app.runtime.ids import Ids
from app.store import Store, StoreError
from app.store.traffic import REFUSALS_KEPT, EndpointCount, EndpointRefusal, EndpointRun

FLUSH_S = 5.0
FLUSHED_ENDPOINTS_MAX = 100
"""Endpoints that one transaction writes about: webhooks wait for it."""
FLUSHED_REFUSALS_MAX = 500
"""Refusals that a flush writes, of all endpoints together."""
HEADERS_MAX, HEADER_CHARS_MAX, DETAIL_CHARS_MAX = 40, 64, 300

AUTHENTIC = frozenset({"accepted", "duplicate", "ignored", "quarantined"})
REFUSED, RETIRED_SECRET = "refused", "retired_secret"
NOT_THE_SENDER_S_FAULT = frozenset({"disabled", "overloaded", "rate_limited"})
"""Causes of refusals that say nothing of whether the endpoint is set up well."""

log = structlog.get_logger()


@dataclass(slots=True)
class _Count:
    count: int = 0
    last_at: datetime | None = None


@dataclass(slots=True)
class _Pending:
    """What came to an endpoint since the last flush."""

    account: str
    endpoint: str
    counts: dict[tuple[str, str], _Count] = field(default_factory=dict)
    refusals: deque[EndpointRefusal] = field(default_factory=lambda: deque(maxlen=REFUSALS_KEPT))
    authentic_at: datetime | None = None
    refused: int = 0
    refused_since: datetime | None = None

    def count(self, status: str, cause: str, now: datetime, number: int = 1) -> None:
        count = self.counts.get((status, cause))
        if count is None:
            count = self.counts[status, cause] = _Count()
        count.count += number
        count.last_at = now


class Traffic:
    """Counts what comes to endpoints, and adds it to the store."""

    def __init__(self, store: Store, config: ConfigStore, ids: Ids) -> None:
        self._store, self._config, self._ids = store, config, ids
        self._pending: dict[str, _Pending] = {}
        self._flushing = asyncio.Lock()

    def received(self, endpoint: Endpoint, status: str, cause: str, now: datetime) -> None:
        """An authentic request came to `status`."""
        pending = self._of(endpoint)
        pending.count(status, cause, now)
        pending.authentic_at = now
        if pending.refused:
            pending.refused, pending.refused_since = 0, None

    def refused(
        self, endpoint: Endpoint, cause: str, detail: str, headers: Iterable[str], address: str, now: datetime
    ) -> None:
        """A request was refused."""
        pending = self._of(endpoint)
        pending.count(REFUSED, cause, now)
        if cause not in NOT_THE_SENDER_S_FAULT:
            pending.refused += 1
            pending.refused_since = pending.refused_since or now
        # Cleaned before it is cut: a part of a secret is not recognized. Names have no line ends.
        lines = endpoint.redactor.clean("\n".join(islice(headers, HEADERS_MAX)))
        names = tuple(name[:HEADER_CHARS_MAX] for name in storable(lines).splitlines())
        detail = storable(endpoint.redactor.clean(detail)[:DETAIL_CHARS_MAX])
        refusal = EndpointRefusal(
            self._ids.next(), pending.account, pending.endpoint, now, cause, detail, names, address
        )
        pending.refusals.append(refusal)

    def used_retired(self, endpoint: Endpoint, until: datetime, now: datetime) -> None:
        """A former secret proved a request."""
        metrics.RETIRED.labels(endpoint.spec.id).inc()
        self._of(endpoint).count(RETIRED_SECRET, until.isoformat(), now)

    async def run(self) -> None:
        """Flush until canceled; what came last is flushed at the end."""
        try:
            while True:
                await asyncio.sleep(FLUSH_S)
                await self.flush()
        finally:
            await asyncio.shield(self.flush())

    async def flush(self) -> None:
        """Add what came since the last flush to the store. Never raises: what cannot be saved waits for the next."""
        try:
            await self._save()
        except StoreError as error:
            log.warning("traffic_not_saved", error=str(error))
        except Exception:
            log.exception("traffic_failed")

    async def _save(self) -> None:
        async with self._flushing:
            pending, self._pending = self._pending, {}
            rows = [row for id, row in pending.items() if id in self._config.endpoints]
            budget = FLUSHED_REFUSALS_MAX
            while rows:
                part, rows = rows[:FLUSHED_ENDPOINTS_MAX], rows[FLUSHED_ENDPOINTS_MAX:]
                refusals = [refusal for row in part for refusal in row.refusals]
                refusals = sorted(refusals, key=lambda refusal: refusal.id)[-budget:] if budget else []
                budget -= len(refusals)
                try:
                    await self._store.add_traffic(_counts(part), _runs(part), refusals)
                except StoreError:
                    for row in (*part, *rows):
                        self._restore(row)
                    raise

    def _of(self, endpoint: Endpoint) -> _Pending:
        pending = self._pending.get(endpoint.spec.id)
        if pending is None or pending.account != endpoint.spec.account:
            pending = self._pending[endpoint.spec.id] = _Pending(endpoint.spec.account, endpoint.spec.id)
        return pending

    def _restore(self, former: _Pending) -> None:
        """Put back what could not be saved, under what came since."""
        newer = self._pending.get(former.endpoint)
        if newer is None or newer.account != former.account:
            self._pending[former.endpoint] = former
            return
        for (status, cause), count in newer.counts.items():
            if count.last_at is not None:
                former.count(status, cause, count.last_at, count.count)
        former.refusals.extend(newer.refusals)
        if newer.authentic_at is not None:
            former.authentic_at, former.refused, former.refused_since = newer.authentic_at, 0, None
        former.refused += newer.refused
        former.refused_since = former.refused_since or newer.refused_since
        self._pending[former.endpoint] = former


def _counts(rows: Iterable[_Pending]) -> list[EndpointCount]:
    return [
        EndpointCount(row.account, row.endpoint, status, cause, count.count, count.last_at)
        for row in rows
        for (status, cause), count in row.counts.items()
        if count.last_at is not None
    ]


def _runs(rows: Iterable[_Pending]) -> list[EndpointRun]:
    return [
        EndpointRun(row.account, row.endpoint, row.authentic_at, row.refused, row.refused_since)
        for row in rows
        if row.authentic_at is not None or row.refused
    ]
