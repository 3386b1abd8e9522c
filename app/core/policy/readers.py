"""Readers of what conditions read, as keys under which the results of conditions are kept."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from app.contract import Order
from app.kit.cel.cost import ELEMENTS_MAX, RECORDS_MAX, UnfitValueError, check_values
from app.kit.cel.reads import Aspect, Read

if TYPE_CHECKING:
    from app.core.unit_of_work import UnitOfWork

ReadKey = Callable[[Order, "UnitOfWork"], Any]
"""Reads a part of a key. A value that is not hashable is none to remember a result by."""

KEY_CHARS_MAX = 200
"""Longer texts are not remembered."""
ATTRIBUTES = "order.attributes"
_MISSING = object()
_NAMES: Mapping[str, ReadKey] = {
    "account": lambda order, _: order.account,
    "order.account": lambda order, _: order.account,
    "order.phase": lambda order, _: order.phase,
    "order.provider_status": lambda order, _: _short(order.provider_status or ""),
    "order.appointments": lambda order, _: order.appointments,
    "order.tags": lambda _, unit: unit.aggregate.tags,
    "order.verdict.cancelable": lambda _, unit: unit.verdict().cancelable,
    "order.verdict.reason": lambda _, unit: unit.verdict().reason,
}
"""Names that many orders have in common. Of the others, almost every order has its own."""


def readers_of(reads: Collection[Read]) -> tuple[ReadKey, ...] | None:
    """Read a key that tells apart what differs in `reads`; None where remembering results is not worth it."""
    readers = []
    for read in sorted(reads):
        reader = _reader_of(read)
        if reader is None:
            return None
        readers.append(reader)
    return tuple(readers)


def has_unfit_value(order: Order, tags: Collection[str]) -> bool:
    """Whether an order has a value that expressions do not take."""
    aliases = len(order.aliases) + len(order.shared_aliases)
    if len(order.appointments) > RECORDS_MAX or aliases > ELEMENTS_MAX or len(tags) > ELEMENTS_MAX:
        return True
    if any("\0" in appointment.id + appointment.status for appointment in order.appointments):
        return True
    try:
        check_values({ATTRIBUTES: order.attributes, "order.provider_status": order.provider_status or ""})
    except UnfitValueError:
        return True
    return False


def _reader_of(read: Read) -> ReadKey | None:
    if read.name == ATTRIBUTES and read.keys:
        return _key_reader(read.keys, present=read.aspect is Aspect.PRESENCE)
    if read.aspect is Aspect.SIZE:
        return (lambda order, _: len(order.appointments)) if read.name == "order.appointments" else None
    return _NAMES.get(read.name)


def _key_reader(keys: tuple[str, ...], *, present: bool) -> ReadKey:
    *outer, last = keys

    def read_key(order: Order, _unit: UnitOfWork) -> Any:
        value: Any = order.attributes
        for depth, key in enumerate(outer):
            value = value.get(key, _MISSING) if type(value) is dict else _MISSING
            if type(value) is not dict:
                # Where the path ends, and at what: both decide what an expression makes of it.
                return depth, value is _MISSING, type(value)
        value = value.get(last, _MISSING)
        if present:
            return value is not _MISSING
        if type(value) is str:
            return _short(value)
        # 1, 1.0 and true are equal keys and different values.
        return type(value), value

    return read_key


def _short(text: str) -> Any:
    return text if len(text) <= KEY_CHARS_MAX else [text]
