"""Watches endpoints: records a notice when one fails (only refused requests) or is silent (no authentic one for long).

Each is recorded once per episode. What is known of an episode stands in the store, so a restart repeats none, and the
id of a notice is made of its episode: a second node, or a process that ended in between, cannot record it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog
from msgspec import Struct

from app.config.resolve import Endpoint
from app.config.store import ConfigStore
from app.contract import Source
from app.core.event import internal_event
from app.core.event_types import ENDPOINT_FAILING, ENDPOINT_SILENT, EndpointFailing, EndpointSilent
from app.engine.ledger import Ledger
from app.engine.request import LedgerClosedError, LedgerFullError
from app.runtime import metrics
from app.runtime.time_slice import TimeSlice
from app.store import Store, StoreError
from app.store.traffic import EndpointState
from app.workers.traffic import NOT_THE_SENDER_S_FAULT, Traffic

CHECK_S = 10.0
FAILING_MIN = 5
"""Refused requests without an authentic one between them. One webhook that a provider repeats in vain, every few
minutes, makes these within the hour; a stray request does not."""
START_GRACE = timedelta(minutes=10)
"""After a start nothing is silent for so long: while the server was away, nothing could come, and providers repeat what
they could not send at intervals."""

log = structlog.get_logger()


def _utc() -> datetime:
    return datetime.now(UTC)


class EndpointWatch:
    """Records `endpoint.failing` and `endpoint.silent`."""

    def __init__(
        self,
        store: Store,
        ledger: Ledger,
        config: ConfigStore,
        traffic: Traffic,
        clock: Callable[[], datetime] = _utc,
    ) -> None:
        self._store, self._ledger, self._config, self._traffic = store, ledger, config, traffic
        self._clock, self._started_at = clock, clock()

    async def run(self) -> None:
        """Look until canceled."""
        while True:
            await asyncio.sleep(CHECK_S)
            try:
                await self.look()
            except (StoreError, LedgerFullError, LedgerClosedError) as error:
                log.warning("endpoints_not_watched", error=str(error))
            except Exception:
                log.exception("endpoint_watch_failed")

    async def look(self) -> None:
        """Record what is due. Raises `StoreError`, `LedgerFullError` or `LedgerClosedError`."""
        await self._traffic.flush()
        now = self._clock()
        states = {(state.account, state.endpoint): state for state in await self._store.endpoint_states()}
        time_slice, down = TimeSlice(), []
        for id, endpoint in list(self._config.endpoints.items()):
            await time_slice.pause()
            account = endpoint.spec.account
            state = states.get((account, id)) or EndpointState(account, id)
            if not endpoint.spec.enabled:
                continue
            is_failing = state.failing_at is not None
            if state.refused_run >= FAILING_MIN and state.refused_since and not is_failing:
                await self._record_failing(state, state.refused_since, now)
                is_failing = True
            is_silent = state.silent_at is not None
            if not is_silent and (since := self._silent_since(endpoint, state, now)):
                data = EndpointSilent(id, state.authentic_at)
                await self._record(ENDPOINT_SILENT, state, since, now, data)
                await self._store.mark_silent(account, id, now)
                is_silent = True
            down += [(id, "failing")] * is_failing + [(id, "silent")] * is_silent
        # Cleared first: those that get webhooks again, and those that were removed.
        metrics.ENDPOINTS_DOWN.clear()
        for id, cause in down:
            metrics.ENDPOINTS_DOWN.labels(id, cause).set(1)

    def _silent_since(self, endpoint: Endpoint, state: EndpointState, now: datetime) -> datetime | None:
        """Since when nothing authentic has come, if that is longer than the endpoint allows."""
        allowed = endpoint.spec.silence
        if allowed is None or now - self._started_at < min(allowed, START_GRACE):
            return None
        since = max(filter(None, (state.authentic_at, self._config.changed_at["endpoints", endpoint.spec.id])))
        return since if now - since >= allowed else None

    async def _record_failing(self, state: EndpointState, since: datetime, now: datetime) -> None:
        refusals = await self._store.endpoint_refusals(state.account, state.endpoint)
        telling = (refusal.detail for refusal in refusals if refusal.cause not in NOT_THE_SENDER_S_FAULT)
        cause = next(telling, "the latest refusals are not known")
        data = EndpointFailing(state.endpoint, cause, state.refused_run, since)
        await self._record(ENDPOINT_FAILING, state, since, now, data)
        await self._store.mark_failing(state.account, state.endpoint, now)

    async def _record(self, type: str, state: EndpointState, since: datetime, now: datetime, data: Struct) -> None:
        key = f"{state.endpoint}\0{since.isoformat()}"
        event = internal_event(state.account, "", type, key, now, Source.CLOCK, data)
        if await self._store.event(event.id) is None:
            await self._ledger.record_notice(event)
            log.warning(type.replace(".", "_"), endpoint=state.endpoint, since=since.isoformat())
