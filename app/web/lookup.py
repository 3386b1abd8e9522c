"""From a name to the order that it means: the provider's id, a unique alias, or a shared one that no other carries."""

from __future__ import annotations

from collections.abc import Sequence

from app.config.resolve import Account
from app.core.aggregate import OrderAggregate
from app.engine.linking import clash_with
from app.node import Node
from app.web.problems import Kind, Problem

CARRIERS_MAX = 20
"""So many orders are listed that carry the same alias."""


async def find_order(node: Node, account: str, name: str) -> tuple[int, OrderAggregate] | None:
    """(number, case) of the order that the name means; None if there is none. Raises `Problem` if there are several."""
    found = await node.store.order(account, name)
    if found is not None and found[1].order.version:
        return found
    # An order of that very name that nobody but a caller spoke of yields to one that carries it.
    carriers = await node.store.orders_sharing_alias(account, name, CARRIERS_MAX + 1)
    if not carriers:
        return found
    if len(carriers) > 1:
        raise _ambiguous(f"{name!r} of account {account!r} is an alias that several orders carry", carriers)
    return await node.store.order(account, carriers[0])


def find_account(node: Node, id: str) -> Account:
    """The account of that id. Raises `Problem` if there is none."""
    account = node.directory.accounts.get(id)
    if account is None:
        raise Problem(Kind.NOT_FOUND, f"There is no account {id!r}; `rescind accounts list` shows all.")
    return account


async def find_case(node: Node, account: str, order: str) -> tuple[int, OrderAggregate]:
    """The order's case. Raises `Problem` if there is none, or the name means several."""
    find_account(node, account)
    found = await find_order(node, account, order)
    if found is None:
        name = await known_name(node, account, order)
        hint = f" There is an order {name!r}: ask for it by that name." if name is not None else ""
        if not hint and node.directory.accounts[account].handler.probe is not None:
            hint = " `rescind orders refresh` asks the provider about it."
        raise Problem(Kind.NOT_FOUND, f"No event of order {order!r} of account {account!r} has been received.{hint}")
    return found


async def known_name(node: Node, account: str, order: str) -> str | None:
    """The name of a known order that may be meant by `order`, which is no order's name; None if there is none.

    The handler says under which names a provider's id may be known.
    """
    found = node.directory.accounts.get(account)
    for name in found.handler.other_names(order) if found is not None else ():
        if await node.store.order(account, name) is not None and await node.store.order(account, order) is None:
            return name
    return None


async def name_to_cancel(node: Node, account: str, name: str) -> str:
    """By which name to ask for a cancel: as given, or the id of the one order that carries it as a shared alias.

    Raises `Problem` if several do; and if the provider gave both the name and the order's own id as ids: a webhook in
    quarantine says so, or an earlier release made one order of those. A call would name the other.
    """
    found = await find_order(node, account, name)
    if found is None or found[1].order.id == name:
        return name
    pk, order = found[0], found[1].order
    if name not in order.aliases:
        return order.id if order.version else name
    kind_of = node.directory.view(account).handler.id_kind
    if (kind := kind_of(name)) is not None and kind == kind_of(order.id):
        stated = await node.store.provider_names(pk)
        if {name, order.id} <= stated:
            what = f"{name!r} and {order.id!r} of account {account!r} are ids of the provider's own, known as one order"
            raise _ambiguous(what, sorted(each for each in stated if kind_of(each) == kind))
        if await node.store.quarantined_because(account, clash_with(account, name)):
            what = f"{name!r} of account {account!r} is an alias of {order.id!r}, and by a webhook in quarantine an id"
            raise _ambiguous(what, [order.id, name])
    return name


def _ambiguous(what: str, orders: Sequence[str]) -> Problem:
    shown = list(orders[:CARRIERS_MAX])
    more = ", and more" if len(orders) > CARRIERS_MAX else ""
    listed = ", ".join(repr(each) for each in shown) + more
    return Problem(Kind.AMBIGUOUS, f"{what}: {listed}. Name the one that is meant by its id.", orders=shown)
