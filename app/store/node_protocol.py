"""What a database must do for the nodes that share it: leases, ownership, errands, and waking each other.

What only one node may do at a time is a *subject* (`account:ID`, `subscription:ID`, `task:NAME`) with one owner. A node
is alive while its lease lasts; what it owned is taken from it when that has ended. A SQLite file has one node, which
owns everything.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from app.runtime.uptime import boottime

LEASE_S = 15.0
HEARTBEAT_S = 2.0
CLAIM_LEASE_S = 5.0
"""A node grants no claim whose lease ends sooner."""
CLAIM_S = 2.0
"""A claim is good for so long, from before its transaction began: later no first byte is written."""
ACCOUNT, SUBSCRIPTION, TASK = "account:", "subscription:", "task:"
"""Prefixes of subjects."""
NODES = "nodes"
"""Said when a node has left."""
EVERYTHING = "*"
"""In place of subjects: look at everything."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A node's right to work."""

    number: int
    """0 to 511: a part of the ids that the node draws."""
    epoch: int
    """Grows with each lease; 0 on a store with one node."""
    ends: float = math.inf
    """By `boottime`, reckoned from before it was asked for."""

    @property
    def left_s(self) -> float:
        """How long it still lasts."""
        return self.ends - boottime()


class LiveNode(NamedTuple):
    """A node whose lease lasts."""

    number: int
    epoch: int
    name: str
    version: str
    draining: bool
    """It gives its work up, and takes none."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a renewal of a lease tells."""

    lease: Lease
    nodes: tuple[LiveNode, ...]
    """All that are alive, this one included, by number."""
    offset_s: float = 0.0
    """The database's clock minus this machine's; at least so much, however long the response took."""
    last_id: int = 0
    """About the last id that a node of this number drew."""
    next_end_s: float = math.inf
    """In how many seconds the first lease of another node ends, unless it is prolonged."""


class Errand(NamedTuple):
    """What a node asks of the owner of a subject."""

    id: int
    subject: str
    kind: str
    request: str


@dataclass(frozen=True, slots=True)
class NodeChanges:
    """What has changed, or waits, for a node."""

    versions: Mapping[str, int] = field(default_factory=dict)
    """Shared version (configuration, keys, pauses, sessions) → its number."""
    accounts: frozenset[str] = frozenset()
    """Owned accounts with due jobs."""
    subscriptions: frozenset[str] = frozenset()
    """Owned subscriptions with due deliveries."""
    timers: bool = False
    """A timer of an owned account is due."""
    errands: tuple[Errand, ...] = ()
    """Open errands for owned subjects, the oldest first."""
    position: int = 0
    """The last position of the log that was drawn."""


class NodeStore(Protocol):
    """Leases, ownership, errands, and waking other nodes. Methods raise `StoreError` as all do."""

    lease: Lease | None
    """This node's; None before `join` and after `leave`. What writes for the node checks its epoch."""

    async def join(self, name: str, version: str) -> Renewal:
        """Begin a lease, with an epoch greater than all before."""

    async def renew(self, last_id: int, *, draining: bool = False) -> Renewal:
        """Prolong the lease; `last_id` is the last id drawn. Raises `StoreFenced` if it was ended by another node."""

    async def leave(self) -> None:
        """End the lease. What the node still owns can be taken at once, as from a node that died."""

    async def take(self, subjects: Collection[str]) -> dict[str, int]:
        """Own those of `subjects` that no live node owns; returns subject → epoch of the former owner, 0 if it gave up.

        The lease of a former owner is ended first, when its claims under way have ended. Raises `StoreFenced`.
        """

    async def release(self, subjects: Collection[str]) -> None:
        """Give these up: nothing of them is under way any more."""

    async def owned(self) -> frozenset[str]:
        """All that this node owns, by the store."""

    async def owners(self, subjects: Collection[str]) -> dict[str, LiveNode]:
        """Subject → the live node that owns it, for those that one owns."""

    async def changes(self) -> NodeChanges:
        """What has changed, or waits, for this node. Cheap: it is asked each second."""

    async def ask(self, errand: Errand) -> None:
        """Leave an errand for the owner of its subject."""

    async def answer(self, id: int, answer: str) -> None:
        """Answer an errand."""

    async def answers(self, ids: Collection[int]) -> dict[int, str]:
        """The answers that are there, by errand."""

    async def wake(self, subjects: Collection[str]) -> None:
        """Tell all nodes that there is something to do for these. It may get lost: it only saves time."""

    def listen(self) -> AsyncGenerator[frozenset[str], None]:
        """What other nodes say with `wake`, until canceled; `EVERYTHING` after a time in which something was missed."""
