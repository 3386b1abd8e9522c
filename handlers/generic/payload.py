"""Reading an order out of what a source says of it, by the paths of the configuration."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.contract import Appointment, Facts, MalformedPayload, Phase
from app.kit.ids import id_or_none
from app.kit.keys import read_status
from app.kit.payload import ATTRIBUTE_BYTES_MAX, MONEY, Payload, pick_attributes
from app.kit.phases import furthest
from app.kit.times import read_time
from handlers.generic.config import AppointmentFields, Config
from handlers.generic.path import find

APPOINTMENTS_MAX = 100
ALIASES_MAX = 20
UNTRUSTED = b"\\u0000" * ATTRIBUTE_BYTES_MAX
"""Stands for a raw body where there is none to look at: `kept` then measures and cleans everything."""
_NOTHING = "null"
"""What JMESPath's `to_string` and `join` make of nothing: orders without a name must not become one."""
_STATUS_UNKNOWN = "unknown"


def order_of(document: Any, config: Config) -> str:
    """What the order is called. Raises `MalformedPayload`."""
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
    value = None if path is None else find(path, document)
    if type(value) is bool:
        return "true" if value else "false"
    # A number with a fraction is text in which its spelling is kept.
    return read_status(str(value)) if isinstance(value, str | int | float) else None


def text_at(path: str | None, document: Any) -> str | None:
    """A word or a whole number at `path`, as text."""
    value = None if path is None else find(path, document)
    return read_status(str(value) if type(value) is int else value)


def time_at(path: str | None, document: Any, config: Config) -> datetime | None:
    """The time at `path`; None where none stands there, or nothing that is a time."""
    return None if path is None else read_time(find(path, document), config.zone)


def facts_of(document: Any, said: Phase | None, config: Config, raw: bytes) -> Facts:
    """What a document states; `said` is the phase by the event's name, `raw` what the document was decoded from."""
    fields = config.fields
    status = status_of(document, config)
    by_status = None if status is None else config.phases.get(status, Phase.UNKNOWN)
    # Without a table a status is only a word.
    phase = furthest(said, by_status) if config.phases else said
    appointments, complete = _appointments(document, fields.appointments, config)
    opened_at = time_at(fields.opened_at, document, config)
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
        # Policies count from it: that of the receipt in its place would be a guess.
        unreadable=("opened_at",) if opened_at is None and _is_stated(fields.opened_at, document) else (),
    )


def _is_stated(path: str | None, document: Any) -> bool:
    return path is not None and find(path, document) not in (None, "")


def _aliases(document: Any, config: Config) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The unique aliases, and the shared ones."""
    paths = config.fields.alias_paths
    if paths == (None, None):
        return (), ()
    own = id_or_none(find(config.fields.order, document))
    unique = _names_at(paths[0], document, but=(own,))
    return unique, _names_at(paths[1], document, but=(own, *unique))


def _names_at(path: str | None, document: Any, but: tuple[str | None, ...]) -> tuple[str, ...]:
    if path is None:
        return ()
    found = find(path, document)
    listed = found if type(found) is list else [found]
    names = [name for each in listed[:ALIASES_MAX] if (name := id_or_none(each)) is not None and name != _NOTHING]
    return tuple(name for name in dict.fromkeys(names) if name not in but)


def _attributes(document: Any, config: Config, raw: bytes) -> Payload:
    paths = config.fields.attributes
    if not paths:
        return {}
    found = {name: find(path, document) for name, path in paths.items()}
    return pick_attributes(found, paths, raw, MONEY.union(config.money))


def _appointments(
    document: Any, fields: AppointmentFields | None, config: Config
) -> tuple[tuple[Appointment, ...], bool]:
    listed = None if fields is None else find(fields.list, document)
    if fields is None or listed is None:
        return (), False
    if type(listed) is dict:
        return _read_appointments([listed], fields, config), fields.complete
    if type(listed) is not list:
        raise MalformedPayload(f"what stands at {fields.list} (fields.appointments.list) is no list")
    return _read_appointments(listed, fields, config), fields.complete


def _read_appointments(listed: list[Any], fields: AppointmentFields, config: Config) -> tuple[Appointment, ...]:
    found: dict[str, Appointment] = {}
    for each in listed[:APPOINTMENTS_MAX]:
        starts_at = time_at(fields.starts_at, each, config)
        named = None if fields.id is None else id_or_none(find(fields.id, each))
        id = named or (starts_at.isoformat() if starts_at else "appointment")
        if id in found:
            id = f"{id}#{len(found)}"
        status = _status_at(fields.status, each) or _STATUS_UNKNOWN
        found[id] = Appointment(id, status, starts_at, time_at(fields.ends_at, each, config))
    return tuple(found.values())
