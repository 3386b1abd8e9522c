"""The one node of a SQLite file: its lease does not end, and everything is its own."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, Collection

from app.store.node_protocol import Errand, Lease, LiveNode, NodeChanges, Renewal

_NUMBERS = 512


class SingleNode:
    """`NodeStore` on SQLite; its methods are described there. The file's lock keeps other processes out."""

    lease: Lease | None = None
    _node: LiveNode

    async def join(self, name: str, version: str) -> Renewal:
        """The number is drawn: what a former process drew by a clock that was set back since has another, likely."""
        self.lease = Lease(secrets.randbelow(_NUMBERS), 0)
        self._node = LiveNode(self.lease.number, 0, name, version, draining=False)
        return Renewal(self.lease, (self._node,))

    async def renew(self, last_id: int, *, draining: bool = False) -> Renewal:  # noqa: ARG002 - of the protocol
        """Nothing to prolong."""
        self._node = self._node._replace(draining=draining)
        return Renewal(self._own(), (self._node,))

    async def leave(self) -> None:
        """Nobody takes over."""
        self.lease = None

    async def take(self, subjects: Collection[str]) -> dict[str, int]:
        """All of them: a former owner's process has ended."""
        return dict.fromkeys(subjects, 0)

    async def release(self, subjects: Collection[str]) -> None:
        """Nobody waits for them."""

    async def owners(self, subjects: Collection[str]) -> dict[str, LiveNode]:
        """This node owns all."""
        return dict.fromkeys(subjects, self._node)

    async def owned(self) -> frozenset[str]:
        """See `NodeStore.owned`: nothing is kept of what this node owns."""
        return frozenset()

    async def changes(self) -> NodeChanges:
        """Nothing that this process would not know."""
        return NodeChanges()

    async def ask(self, errand: Errand) -> None:
        """Nobody else could do it."""
        raise AssertionError(f"an errand for {errand.subject}, which is this node's")

    async def answer(self, id: int, answer: str) -> None:
        """There are no errands."""

    async def answers(self, ids: Collection[int]) -> dict[int, str]:  # noqa: ARG002 - of the protocol
        """There are no errands."""
        return {}

    async def wake(self, subjects: Collection[str]) -> None:
        """There is nobody else."""

    async def listen(self) -> AsyncGenerator[frozenset[str], None]:
        """Nobody says anything."""
        await asyncio.Event().wait()
        yield frozenset()

    def _own(self) -> Lease:
        if self.lease is None:
            raise AssertionError("the node has not joined")
        return self.lease
