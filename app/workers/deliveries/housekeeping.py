"""Deletes deliveries that nobody needs any more, and makes others due, in small slices."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta

from app.store import Store

SLICE = 500
"""Deliveries that one transaction looks at: webhooks wait for no more than that."""
PAUSE_S = 0.05


async def purge_removed(store: Store) -> bool:
    """Delete the deliveries of subscriptions that were removed; returns whether there were any."""
    states = await store.subscription_states()
    removed = {id: state.purge_until for id, state in states.items() if state.purge_until}
    for subscription, until in removed.items():
        more = True
        while more:
            more = await store.purge_deliveries(subscription, until, SLICE)
            await asyncio.sleep(PAUSE_S if more else 0)
    return bool(removed)


async def hasten(store: Store, subscription: str, now: datetime) -> None:
    """Make due now what waits for another try: a million of them, after a receiver that failed at random."""
    after = await store.hasten_deliveries(subscription, now, None, SLICE)
    while after is not None:
        after = await store.hasten_deliveries(subscription, now, after, SLICE)


async def delete_old(store: Store, subscriptions: Collection[str], now: datetime, kept: timedelta) -> None:
    """Delete what was delivered and is older than `kept`; what is pending or failed stays."""
    for subscription in subscriptions:
        after: int | None = 0
        while after is not None:
            after = await store.delete_delivered(subscription, after, now - kept, SLICE)
            await asyncio.sleep(PAUSE_S if after is not None else 0)
