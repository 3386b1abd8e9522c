"""Reading what NotPanel says of an order, in a webhook and in an answer to `status` alike."""

from __future__ import annotations

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
_WRAPPERS = ("data", "order")


def unwrap(body: Payload) -> Payload:
    """`body`, with it what it wraps in `data` and `order`; the inner object outranks the outer."""
    for wrapper in _WRAPPERS:
        inner = body.get(wrapper)
        if type(inner) is dict:
            body = {**body, **inner}
    return body


def identify(subject: Payload, config: Config) -> str:
    """What the order is called. Raises `MalformedPayload`."""
    for key in config.order_keys:
        value = find(subject, key)
        if value is None or type(value) is dict:
            continue
        name = id_or_none(value)
        if name is None:
            raise MalformedPayload(f"{key} is there, but can be no order's id")
        return name
    raise MalformedPayload(
        f"the body names no order (looked for {', '.join(config.order_keys)}); if it does so elsewhere, set order_keys"
    )


def status_in(subject: Payload, config: Config) -> str | None:
    """The order's status in the provider's word, if it states one."""
    return first_status(subject, config.status_keys)


def phase_of(status: str | None, said: Phase | None, config: Config) -> Phase | None:
    """The phase by a status and by an event's name (`said`).

    A final status decides, as it is the more exact word; else the event does, which is the newer one.
    """
    by_status = None if status is None else status_phase(status, config.phases)
    return by_status if said is None or by_status in FINAL else said


def attributes_of(subject: Payload, config: Config, raw: bytes) -> dict[str, Any]:
    """What is kept of the order; `raw` is what `subject` was decoded from."""
    found = pick_attributes(subject, ATTRIBUTES, raw, _MONEY)
    service = next((name for key in config.service_keys if (name := id_or_none(find(subject, key))) is not None), None)
    if service is not None:
        found[SERVICE] = service
    flag = next((flag for key in config.flag_keys if (flag := flag_in(find(subject, key))) is not None), None)
    if flag is not None:
        found[SERVICE_CANCEL] = flag
    return found


def flag_in(value: Any) -> bool | None:
    """A `cancel` flag, which panels write as true, 1 or in quotes; None where it is none."""
    return _FLAGS.get(str(value).strip().lower())


def facts_of(subject: Payload, status: str | None, said: Phase | None, config: Config, raw: bytes) -> Facts:
    """What is said of the order."""
    return Facts(
        phase=phase_of(status, said, config),
        provider_status=status,
        attributes=attributes_of(subject, config, raw),
    )
