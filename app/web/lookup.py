"""Look-up of orders by name: the provider's id, a unique alias, or a shared alias that only one order carries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.config.faults import SINGULAR
from app.config.resolve import Account, Endpoint
from app.core.aggregate import OrderAggregate
from app.engine.identity import clash_with
from app.node import Node
from app.store import ApiKey
from app.web.problems import Kind, Problem

CARRIERS_MAX = 20
"""Orders listed that carry the same alias."""


async def find_order(node: Node, account: str, name: str) -> tuple[int, OrderAggregate] | None:
    """(number, aggregate) of the order of that name; None if there is none. Raises `Problem` if there are several."""
    stored = await node.store.order(account, name)
    if stored is not None and stored[1].order.version:
        return stored
    # An order of exactly that name without any event yields to an order that carries the name as an alias.
    carriers = await node.store.orders_sharing_alias(account, name, CARRIERS_MAX + 1)
    if not carriers:
        return stored
    if len(carriers) > 1:
        raise _ambiguous(f"{name!r} of account {account!r} is an alias that several orders carry", carriers)
    return await node.store.order(account, carriers[0])


def missing(kind: str, id: str, **members: Any) -> Problem:
    """The problem of a resource of a kind (`accounts`, `endpoints`, `policies`) that does not exist."""
    return Problem(Kind.NOT_FOUND, f"There is no {SINGULAR[kind]} {id!r}; `rescind {kind} list` shows all.", **members)


def sees_resource(node: Node, key: ApiKey, kind: str, id: str) -> bool:
    """Whether there is a resource of that kind and id that concerns an account which the key may use."""
    if not node.config.version(kind, id):
        return False
    if key.accounts is None:
        return True
    if kind == "endpoints":
        return key.sees(node.config.endpoints[id].spec.account)
    if kind == "policies":
        return any(map(key.sees, node.config.policies[id].accounts))
    return kind == "accounts" and key.sees(id)


def require_endpoint(node: Node, key: ApiKey, id: str) -> Endpoint:
    """The endpoint of that id. Raises `Problem` if there is none, or the key may not use its account."""
    if not sees_resource(node, key, "endpoints", id):
        raise missing("endpoints", id)
    return node.config.endpoints[id]


def require_account(node: Node, id: str) -> Account:
    """The account of that id. Raises `Problem` if there is none."""
    account = node.config.accounts.get(id)
    if account is None:
        raise missing("accounts", id)
    return account


async def require_order(node: Node, account: str, order: str) -> tuple[int, OrderAggregate]:
    """(number, aggregate) of the order. Raises `Problem` if there is none, or several have the name."""
    require_account(node, account)
    stored = await find_order(node, account, order)
    if stored is None:
        name = await probable_name(node, account, order)
        hint = f" There is an order {name!r}: ask for it by that name." if name is not None else ""
        if not hint and node.config.accounts[account].handler.probe is not None:
            hint = " `rescind orders refresh` asks the provider about it."
        raise Problem(Kind.NOT_FOUND, f"No event of order {order!r} of account {account!r} has been received.{hint}")
    return stored


async def probable_name(node: Node, account: str, order: str) -> str | None:
    """The name of an order with events that `order`, which names none, probably means; None if there is none.

    The handler knows the other names of a provider's id.
    """
    configured = node.config.accounts.get(account)
    for name in configured.handler.other_names(order) if configured is not None else ():
        if await node.store.order(account, name) is not None and await node.store.order(account, order) is None:
            return name
    return None


async def name_to_cancel(node: Node, account: str, name: str) -> str:
    """The name to cancel by: as given, or the id of the only order that carries it as a shared alias.

    Raises `Problem` if several orders carry it, and if both the name and the order's own id are ids of the provider:
    a webhook in quarantine says so, or an earlier release merged two orders. The call would cancel the other order.
    """
    stored = await find_order(node, account, name)
    if stored is None or stored[1].order.id == name:
        return name
    pk, order = stored[0], stored[1].order
    if name not in order.aliases:
        return order.id if order.version else name
    kind_of = node.config.view(account).handler.id_kind
    if (kind := kind_of(name)) is not None and kind == kind_of(order.id):
        names = await node.store.provider_names(pk)
        if {name, order.id} <= names:
            what = f"{name!r} and {order.id!r} of account {account!r} are both ids of the provider, merged in one order"
            raise _ambiguous(what, sorted(id for id in names if kind_of(id) == kind))
        if await node.store.quarantined_because(account, clash_with(account, name)):
            what = f"{name!r} of account {account!r} is an alias of {order.id!r}, but an id in a quarantined webhook"
            raise _ambiguous(what, [order.id, name])
    return name


def _ambiguous(what: str, orders: Sequence[str]) -> Problem:
    shown = list(orders[:CARRIERS_MAX])
    more = ", and more" if len(orders) > CARRIERS_MAX else ""
    listed = ", ".join(repr(order) for order in shown) + more
    return Problem(Kind.AMBIGUOUS, f"{what}: {listed}. Use the id of the order that is meant.", orders=shown)
