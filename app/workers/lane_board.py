"""What this node knows of the lanes that other nodes have: what their owners stored, read every few seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime

from msgspec.structs import replace

from app.config.resolve import Account
from app.core.lane.rate_control import RateControl
from app.core.lane.state import LaneState, resume
from app.core.pauses import Pause
from app.store import Store
from app.workers.lane_status import LaneStatus, status_of

LOOK_S = 5.0
_UNKNOWN = LaneState()


class LaneBoard:
    """The stored states of all lanes, about `LOOK_S` old. With one node nothing is read."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._states: Mapping[str, LaneState] = {}
        self._sending: Mapping[str, int] = {}
        self._look_at = 0.0

    async def look(self) -> None:
        """Read the states, if that is due. Raises `StoreError`."""
        now = time.monotonic()
        if self._store.single_writer or now < self._look_at:
            return
        self._states, self._sending = await self._store.lanes(), await self._store.orders_under_way()
        self._look_at = now + LOOK_S

    def latency_s(self, account: str) -> float:
        """How long a cancel takes, as the lane's owner stored it; 0.0 if unknown."""
        return self._states.get(account, _UNKNOWN).latency_s

    def status(self, account: Account, pause: Pause | None, clock: datetime) -> LaneStatus:
        """The status of a lane, without what only its owner knows: how much of the limit is used.

        `running` counts orders, of which one call may be about several.
        """
        id, now, rate = account.spec.id, time.monotonic(), RateControl(account.limits)
        resume(rate, self._states.get(id, _UNKNOWN), now, clock)
        status = status_of(rate, pause, self._sending.get(id, 0), now, clock)
        # The owner alone knows when it tries again.
        return replace(status, until=None) if status.state == "breaker_open" else status
