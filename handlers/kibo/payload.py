"""Reading Kibo's order resource, which “Get Order” and the response to a cancel have in common, and its names.

An order has two names: `entityId`, a string, by which webhooks speak of it; and `orderID`, a whole number from 1 on,
by which the translated API does. Documents also spell the latter `orderId`: it is sent as `orderID`, and read as both.
An `entityId` that is a whole number all the same is another number than the `orderID`, and must never be sent as one.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from app.contract import Facts, InvalidCancel, Order, Phase
from app.kit.flows import same_order
from app.kit.ids import WHOLE_DIGITS_MAX, id_or_none, whole_number
from app.kit.keys import find, first_value, read_status
from app.kit.payload import Payload, pick_attributes
from app.kit.phases import furthest
from app.kit.times import read_time
from handlers.kibo.config import Config
from handlers.kibo.words import fulfillment_phase, status_phase

ORDER_ID = "orderID"
_ORDER_ID_KEYS = (ORDER_ID, "orderId")
FULFILLMENT = "fulfillmentStatus"
RESTRICTED = "restrictCancellation"
ENTITY = "entity:"
"""Marks an `entityId` that is a whole number among the names: it may be the `orderID` of another order."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,200}")

ATTRIBUTES = (
    "orderNumber",
    "externalOrderID",
    "externalId",
    "orderType",
    "isTestOrder",
    "orderState",
    "orderStatus",
    FULFILLMENT,
    "paymentStatus",
    "returnStatus",
    RESTRICTED,
    "currency",
    "currencyCode",
    "total",
)
"""What is kept of an order, as Kibo spells it; the README says what is left out, and why."""


class OrderResource(Struct, frozen=True):
    """An order as Kibo shows it (“Get Order”)."""

    order_id: int | None
    entity_id: str | None
    entity_number: int | None
    """An `entityId` that is a whole number; it only confirms the name by which the order was asked for."""
    facts: Facts
    """`phase` is None where no status is stated."""

    @property
    def name(self) -> str:
        """What to call it in a sentence."""
        return self.entity_id or (f"{ENTITY}{self.entity_number}" if self.order_id is None else str(self.order_id))


def whole_id(value: Any) -> int | None:
    """`value` as an orderID: a whole number from 1 on, perhaps written as a string."""
    if type(value) is str:
        value = whole_number(value)
    return value if type(value) is int and 1 <= value < 10**WHOLE_DIGITS_MAX else None


def order_id_of(order: Order) -> int | None:
    """The order's orderID, as Kibo stated it or as the only name that can be one; None where it is not known."""
    stated = whole_id(order.attributes.get(ORDER_ID))
    if stated is not None:
        return stated
    numbers = {number for name in (order.id, *order.aliases) if (number := whole_id(name)) is not None}
    return numbers.pop() if len(numbers) == 1 else None


def entity_id_of(order: Order) -> str | None:
    """The order's first name that is no orderID, as Kibo spells it."""
    name = next((name for name in (order.id, *order.aliases) if whole_id(name) is None), None)
    return None if name is None else name.removeprefix(ENTITY)


def id_kind(name: str) -> str | None:
    """See `Handler.id_kind`: an order has one orderID and one entityId."""
    if name.startswith(ENTITY):
        return None
    return "entityId" if whole_id(name) is None else ORDER_ID


def entity_name(entity_id: str) -> str:
    """What an order is called after its entityId."""
    return entity_id if whole_id(entity_id) is None else ENTITY + entity_id


def check_order(id: str) -> None:
    """Raise `InvalidCancel` for a number below 1: of orderID, “the minimum value is 1”."""
    if _WHOLE.fullmatch(id) and int(id) < 1:
        raise InvalidCancel("order", "Kibo's orderID is a whole number of at least 1")


def other_names(id: str) -> tuple[str, ...]:
    """The names under which an order with this entityId may be stored: a whole number has the mark."""
    return () if whole_id(id) is None else (ENTITY + id,)


def read_order(body: Payload, raw: bytes, config: Config) -> OrderResource | None:
    """The order in `body`, which `raw` was decoded into; None where it names none."""
    inner = body.get("order")
    if type(inner) is dict and all(body.get(key) is None for key in _ORDER_ID_KEYS):
        body = inner
    order_id = whole_id(first_value(body, _ORDER_ID_KEYS))
    entity_id = _entity_id(body, config)
    entity_number = whole_id(find(body, config.entity_id_keys[0])) if config.entity_id_keys else None
    if order_id is None and entity_id is None and entity_number is None:
        return None
    statuses = [status for key in config.status_keys if (status := read_status(find(body, key))) is not None]
    attributes = pick_attributes(body, ATTRIBUTES, raw)
    if order_id is not None:
        attributes[ORDER_ID] = order_id
    facts = Facts(
        phase=_phase(statuses, read_status(body.get(FULFILLMENT))),
        provider_status=statuses[0] if statuses else None,
        opened_at=read_time(first_value(body, config.opened_at_keys), config.zone),
        attributes=attributes,
        snapshot=True,
    )
    return OrderResource(order_id, entity_id, entity_number, facts)


def is_about(resource: OrderResource, order: Order) -> bool:
    """Is `resource` the order that Kibo was asked for?"""
    order_id = order_id_of(order)
    if order_id is not None and resource.order_id is not None:
        return order_id == resource.order_id
    if same_order(order, *_names(resource)):
        return True
    asked = entity_id_of(order)
    number = None if asked is None else whole_id(asked)
    if number is not None and resource.entity_number is not None:
        return number == resource.entity_number
    # Asked for by its entityId, it was answered with an orderID alone: the question is all that ties them. But an
    # orderID that is the very number we asked with shows that the question was taken for another.
    return resource.entity_id is None and asked is not None and (number is None or number != resource.order_id)


def facts_about(order: Order, resource: OrderResource) -> Facts:
    """The facts in `resource`, with the order's other names. Attributes that it no longer states are cleared."""
    gone = {key: None for key in (RESTRICTED, FULFILLMENT) if order.attributes.get(key) is not None}
    return replace(resource.facts, attributes={**gone, **resource.facts.attributes}, aliases=names_of(resource, order))


def names_of(resource: OrderResource, order: Order) -> tuple[str, ...]:
    """The names in `resource`, without the order's own id."""
    return tuple(sorted(_names(resource) - {order.id}))


def _names(resource: OrderResource) -> set[str]:
    number = None if resource.order_id is None else str(resource.order_id)
    return {name for name in (number, resource.entity_id) if name is not None}


def _entity_id(body: Payload, config: Config) -> str | None:
    for key in config.entity_id_keys:
        value = find(body, key)
        # A number there is a record's own and no name: another order's orderID may be the same.
        if type(value) is str and whole_id(value) is None and (name := id_or_none(value)) is not None:
            return name
    return None


def _phase(statuses: list[str], fulfillment: str | None) -> Phase | None:
    if not statuses:
        return None
    by_fulfillment = None if fulfillment is None else fulfillment_phase(fulfillment)
    return furthest(by_fulfillment, *map(status_phase, statuses))
