"""Several nodes in this process, on one schema of a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from postgres import new_target
from providers import until
from servers import ACCOUNT, SECRET_KEY, Rescind, account_of, endpoint_of

from app.store.node_protocol import ACCOUNT as OF_ACCOUNT
from app.store.node_protocol import LiveNode
from app.workers.ownership import chosen


class Cluster:
    """Nodes that share a database. `start` adds one."""

    def __init__(self, directory: Path) -> None:
        self._directory, self._target = directory, new_target()
        self.nodes: list[Rescind] = []
        self._ended: list[Rescind] = []

    async def start(self, **settings: Any) -> Rescind:
        target = self._target
        shared = {"database_url": target.url, "database_schema": target.schema, "secret_key": SECRET_KEY}
        node = await Rescind.start(self._directory, **shared, migrate=True, **settings)
        self.nodes.append(node)
        await self.all_know()
        return node

    async def all_know(self) -> None:
        """Wait until every node knows of all."""

        async def look() -> bool:
            return all(len(node.node.ownership.nodes) == len(self.nodes) for node in self.nodes)

        await until(look, "every node to know the others")

    async def kill(self, node: Rescind) -> None:
        """End a node as SIGKILL does; its lease runs out at once."""
        self.nodes.remove(node)
        self._ended.append(node)
        await freeze(node)
        await self.run_out(node)

    async def stall(self, node: Rescind) -> asyncio.Event:
        """Stop a node's heartbeat, as SIGSTOP does, until the event is set; its lease ends at once for the others."""
        store, go_on = node.node.store, asyncio.Event()

        def stalled(method: Any) -> Any:
            async def later(*values: Any, **named: Any) -> Any:
                await go_on.wait()
                return await method(*values, **named)

            return later

        for name in ("renew", "changes", "take"):
            setattr(store, name, stalled(getattr(store, name)))
        await self.run_out(node)
        return go_on

    async def run_out(self, node: Rescind) -> None:
        """Let a node's lease end for the others, who need not wait for it."""
        other = next(other for other in self.nodes if other is not node)
        async with other.node.store._db.writers.lend() as session:  # type: ignore[attr-defined]
            await session.run("UPDATE @nodes SET until = 0 WHERE epoch = $1", node.node.store.lease.epoch)  # type: ignore[union-attr]

    async def stop(self) -> None:
        for node in self.nodes:
            await node.stop()
        for node in self._ended:
            await node.session.close()
            await node._runner.cleanup()
            await node.node._outgoing.close()
            await node.node._session.close()
            await node.node.store.close()

    async def owner(self, account: str = ACCOUNT) -> Rescind:
        """The node that has the account's lane."""

        async def look() -> Rescind | None:
            owners = [node for node in self.nodes if account in node.node.lanes]
            return owners[0] if len(owners) == 1 else None

        owner = await until(look, f"one owner of {account}")
        assert owner is not None
        return owner


async def freeze(node: Rescind) -> None:
    """End everything that a node does, without a trace in the database."""
    tasks = [task for lane in node.node.lanes.values() for task in lane._calling]
    tasks += [*node.node._tasks.values(), *node.node.deliveries._tasks.values()]
    tasks += [slot for worker in node.node.deliveries._workers.values() for slot in worker._slots]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def account_for(node: Rescind, nodes: list[Rescind]) -> str:
    """The id of an account that this one of the nodes should own."""
    return share_of(node, nodes, [f"acct-{n}" for n in range(1000)])[0]


def share_of(node: Rescind, nodes: list[Rescind], accounts: list[str]) -> list[str]:
    """Those of the accounts that this one of the nodes should own."""
    live = [LiveNode(0, each.node.store.lease.epoch, "", "", draining=False) for each in nodes]  # type: ignore[union-attr]
    epoch = node.node.store.lease.epoch  # type: ignore[union-attr]
    return [account for account in accounts if chosen(OF_ACCOUNT + account, live) == epoch]


@asynccontextmanager
async def cluster(directory: Path, number: int) -> AsyncIterator[Cluster]:
    """Some nodes, that end together."""
    started = Cluster(directory)
    try:
        for _ in range(number):
            await started.start()
        yield started
    finally:
        await started.stop()


async def set_up(node: Rescind, provider: str, account: str = ACCOUNT, **more: Any) -> None:
    """Make an account at the provider, with an endpoint."""
    accounts = [{"id": account, **account_of(provider, **more)}]
    await node.node.apply(
        {"accounts": accounts, "endpoints": [{"id": f"{account}-in", **endpoint_of(account)}]}, by="a"
    )
