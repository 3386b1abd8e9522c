"""Reading an order from a source's JSON, by the paths of the configuration."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from app.contract import Appointment, Facts, MalformedPayload, Phase
from app.kit.appointments import APPOINTMENTS_MAX, appointment_id, distinct
from app.kit.ids import id_or_none
from app.kit.keys import read_status
from app.kit.paths.budget import one_budget
from app.kit.paths.path import find, is_plain
from app.kit.payload import ATTRIBUTE_BYTES_MAX, MONEY, Payload, pick_attributes
from app.kit.phases import furthest
from app.kit.times import read_time
from handlers.generic.config import AppointmentFields, Config

ALIASES_MAX = 20
UNTRUSTED = b"\\u0000" * ATTRIBUTE_BYTES_MAX
"""Stands for a raw body where there is none: `pick_attributes` then measures and cleans everything."""
_NOTHING = "null"
"""What JMESPath's `to_string` and `join` make of nothing: it must not become the id of all orders without one."""
_STATUS_UNKNOWN = "unknown"


def order_of(document: Any, config: Config) -> str:
    """The order's id. Raises `MalformedPayload`."""
    path = config.fields.order
    value = find(path, document)
    if value is None or value == _NOTHING:
        raise MalformedPayload(f"it names no order: nothing stands at {path} (fields.order)")
    name = id_or_none(value)
    if name is None:
        raise MalformedPayload(f"what stands at {path} (fields.order) can be no order's id")
    return name


def status_of(document: Any, config: Config) -> str | None:
    """The order's status in the source's word, if it states one. A truth value or a number is one as JSON spells it."""
    return _status_at(config.fields.status, document)


def _status_at(path: str | None, document: Any) -> str | None:
    value = find(path, document)
    if type(value) is bool:
        return "true" if value else "false"
    # A number with a fraction is text in which its spelling is kept.
    return read_status(str(value)) if isinstance(value, str | int | float) else None


def text_at(path: str | None, document: Any) -> str | None:
    """A word or a whole number at `path`, as text."""
    value = find(path, document)
    return read_status(str(value) if type(value) is int else value)


def _time_at(path: str | None, document: Any, config: Config) -> datetime | None:
    return read_time(find(path, document), config.zone)


def facts_of(document: Any, by_event: Phase | None, config: Config, raw: bytes) -> Facts:
    """What a document states; `by_event` is the phase by the event's name, `raw` what the document was decoded from."""
    with one_budget():
        return _facts_of(document, by_event, config, raw)


def _facts_of(document: Any, by_event: Phase | None, config: Config, raw: bytes) -> Facts:
    fields = config.fields
    status = status_of(document, config)
    by_status = None if status is None else config.phases.get(status, Phase.UNKNOWN)
    # Without a table a status is only a word.
    phase = furthest(by_event, by_status) if config.phases else by_event
    appointments, complete = _appointments(document, config)
    opened_at = _time_at(fields.opened_at, document, config)
    is_unreadable = opened_at is None and find(fields.opened_at, document) not in (None, "")
    # Policies count from it: the time of the receipt in its place would be a guess.
    unreadable = ("opened_at",) if is_unreadable else ()
    aliases, shared_aliases = _aliases(document, config)
    return Facts(
        phase=phase,
        provider_status=status,
        opened_at=opened_at,
        appointments=appointments,
        appointments_complete=complete,
        attributes=_attributes(document, config, raw),
        aliases=aliases,
        shared_aliases=shared_aliases,
        unreadable=unreadable,
    )


def _aliases(document: Any, config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The unique aliases, and the shared ones."""
    if config.fields.aliases is None:
        return (), ()
    unique_path, shared_path = config.fields.alias_paths
    id = id_or_none(find(config.fields.order, document))
    unique = _names_at(unique_path, document, but=(id,))
    return unique, _names_at(shared_path, document, but=(id, *unique))


def _names_at(path: str | None, document: Any, but: tuple[str | None, ...]) -> tuple[str, ...]:
    value = find(path, document)
    listed = value if type(value) is list else [value]
    names = dict.fromkeys(name for item in listed[:ALIASES_MAX] if (name := id_or_none(item)) is not None)
    return tuple(name for name in names if name not in (_NOTHING, *but))


def _attributes(document: Any, config: Config, raw: bytes) -> Payload:
    paths = config.fields.attributes
    if not paths:
        return {}
    values = {name: find(path, document) for name, path in paths.items()}
    if raw is not UNTRUSTED and not all(map(is_plain, paths.values())):
        # Functions and literals may make text that the raw body does not show: longer, or with a NUL character.
        raw = UNTRUSTED
    return pick_attributes(values, paths, raw, MONEY.union(config.money))


def _appointments(document: Any, config: Config) -> tuple[tuple[Appointment, ...], bool]:
    """The appointments, and whether they are all."""
    fields = config.fields.appointments
    listed = None if fields is None else find(fields.list, document)
    if fields is None or listed is None:
        return (), False
    if type(listed) is dict:
        listed = [listed]
    if type(listed) is not list:
        raise MalformedPayload(f"what stands at {fields.list} (fields.appointments.list) is no list")
    read_one = partial(_appointment, fields=fields, config=config)
    return distinct(map(read_one, listed[:APPOINTMENTS_MAX])), fields.complete


def _appointment(value: Any, fields: AppointmentFields, config: Config) -> Appointment:
    starts_at = _time_at(fields.starts_at, value, config)
    id = appointment_id(find(fields.id, value), starts_at)
    status = _status_at(fields.status, value) or _STATUS_UNKNOWN
    return Appointment(id, status, starts_at, _time_at(fields.ends_at, value, config))
