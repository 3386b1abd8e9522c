"""One running Rescind: the store, the ledger, and the workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from app.config.approval_links import ApprovalLinks, make_key
from app.config.keys import Keys
from app.config.log_key import CHECKPOINT_KEY, checkpoint_key
from app.config.resolve import Body
from app.config.rotation import OVERLAP_H, rotated
from app.config.secrets import open_vault
from app.config.sessions import Sessions
from app.config.settings import Settings
from app.config.store import ConfigStore, Difference, Respond
from app.config.subscriptions import SubscriptionSpec
from app.core.pauses import ACCOUNT_SCOPE, BY_ITSELF, Pause
from app.engine.ledger import Ledger
from app.runtime import metrics, tracing
from app.runtime.garbage import Collector
from app.runtime.http_client import open_session
from app.runtime.ids import Ids
from app.runtime.loop_lag import measure_lag
from app.runtime.mail import read_smtp_url
from app.runtime.outgoing import OutgoingHttp
from app.runtime.redaction import Redactor
from app.runtime.task_set import TaskSet
from app.store import Store, StoreError
from app.store.migrations import ignore_status
from app.store.node_protocol import TASK
from app.store.opening import open_store
from app.store.sqlite.index.file import index_path
from app.workers.backtests import Backtests
from app.workers.confirmations import Confirmations
from app.workers.deliveries.manager import Deliveries
from app.workers.deliveries.notice_requests import SOURCE
from app.workers.deliveries.notice_senders import Senders
from app.workers.deliveries.send import Sender
from app.workers.duties import UPKEEP, Duties
from app.workers.endpoint_watch import EndpointWatch
from app.workers.indexer import Indexer
from app.workers.key_ring import KeyRing
from app.workers.lane_board import LaneBoard
from app.workers.lane_status import LaneStatus
from app.workers.lane_tools import Tools
from app.workers.log_feed import LogFeed
from app.workers.log_sealer import LogSealer
from app.workers.news import RESOURCES, News
from app.workers.ownership import Ownership
from app.workers.registrar import Registrar
from app.workers.retention import Retention
from app.workers.row_compression import RowCompression
from app.workers.store_upkeep import StoreUpkeep
from app.workers.timers import Timers
from app.workers.trace_upkeep import TraceUpkeep
from app.workers.traffic import Traffic

DRAIN_S = 10.0
DELIVERIES_DRAIN_S = 3.0
"""A delivery under way may be ended: it is sent again, with the same id. A receiver that hangs delays no stop."""
_WRITERS = ("ledger", "delivery results", "lease", "listener")
"""Tasks that go on until everything is written, and other nodes have been told."""


class Node:
    """Everything of one process. Made by `start`, ended by `stop`."""

    approval_links: ApprovalLinks
    sessions: Sessions
    log_sealer: LogSealer

    def __init__(
        self,
        settings: Settings,
        store: Store,
        session: aiohttp.ClientSession,
        outgoing: OutgoingHttp,
        redactor: Redactor,
    ) -> None:
        self.settings, self.store = settings, store
        self.redactor = redactor
        self.ids = Ids()
        self.vault = open_vault(settings.secret_key.get_secret_value(), Path(f"{settings.database_path}.key"))
        self.config = ConfigStore(store, self.vault, redactor, allow=settings.allow_networks)
        self.keys = Keys(store, settings.bootstrap_key.get_secret_value())
        self.stopping = False
        """Whether it is about to stop: it serves requests, and makes no new call to a provider for a job."""
        self.ledger = Ledger(
            store,
            self.config.view,
            self.ids,
            accounts_of=self.config.accounts_of,
            latency_s=self.latency_s,
            router=lambda: self.config.router,
            on_commit=lambda committed: self.news.committed(committed),  # noqa: PLW0108 - the news are made later
            configuration_version=lambda: self.config.loaded_version,
            reload=self.config.load,
        )
        self.traffic = Traffic(store, self.config, self.ids)
        self.watch = EndpointWatch(store, self.ledger, self.config, self.traffic)
        self.log_feed = LogFeed(
            store,
            tails_max=settings.streams_max,
            per_key_max=settings.streams_per_key,
            is_busy=lambda: self.ledger.unfinished > 0,
        )
        self.indexer = Indexer(store, is_busy=lambda: self.ledger.unfinished > 0)
        self.backtests = Backtests(store, settings.database, self.ids)
        self.deliveries = Deliveries(
            store,
            self.ledger,
            self.ids,
            self._make_sender,
            expire=self._expire_subscription,
            kept=timedelta(days=settings.deliveries_kept_days),
            keeps=lambda: self.ownership.owns(TASK + UPKEEP),
        )
        self.retention = self._make_retention()
        self._session, self._outgoing = session, outgoing
        self.confirmations = Confirmations(outgoing)
        self.key_ring = KeyRing(lambda: OutgoingHttp(settings.allow_networks))
        self._tasks = TaskSet()
        self.duties = self._make_duties(Tools(store, self.ledger, session, redactor, self.ids, self.vault))
        self.lanes = self.duties.lanes
        """The lanes of the accounts that are this node's."""
        self.ownership = Ownership(store, self.ids, self.duties)
        self.timers = Timers(store, self.ledger, self.ownership.now, is_busy=self._is_busy)
        self.news = News(store, self.config, self.keys, self.ledger, self.duties, self.timers, self.log_feed, self.ids)
        self.news.look, self.ownership.follow = self.ownership.wake, self.news.follow
        self.news.look_at_nodes = self.ownership.look_at_nodes
        self.registrar = Registrar(self.config, self.lanes, settings.public_url, self._keep_secret, self.news.errands)

    def _make_retention(self) -> Retention:
        days, history = self.settings.retention_days, self.settings.history_days
        return Retention(
            self.store,
            self.ledger,
            self.ids,
            period=timedelta(days=days) if days else None,
            history=timedelta(days=history) if history else None,
        )

    def _make_duties(self, tools: Tools) -> Duties:
        """What this node does for the subjects that it owns."""
        tasks = {
            "retention": self.retention.run,
            "endpoints": self.watch.run,
            "store upkeep": StoreUpkeep(self.store).run,
            **({"traces": TraceUpkeep(self.store).run} if tracing.on else {}),
        }
        return Duties(
            self.store,
            self.ledger,
            self.config,
            self.deliveries,
            self._tasks.spawn,
            self._tasks,
            tasks,
            self._woken,
            tools,
            LaneBoard(self.store),
        )

    @classmethod
    async def start(
        cls, settings: Settings, redactor: Redactor | None = None, *, tell: Callable[[str], None] = ignore_status
    ) -> Node:
        """Open the store, recover what the previous process left, and start the workers. `tell` hears what it does."""
        store = await open_store(settings.database, tell, migrates=settings.migrate)
        tell("Loading the configuration")
        session, outgoing = open_session(settings.allow_networks), OutgoingHttp(settings.allow_networks)
        try:
            node = cls(settings, store, session, outgoing, redactor or Redactor())
            await node.ownership.join()
            await node.config.load()
            await node.keys.load()
            await node.ledger.load()
            node.approval_links = ApprovalLinks(await node._kept_key("approval_links"), settings.public_url)
            lifetime = timedelta(hours=settings.session_h)
            session_key = await node._kept_key("console_sessions")
            node.sessions = Sessions(store, session_key, lifetime, on_end=node.log_feed.announce)
            node.log_sealer = LogSealer(store, checkpoint_key(await node._kept_key(CHECKPOINT_KEY)))
            node.duties.tasks["log sealer"] = node.log_sealer.run
            await node.deliveries.load()
            # An order's messages are sent in the order of their ids, also those that wait from before.
            node.ids.follow(await store.last_message())
        except BaseException:
            await outgoing.close()
            await session.close()
            await store.close()
            raise
        metrics.QUEUE.set_function(lambda: node.ledger.waiting)
        metrics.HOT_ORDERS.set_function(lambda: len(node.ledger.hot))
        spawn = node._tasks.spawn
        spawn("loop lag", measure_lag())
        spawn("ledger", node.ledger.run())
        spawn("lease", node.ownership.beat())
        spawn("key ring", node.key_ring.run(node.config.endpoints.values()))
        spawn("delivery results", node.deliveries.record())
        tell("Recording the calls that the last process left")
        try:
            await node.ownership.settle(first=True)
            await node.duties.board.look()
        except BaseException:
            await node.stop()
            raise
        spawn("ownership", node.ownership.run())
        spawn("speaker", node.news.waking.speak())
        spawn("listener", node.news.waking.listen())
        spawn("timers", node.timers.run())
        node.config.on_load = node._configured
        spawn("deliveries", node.deliveries.run())
        spawn("registrar", node.registrar.run())
        spawn("keys", node.keys.run())
        spawn("traffic", node.traffic.run())
        spawn("log feed", node.log_feed.run())
        spawn("search index", node.indexer.run())
        spawn("row compression", RowCompression(store, is_busy=lambda: node.ledger.unfinished > 0).run())
        return node

    def collect_garbage(self, collector: Collector) -> None:
        """Let the process's garbage be collected while the node runs."""
        self._tasks.spawn("garbage", collector.run())

    async def _kept_key(self, name: str) -> bytes:
        """A key that is made once, and is the same on all nodes."""
        return self.vault.open(await self.store.keep_key(name, self.vault.seal(make_key())))

    def stop_claiming(self) -> None:
        """Begin no further job; calls under way go on. What is due waits for the next process."""
        self.stopping, self.duties.claims = True, False
        for lane in self.lanes.values():
            lane.stop_claiming()

    async def stop(self) -> None:
        """Finish calls that are out and requests that wait, then close."""
        self.duties.claims = False
        await self.backtests.stop()
        await self.confirmations.stop()
        await self.retention.stop()
        await self._tasks.end([name for name in self._tasks if name not in _WRITERS])
        await self.ownership.stop()
        lanes = (lane.drain(DRAIN_S) for lane in self.lanes.values())
        await asyncio.gather(*lanes, self.deliveries.drain(DELIVERIES_DRAIN_S), self.registrar.drain(DRAIN_S))
        await self.news.errands.drain()
        if "delivery results" in self._tasks:
            await self._tasks["delivery results"]  # it records notices
        self.ledger.close()
        await self._tasks["ledger"]
        await self._outgoing.close()
        await self._session.close()
        with suppress(StoreError):
            await self.keys.note_use()
        await self._tasks.end(["lease"])
        with suppress(StoreError):
            await self.ownership.leave()
        await self._tasks.end(["listener"])
        await self.store.close()

    async def apply(
        self,
        resources: Mapping[str, Any],
        *,
        by: str,
        dry_run: bool = False,
        prune: bool = False,
        confirm: bool = False,
    ) -> list[Difference]:
        """Apply resources: save what differs, and act on it.

        Raises `InvalidResourceError`; `UnprovenPolicyError` without `confirm`.
        """
        before = {id: account.config for id, account in self.config.accounts.items()}
        now = datetime.now(UTC)
        options = {"dry_run": dry_run, "prune": prune, "confirm": confirm}
        plan = await self.config.apply(resources, by=by, now=now, **options)
        if not dry_run:
            await self.follow_config()
            after = self.config.accounts.items()
            await self._lift_pauses({id for id, account in after if before.get(id) != account.config})
        return plan

    async def create(self, kind: str, body: Body, *, by: str, respond: Respond | None = None) -> None:
        """Put a new resource in force. Raises `ResourceExistsError`, `InvalidResourceError`."""
        await self.config.create(kind, body, by=by, now=datetime.now(UTC), respond=respond)
        await self.follow_config()

    async def edit(
        self, kind: str, id: str, edit: Callable[[Body], Body], *, by: str, respond: Respond | None = None
    ) -> None:
        """Change a resource. Raises KeyError if there is none, `InvalidResourceError`, and what `edit` raises."""
        await self.config.edit(kind, id, edit, by=by, now=datetime.now(UTC), respond=respond)
        await self.follow_config()

    async def _keep_secret(self, endpoint: str, secret: str) -> None:
        """Make a secret that the provider made for an endpoint's registration the endpoint's own."""
        now = datetime.now(UTC)

        def edit(body: Body) -> Body:
            return rotated(self.config.endpoints[endpoint], body, secret, OVERLAP_H, now)

        await self.config.edit("endpoints", endpoint, edit, by=BY_ITSELF, now=now)
        with suppress(StoreError):  # it is stored; the ownership settles again by itself
            await self.follow_config()

    async def follow_config(self) -> None:
        """Work by the resources as they are now: every account has a lane, at one of the nodes."""
        self._configured()
        await self.ownership.settle()
        self._woken()
        self.news.waking.note([RESOURCES])

    def _configured(self) -> None:
        self.duties.update()
        self.key_ring.follow(self.config.endpoints.values())
        self.ownership.wake()

    def _woken(self) -> None:
        self.registrar.wake()
        self.timers.wake()

    def drain(self) -> None:
        """Give all work up to other nodes; requests are still served."""
        if self.store.single_writer:
            self.stop_claiming()
        self.ownership.drain()

    def _make_sender(self, spec: SubscriptionSpec) -> Sender:
        smtp_url = self.settings.smtp_url.get_secret_value()
        return Senders(
            self._outgoing,
            self.redactor,
            self.approval_links,
            read_smtp_url(smtp_url) if smtp_url else None,
            self.settings.mail_from,
            self.settings.public_url or SOURCE,
        ).make(spec)

    async def _expire_subscription(self, id: str) -> None:
        with suppress(KeyError):
            await self.config.remove("subscriptions", id, by=BY_ITSELF, now=datetime.now(UTC))
        await self.follow_config()

    def _is_busy(self, account: str, order: int) -> bool:
        lane = self.lanes.get(account)
        return lane is not None and lane.is_busy(order)

    def latency_s(self, account: str) -> float:
        """How long an account's calls have recently taken, in seconds; 0.0 if unknown."""
        return self.duties.latency_s(account)

    def lane_status(self, account: str) -> LaneStatus | None:
        """The status of an account's lane."""
        return self.duties.status(account)

    @property
    def database_files(self) -> list[Path]:
        """The database, and its search index."""
        # A link may lead to another disk; the other files are beside what it names.
        path = self.settings.database_path.resolve()
        return [path, index_path(path)]

    @property
    def ended_workers(self) -> list[str]:
        """The workers that ended, though none may while the node runs."""
        return self._tasks.ended

    @property
    def healthy(self) -> bool:
        """Whether all workers run."""
        return not self.ended_workers

    async def pause(self, scope: str, reason: str, by: str) -> None:
        """Stop sending for a scope. When this returns, no further call is granted."""
        await self.ledger.pause(Pause(scope, reason, datetime.now(UTC), by))

    async def resume(self, scope: str, by: str) -> bool:
        """Send again for a scope; False if it was not paused."""
        if scope not in self.ledger.pauses:
            return False
        await self.ledger.resume(Pause(scope, "resumed", datetime.now(UTC), by))
        return True

    async def _lift_pauses(self, accounts: set[str]) -> None:
        """Lift the automatic pauses of accounts that have new credentials."""
        if accounts:
            # Requests are recorded in turn: after this one, everything decided with the old credentials is on record.
            await self.ledger.execute_all([])
        for account in accounts:
            pause = self.ledger.pauses.get(ACCOUNT_SCOPE + account)
            if pause is not None and pause.by == BY_ITSELF:
                await self.resume(pause.scope, BY_ITSELF)
