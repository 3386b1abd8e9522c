"""Reading what NotPanel says of an order, in a webhook or in an answer to `status`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from app.contract import Facts, MalformedPayload, Phase
from app.kit.ids import id_or_none
from app.kit.keys import find, first_status
from app.kit.payload import MONEY, Payload, pick_attributes
from handlers.notpanel.config import Config
from handlers.notpanel.words import FINAL, status_phase

SERVICE = "service"
SERVICE_CANCEL = "service_cancel"
"""Ours: the `cancel` flag of the order's service, by the order's own data or by the catalog; null where the catalog
lists no such service."""

ATTRIBUTES = ("charge", "start_count", "remains", "currency", "quantity")
"""What is kept of an order, as the provider spells it, besides its service; the README says what is left out."""

_MONEY = MONEY | {"charge"}
_FLAGS = {"true": True, "1": True, "false": False, "0": False}


def unwrap(body: Payload) -> Payload:
    """`body`, with it what it wraps in `data` and `order`; the inner object outranks the outer."""
    for wrapper in ("data", "order"):
        inner = body.get(wrapper)
        if type(inner) is dict:
            body = {**body, **inner}
    return body


def identify(subject: Payload, config: Config) -> str:
    """The order's id. Raises `MalformedPayload`."""
    for key in config.order_keys:
        value = find(subject, key)
        if value is None or type(value) is dict:
            continue
        id = id_or_none(value)
        if id is None:
            raise MalformedPayload(f"{key} is there, but can be no order's id")
        return id
    raise MalformedPayload(
        f"the body names no order (looked for {', '.join(config.order_keys)}); if it does so elsewhere, set order_keys"
    )


def ids_in(body: Payload, keys: Sequence[str]) -> Iterator[str]:
    """The ids at `keys`."""
    return (id for key in keys if (id := id_or_none(find(body, key))) is not None)


def read_flag(value: Any) -> bool | None:
    """A `cancel` flag, which panels write as true, 1 or in quotes; None where it is none."""
    return _FLAGS.get(str(value).strip().lower())


def facts_of(subject: Payload, event_phase: Phase | None, config: Config, raw: bytes) -> Facts:
    """What is said of the order.

    Args:
        subject: the order object.
        event_phase: the phase by the event's name.
        config: the account's.
        raw: what `subject` was decoded from.
    """
    status, phase = first_status(subject, config.status_keys), event_phase
    by_status = None if status is None else status_phase(status, config.phases)
    # A final status decides, as it is the more exact word; else the event does, which is the newer one.
    if event_phase is None or by_status in FINAL:
        phase = by_status
    attributes = pick_attributes(subject, ATTRIBUTES, raw, _MONEY)
    flags = (read_flag(find(subject, key)) for key in config.flag_keys)
    own = {
        SERVICE: next(ids_in(subject, config.service_keys), None),
        SERVICE_CANCEL: next((flag for flag in flags if flag is not None), None),
    }
    attributes |= {name: value for name, value in own.items() if value is not None}
    return Facts(phase=phase, provider_status=status, attributes=attributes)
