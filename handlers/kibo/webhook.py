"""Parse Kibo's event notifications. They are thin: an id, a topic, and the id of an order, shipment or payment."""

from __future__ import annotations

from typing import Any

from app.contract import Facts, Ignored, InboundRequest, MalformedPayload, Parsed, ParsedEvent, Phase, Unrecognized
from app.kit.excerpts import NAME_CHARS_MAX, shown
from app.kit.ids import id_or_none, read_id
from app.kit.keys import read_status
from app.kit.payload import Payload, decode
from app.kit.times import first_time
from handlers.kibo.config import Config
from handlers.kibo.payload import entity_name
from handlers.kibo.words import EVENT_TOPICS, EVENT_TYPES, FAMILIES, RETURNS, SILENT_TOPICS, TITLE

TENANT_HEADER = "x-vol-tenant"

_TIME_KEYS = ("timestamp",)
_SHIPMENT_PROPERTIES = ("newState", "oldState", "newStatus", "oldStatus")
"""The properties of a shipment that are stored; their keys are matched without case."""


def parse(request: InboundRequest, config: Config) -> Parsed:
    """The one event that a webhook carries. Raises `MalformedPayload`.

    Its `eventId`, with or without dashes, is the event's key: Kibo resends until it is answered 200.
    """
    raw = request.body
    body = decode(raw, TITLE)
    topic = _topic(body)
    family = topic.partition(".")[0]
    if family not in FAMILIES and family in config.ignored_families:
        return Ignored(f"{topic[:NAME_CHARS_MAX]} is not about an order")
    tenant = request.headers.get(TENANT_HEADER)
    if tenant and _bare(tenant) != _bare(config.tenant):
        # One application's secret signs for every tenant that installed it.
        return Ignored(f"it is about tenant {shown(tenant)}, and the account is tenant {config.tenant}'s")
    is_test = body.get("isTest") is True
    if is_test and not config.accept_test_events:
        return Ignored("it is a test (isTest), and accept_test_events of the account is off")
    is_silent = topic in SILENT_TOPICS or family == RETURNS
    if not is_silent and topic not in EVENT_TOPICS and topic not in config.probed_topics:
        return Unrecognized(
            f"Kibo documents no topic {shown(topic)}; if it may move an order, add it to probed_topics, "
            "and if its family is not about orders, to ignored_families"
        )
    properties = _properties(body)
    order = _order(body, family, properties)
    if order is None:
        return Ignored(f"this {topic} names no order (extendedProperties has no orderId)")
    attributes: dict[str, Any] = {"isTest": True} if is_test else {}
    if family == "shipment" and (shipment := _shipment(body, properties)):
        attributes["shipment"] = shipment
    phase = None if is_silent else EVENT_TOPICS.get(topic, Phase.UNKNOWN)
    facts = Facts(phase=phase, attributes=attributes)
    occurred_at = first_time(body, _TIME_KEYS, config.zone)
    return (ParsedEvent(order, EVENT_TYPES.get(topic, topic), _key(body, raw), facts, occurred_at),)


def _topic(body: Payload) -> str:
    topic = body.get("topic")
    if type(topic) is not str or not topic.strip():
        raise MalformedPayload("the body names no topic")
    return topic.strip().lower()


def _bare(tenant: str) -> str:
    """A tenant's id without the `t` that stands before its number in some of Kibo's host names."""
    name = tenant.strip().lower()
    number = name.removeprefix("t")
    return number if number.isdecimal() else name


def _properties(body: Payload) -> dict[str, Any]:
    """`extendedProperties` by key in lower case: Kibo writes `newState` and `newstate`."""
    listed = body.get("extendedProperties")
    if type(listed) is not list:
        return {}
    items = [item for item in listed if type(item) is dict and type(item.get("key")) is str]
    return {item["key"].lower(): item.get("value") for item in items}


def _order(body: Payload, family: str, properties: dict[str, Any]) -> str | None:
    """The order's name: the entity of an order's event, else a property. Raises `MalformedPayload`."""
    if family == "order":
        name = read_id(body, "entityId")
        if name is None:
            raise MalformedPayload("the body names no order: entityId is not there")
        return entity_name(name)
    name = id_or_none(properties.get("orderid"))
    if name is None and family == "shipment":
        raise MalformedPayload("the body names no order: extendedProperties has no orderId that can be one")
    return None if name is None else entity_name(name)


def _shipment(body: Payload, properties: dict[str, Any]) -> dict[str, str]:
    """The shipment that the event is about, with its old and new states."""
    states = {name: read_status(properties.get(name.lower())) for name in _SHIPMENT_PROPERTIES}
    return {name: value for name, value in {"entityId": id_or_none(body.get("entityId")), **states}.items() if value}


def _key(body: Payload, raw: bytes) -> bytes:
    event_id = body.get("eventId")
    if type(event_id) is not str or not event_id.strip():
        # Without an id the body is the key: a resend has the same body.
        return raw
    return event_id.strip().replace("-", "").lower().encode("utf-8", "surrogatepass")
