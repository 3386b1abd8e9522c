"""What a node learns from its own commits and from other nodes, and whom it wakes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from app.config.keys import Keys
from app.config.store import ConfigStore
from app.engine.committed import Committed
from app.engine.ledger import Ledger
from app.runtime.ids import Ids
from app.store import Store
from app.store.node_protocol import ACCOUNT, EVERYTHING, NODES, SUBSCRIPTION, NodeChanges
from app.workers.duties import Duties
from app.workers.errands import WAKE, Errands
from app.workers.log_feed import LogFeed
from app.workers.timers import Timers
from app.workers.waking import Waking

RESOURCES, LOG = "resources", "log"
"""Said to other nodes: resources have changed; there are new events."""


class News:
    """Wakes who has something to do, on this node and on others."""

    def __init__(
        self,
        store: Store,
        config: ConfigStore,
        keys: Keys,
        ledger: Ledger,
        duties: Duties,
        timers: Timers,
        log_feed: LogFeed,
        ids: Ids,
    ) -> None:
        self.look: Callable[[], None] = _do_nothing
        """Lets the ownership look at everything."""
        self.look_at_nodes: Callable[[], None] = _do_nothing
        """Lets it look which nodes are alive."""
        self._alone = store.single_writer
        self._config, self._keys, self._ledger, self._duties = config, keys, ledger, duties
        self._deliveries, self._timers, self._log_feed = duties.deliveries, timers, log_feed
        self.waking = Waking(store, self._heard)
        self.errands = Errands(store, ids, self.waking.note)
        duties.serve(self.errands)
        self._versions: Mapping[str, int] = {}
        self._position = 0

    def committed(self, committed: Committed) -> None:
        """The ledger has recorded something."""
        lanes = self._duties.lanes
        for account in committed.received & lanes.keys():
            lanes[account].polls.heard()
        for account in lanes if committed.pauses else committed.accounts & lanes.keys():
            lanes[account].wake()
        self._deliveries.wake(committed.subscriptions)
        if committed.erased:
            self._log_feed.forget()
        self._log_feed.wake()
        next_check_at = committed.next_check_at
        if committed.accounts or (next_check_at is not None and self._timers.sleeps_beyond(next_check_at)):
            self._timers.wake()
        if not self._alone:
            elsewhere = {ACCOUNT + account for account in committed.accounts - lanes.keys()}
            pauses = {RESOURCES} if committed.pauses else set()
            self.waking.note(elsewhere | {SUBSCRIPTION + id for id in committed.subscriptions} | pauses | {LOG})

    async def follow(self, changes: NodeChanges) -> None:
        """The store tells what other nodes have changed, or left to do for this one."""
        await self._follow_versions(changes.versions)
        await self._duties.board.look()
        lanes = self._duties.lanes
        for account in changes.accounts & lanes.keys():
            lanes[account].look_again()
        self._deliveries.wake(changes.subscriptions)
        self.errands.serve(changes.errands)
        if changes.timers:
            self._timers.wake()
        if changes.position != self._position:
            self._position = changes.position
            self._log_feed.wake()
            self._deliveries.wake_waiting()

    async def _follow_versions(self, versions: Mapping[str, int]) -> None:
        changed = {what for what, version in versions.items() if self._versions.get(what) != version}
        if "configuration" in changed:
            await self._config.refresh()
        if "keys" in changed:
            await self._keys.load()
        if "pauses" in changed:
            await self._ledger.load()
            for lane in self._duties.lanes.values():
                lane.wake()
        self._versions = versions

    def _heard(self, subjects: Collection[str]) -> None:
        errands = any(subject.startswith(WAKE) for subject in subjects)
        if errands or {EVERYTHING, RESOURCES}.intersection(subjects):
            self.look()
        if NODES in subjects:
            self.look_at_nodes()
        subscriptions, lanes = [], self._duties.lanes
        for subject in subjects:
            kind, _, id = subject.partition(":")
            if kind + ":" == ACCOUNT and id in lanes:
                lanes[id].wake()
                self._timers.wake()
            elif kind + ":" == SUBSCRIPTION:
                subscriptions.append(id)
        self._deliveries.wake(subscriptions)
        self._log_feed.wake()


def _do_nothing() -> None:
    return None
