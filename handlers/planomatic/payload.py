"""Reading PlanOmatic's order object, which webhooks and the retrieve call have in common.

V3 objects are the body of the create call and what came later; V2 objects are flat. Both are read by
the same code, tolerant of what is missing and strict about what an order is called.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any

import msgspec

from app.contract import Appointment, Facts, MalformedPayload, Phase
from handlers.planomatic.config import Config, zone
from handlers.planomatic.words import further, status_phase

Payload = dict[str, Any]

ATTRIBUTES = (
    "request_id",
    "external_property_id",
    "external_order_id",
    "external_id",
    "billing_entity_slug",
    "metadata",
    "property",
    "property_info",
    "services",
    "primary_service",
    "add_on_services",
    "submitted_cancel_onsite",
)
"""What is kept of an order, as the provider spells it; the README says what is left out, and why."""

ATTRIBUTE_BYTES_MAX = 8 * 1024
ATTRIBUTE_DEPTH_MAX = 16
ID_CHARS_MAX = 200
STATUS_CHARS_MAX = 100
APPOINTMENTS_MAX = 100

MONEY = frozenset({"price", "amount", "cost", "total", "subtotal", "tax", "fee", "discount"})
"""Fields whose numbers are kept as strings: as spelled, so that no cent is lost."""

_MERCHANT_IDS = ("external_order_id", "external_id")
_OPENED_KEYS = ("request_datetime", "order_datetime")
_INT_MAX = 2**63
_NUL_ESCAPE = b"\\u0000"
"""The only way in which JSON can hold a NUL character."""
_MILLISECONDS_FROM = 1e11
"""Unix times from here on are milliseconds: as seconds they would lie beyond the year 5000."""

_NOT_CONFIRMED = "requested"
_CONFIRMED = "confirmed"
_SCHEDULED = "scheduled"
_IN_DOUBT = "in_doubt"
_CANCELED = "canceled"


class _Spelled(str):
    """A JSON number with a fraction or an exponent, as it was spelled."""

    __slots__ = ()


class _TooDeep(Exception):
    """An attribute is nested deeper than any order is."""


_NUMBERS = frozenset({int, _Spelled})

_decode = msgspec.json.Decoder(float_hook=_Spelled).decode
_encode = msgspec.json.encode


def decode(raw: bytes) -> Payload:
    """The JSON object that `raw` holds. Raises `MalformedPayload`."""
    try:
        body = _decode(raw)
    except RecursionError as error:
        raise MalformedPayload("the body is nested too deeply to be an order of PlanOmatic's") from error
    except ValueError as error:  # msgspec's errors and UnicodeDecodeError are ValueErrors
        raise MalformedPayload(f"the body is not the JSON that PlanOmatic sends ({error})") from error
    if type(body) is not dict:
        raise MalformedPayload(f"the body is JSON, but not an object (it is of type {type(body).__name__})")
    return body


def find(body: Payload, key: str) -> Any:
    """What stands at `key`, which may be dotted; None where nothing does."""
    value = body.get(key)
    if value is None and "." in key:
        value = body
        for part in key.split("."):
            value = value.get(part) if type(value) is dict else None
    return value


REQUEST = "request:"
"""Marks a request_id among the names: both ids may be numbers, and one order's may be the other of another."""


def unwrap(body: Payload) -> Payload:
    """The order in `body`: the body itself, or with it what it wraps in `data` or `order`."""
    for wrapper in ("data", "order"):
        if "order_id" in body or "request_id" in body:
            break
        inner = body.get(wrapper)
        if type(inner) is dict:
            body = {**body, **inner}
    return body


def identify(body: Payload, config: Config) -> tuple[str, tuple[str, ...]]:
    """What the order is called: its id, and its other names. Raises `MalformedPayload`."""
    order_id = _provider_id(body, "order_id")
    request_id = _provider_id(body, "request_id")
    by_request = None if request_id is None else REQUEST + request_id
    order = order_id or by_request
    if order is None:
        raise MalformedPayload("the body names no order: neither order_id nor request_id is there")
    aliases = [by_request] if by_request is not None and by_request != order else []
    for key in _MERCHANT_IDS if config.external_ids_are_aliases else ():
        if key in body:
            name = _merchant_id(body, key)
            if name is not None and name != order and name not in aliases:
                aliases.append(name)
    return order, tuple(aliases)


def status_of(body: Payload, config: Config) -> str | None:
    """The order's status in the provider's word, if it states one."""
    for key in config.status_keys:
        value = find(body, key)
        if type(value) is str and value:
            return value[:STATUS_CHARS_MAX].replace("\0", "")
    return None


def facts_of(body: Payload, said: Phase | None, aliases: tuple[str, ...], config: Config, raw: bytes) -> Facts:
    """What the order object states; `said` is the phase by the event's name, `raw` what it was decoded from."""
    status = status_of(body, config)
    phase = said
    if status is not None:
        by_status = status_phase(status)
        phase = by_status if said is None else further(said, by_status)
    appointments, complete = _appointments(body, config, in_doubt=said is Phase.UNKNOWN)
    return Facts(
        phase=phase,
        provider_status=status,
        opened_at=_opened_at(body, config),
        appointments=appointments,
        appointments_complete=complete,
        attributes=_attributes(body, raw),
        aliases=aliases,
    )


