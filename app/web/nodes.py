"""The node that answers: its lease, what it owns, and whether it gives that up."""

from __future__ import annotations

from msgspec import Struct

from app.config.scope import Scope
from app.node import Node
from app.store.node_protocol import ACCOUNT, SUBSCRIPTION, TASK
from app.web import pauses
from app.web.examples import example
from app.web.problems import Kind, Problem
from app.web.routes import Call, RouteTable

ROUTES = RouteTable(pauses.ROUTES.tag)
_ALONE = "No other node could take the work: a server on SQLite ends it in order when it is stopped (SIGTERM)."


class NodeStatus(Struct, kw_only=True):
    """The node that answered the request. With SQLite there is one, which owns everything."""

    node: int
    """Its number, 0 to 511: a part of the ids that it draws."""
    epoch: int
    """Of its lease; grows with each. 0 on SQLite."""
    lease_left_s: float | None
    """How long its lease still lasts, unless it is renewed; null on SQLite, where it does not end."""
    draining: bool
    """It gives up what it owns, takes nothing, and is not ready."""
    fault: str
    """What keeps it from working; empty if nothing does."""
    nodes: int
    """How many nodes are alive, this one included."""
    accounts: int
    """Accounts whose lanes it has."""
    subscriptions: int
    """Subscriptions whose deliveries it sends."""
    tasks: list[str]
    """What it does for all nodes."""


example(
    NodeStatus(
        node=17,
        epoch=42,
        lease_left_s=14.2,
        draining=False,
        fault="",
        nodes=3,
        accounts=4,
        subscriptions=1,
        tasks=["log sealer"],
    )
)


def shown_node(node: Node) -> NodeStatus:
    """The state of this node."""
    lease, ownership = node.store.lease, node.ownership

    def owned(kind: str) -> list[str]:
        return sorted(subject.removeprefix(kind) for subject in ownership.owned if subject.startswith(kind))

    return NodeStatus(
        node=-1 if lease is None else lease.number,
        epoch=0 if lease is None else lease.epoch,
        lease_left_s=None if lease is None or not lease.epoch else round(lease.left_s, 1),
        draining=ownership.draining,
        fault=ownership.fault,
        nodes=len(ownership.nodes),
        accounts=len(owned(ACCOUNT)),
        subscriptions=len(owned(SUBSCRIPTION)),
        tasks=owned(TASK),
    )


@ROUTES.get("/v1/node")
async def get_node(call: Call) -> NodeStatus:
    """The node that answers: its lease, and how much it owns."""
    return shown_node(call.node)


@ROUTES.post("/v1/node/drain", Scope.ADMIN, problems=[Problem(Kind.INVALID, _ALONE)])
async def drain_node(call: Call) -> NodeStatus:
    """Let the node that answers give its work up to others and be not ready, before it is stopped.

    Requests are still served. With SQLite there is no other node that could take it, and it is refused.
    """
    if call.node.store.single_writer:
        raise Problem(Kind.INVALID, _ALONE)
    call.node.drain()
    return shown_node(call.node)
