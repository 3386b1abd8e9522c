"""Policies that fail on every order, as both stores find them; each store adds the queries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence

from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.core.policy.decide import FAILING_DECISIONS
from app.core.policy.model import Outcome
from app.store.records import Window

LATEST_EVENTS, LATEST_ORDERS = 500, 20
"""How many events are looked through for orders on which a policy did not fail, and how many orders at most."""


class PolicyFailures(ABC):
    """The part of `Reader` that finds the policies that fail."""

    async def failing_policies(self, policies: Sequence[str]) -> dict[str, Event]:
        """See `Reader.failing_policies`."""
        repeatedly = await self._repeatedly_failed(policies)
        failed = {policy: await self.decisions(policy, Window(FAILING_DECISIONS)) for policy in repeatedly}
        return {policy: latest[0][1] for policy, latest in failed.items() if not await self._worked(policy, latest)}

    async def _worked(self, policy: str, failed: Sequence[tuple[int, Event]]) -> bool:
        """Whether a policy was evaluated without failing on an order with a webhook since its first such failure.

        Nothing is stored then if it waits or does not match; but where it was triggered, all its decisions are.
        """
        (since, _), latest = failed[-1], failed[0][1]
        if latest.data.get("trigger") is not None:
            return False
        for aggregate in await self._orders_with_webhooks(latest.account, since):
            state = aggregate.policy_state(policy)
            if state is None or state.outcome is not Outcome.FAILED:
                return True
        return False

    @abstractmethod
    async def decisions(self, policy: str, window: Window) -> list[tuple[int, Event]]:
        """See `Reader.decisions`."""

    @abstractmethod
    async def _repeatedly_failed(self, policies: Sequence[str]) -> list[str]:
        """Those with `FAILURES_MIN` decisions or more, of which the last `FAILING_DECISIONS` are failures."""

    @abstractmethod
    async def _orders_with_webhooks(self, account: str, since: int) -> Iterable[OrderAggregate]:
        """Open orders with a webhook after a position: up to `LATEST_ORDERS`, from the last `LATEST_EVENTS` events."""