def time_of(value: Any, config: Config) -> datetime | None:
    """A time as ISO 8601 or unix time in seconds or milliseconds; None if it cannot be read as one."""
    try:
        if type(value) is str:
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                return _unix_time(float(value))
            return (moment if moment.tzinfo else moment.replace(tzinfo=zone(config.timezone))).astimezone(UTC)
        if type(value) is int or type(value) is _Spelled:
            return _unix_time(float(value))
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _unix_time(value: float) -> datetime | None:
    if not math.isfinite(value):
        return None
    return datetime.fromtimestamp(value / 1000 if abs(value) >= _MILLISECONDS_FROM else value, UTC)


def _opened_at(body: Payload, config: Config) -> datetime | None:
    for key in _OPENED_KEYS:
        value = body.get(key)
        if value is not None:
            return time_of(value, config)
    return None


def _provider_id(body: Payload, key: str) -> str | None:
    value = body.get(key)
    if value is None:
        return None
    if type(value) is int:
        value = str(value)
    elif type(value) is not str:
        raise MalformedPayload(f"{key} is neither a string nor a whole number")
    if not _is_name(value):
        raise MalformedPayload(f"{key} must have 1 to {ID_CHARS_MAX} printable characters")
    return value


def _merchant_id(body: Payload, key: str) -> str | None:
    """The merchant's own name for the order. A bad one is left out: the order has another."""
    value = body.get(key)
    if type(value) is int:
        value = str(value)
    return value if type(value) is str and _is_name(value) else None


def _is_name(value: str) -> bool:
    return len(value) <= ID_CHARS_MAX and value.isprintable() and bool(value.strip())


def _appointments(body: Payload, config: Config, *, in_doubt: bool) -> tuple[tuple[Appointment, ...], bool]:
    listed = body.get("appointments")
    if type(listed) is list:
        return _read_appointments(listed, config, in_doubt=in_doubt), True
    single = body.get("appointment")
    if type(single) is dict:
        return _read_appointments([single], config, in_doubt=in_doubt), False
    return (), False


def _read_appointments(listed: list[Any], config: Config, *, in_doubt: bool) -> tuple[Appointment, ...]:
    found: dict[str, Appointment] = {}
    for each in listed[:APPOINTMENTS_MAX]:
        if type(each) is not dict:
            continue
        start = _first(each, config.appointment_start_keys)
        starts_at = time_of(start, config)
        id = _merchant_id(each, "id") or (starts_at.isoformat() if starts_at else "appointment")
        if id in found:
            # Two without ids may start at the same time, one of them canceled: both count.
            id = f"{id}#{len(found)}"
        status = _appointment_status(each, has_start=start is not None, in_doubt=in_doubt)
        found[id] = Appointment(id, status, starts_at, time_of(_first(each, config.appointment_end_keys), config))
    return tuple(found.values())


def _appointment_status(each: Payload, *, has_start: bool, in_doubt: bool) -> str:
    """The appointment's status. One that the event puts in doubt is not confirmed, whatever its time."""
    if each.get("cancellation_reason") or each.get("cancelled") is True or each.get("canceled") is True:
        return _CANCELED
    status = each.get("status")
    if type(status) is str and status:
        return status[:STATUS_CHARS_MAX].replace("\0", "")
    if in_doubt:
        return _IN_DOUBT
    confirmed = each.get("confirmed")
    if type(confirmed) is bool:
        return _CONFIRMED if confirmed else _NOT_CONFIRMED
    return _SCHEDULED if has_start else _NOT_CONFIRMED


def _first(body: Payload, keys: tuple[str, ...]) -> Any:
    for key in keys:
        value = find(body, key)
        if value is not None:
            return value
    return None


def _attributes(body: Payload, raw: bytes) -> Payload:
    """What is kept of the order. The decoded body is changed in place: it is nobody else's, and this is a hot path."""
    has_nul = _NUL_ESCAPE in raw
    # What is small as a whole has no large part, and need not be measured.
    is_large = len(raw) > ATTRIBUTE_BYTES_MAX
    kept: Payload = {}
    for name in ATTRIBUTES:
        value = body.get(name)
        if value is None:
            continue
        kind = type(value)
        if kind is not str:
            try:
                value = _safe_number(value, name) if kind in _NUMBERS else _made_safe(value, name, 0)
            except _TooDeep:
                continue
        if has_nul:
            value = _without_nul(value)
        if not is_large or len(_encode(value)) <= ATTRIBUTE_BYTES_MAX:
            kept[name] = value
    return kept


def _made_safe(value: Any, name: str, depth: int) -> Any:
    """`value` with numbers that every store and every JSON reader takes, and money as strings."""
    if depth >= ATTRIBUTE_DEPTH_MAX:
        raise _TooDeep
    if type(value) is dict:
        for key, each in value.items():
            kind = type(each)
            if kind is str:
                continue
            if kind in _NUMBERS:
                value[key] = _safe_number(each, key)
            elif kind is dict or kind is list:
                _made_safe(each, key, depth + 1)
    elif type(value) is list:
        for index, each in enumerate(value):
            if type(each) in _NUMBERS:
                value[index] = _safe_number(each, name)
            else:
                _made_safe(each, name, depth + 1)
    return value


def _safe_number(value: Any, name: str) -> Any:
    """An integer of at most 64 bits, a finite float, or the number as it was spelled."""
    if name in MONEY:
        return str(value)
    if type(value) is int:
        return value if -_INT_MAX <= value < _INT_MAX else str(value)
    number = float(value)
    return number if math.isfinite(number) else str(value)


def _without_nul(value: Any) -> Any:
    """`value` without NUL characters, which PostgreSQL cannot hold; its depth is bounded already."""
    if type(value) is str:
        return value.replace("\0", "")
    if type(value) is dict:
        return {key.replace("\0", ""): _without_nul(each) for key, each in value.items()}
    return [_without_nul(each) for each in value] if type(value) is list else value
