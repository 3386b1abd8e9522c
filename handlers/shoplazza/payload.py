"""Reading Shoplazza's order object, which webhooks, the response to a cancel and the order's details have in common.

It is always the whole order. Its phase depends on several fields, because none of them suffices: an order that
is canceled after payment may have the status `finished`, and only `canceled_at` or `cancel_reason` shows why.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo

from app.contract import Facts, MalformedPayload, Phase
from app.kit.ids import id_or_none, read_id
from app.kit.keys import read_status
from app.kit.payload import Payload, pick_attributes
from app.kit.times import read_time, time_at
from handlers.shoplazza.config import Config
from handlers.shoplazza.words import FULFILLMENT_STATUSES, ORDER_STATUSES, Topic, advance

AMOUNTS = frozenset(
    {
        "total_price",
        "sub_total",
        "total_discount",
        "total_tax",
        "total_shipping",
        "total_paid",
        "total_refund_price",
    }
)
ATTRIBUTES = (
    "id",
    "number",
    "financial_status",
    "fulfillment_status",
    "cancel_reason",
    "payment_method",
    "currency",
    *sorted(AMOUNTS),
    "tags",
    "created_at",
    "placed_at",
    "canceled_at",
    "cancelled_at",
    "deleted_at",
)
"""What is kept of an order, as the provider spells it; the README says what is left out, and why."""

CANCELED_KEYS = ("canceled_at", "cancelled_at")
"""The time of the cancel, as API version 2022-01 and as later versions spell it."""
_DELETED_KEY = "deleted_at"
_MARKS = ("updated_at", *CANCELED_KEYS, _DELETED_KEY)
"""Times of events of the order."""
_TIMES = (*CANCELED_KEYS, _DELETED_KEY, "placed_at", "created_at")

_FIRST_YEAR = 1971
"""Earlier times stand for none: some programs write the year 1, or the unix time 0."""


def unwrap(body: Payload) -> Payload:
    """The order in `body`: what it wraps in `order` (later versions: in `data` besides), or the body itself."""
    for wrapper in ("data", "order"):
        inner = body.get(wrapper)
        if type(inner) is dict:
            body = inner
    return body


def identify(order: Payload) -> str:
    """The order's id. Raises `MalformedPayload`."""
    id = read_id(order, "id")
    if id is None:
        raise MalformedPayload("the body names no order: there is no id, neither in order nor at the top")
    return id


def facts_of(order: Payload, topic: Topic | None, config: Config, raw: bytes) -> Facts:
    """What the order object states; `topic` brought it, if a webhook did, and `raw` is what it was decoded from.

    Raises `MalformedPayload` for a time that is none: whether an order is canceled must not be guessed.
    """
    phase = _phase(topic, stated_phase(order))
    opened_at = _meant(read_time(order.get("created_at"), config.zone))
    number = id_or_none(order.get("number")) if config.number_is_alias else None
    for key in _TIMES:
        if key in order and _meant(read_time(order[key], config.zone)) is None:
            del order[key]
    return Facts(
        phase=phase,
        provider_status=read_status(order.get("status")),
        opened_at=opened_at,
        attributes=pick_attributes(order, ATTRIBUTES, raw, AMOUNTS),
        shared_aliases=() if number is None or number == id_or_none(order.get("id")) else (number,),
    )


def stated_phase(order: Payload) -> Phase | None:
    """The phase by the order's own fields; None without status and fulfillment. Raises `MalformedPayload`."""
    status, fulfillment = read_status(order.get("status")), read_status(order.get("fulfillment_status"))
    by_status = None if status is None else ORDER_STATUSES.get(status, Phase.UNKNOWN)
    if by_status is Phase.CANCELED or any(time_in(order, key, None) for key in CANCELED_KEYS):
        return Phase.CANCELED
    reason = read_status(order.get("cancel_reason"))
    has_reason = reason is not None and bool(reason.strip())
    if by_status is Phase.COMPLETED:
        return Phase.CANCELED if has_reason else Phase.COMPLETED
    if time_in(order, _DELETED_KEY, None):
        return Phase.COMPLETED
    if by_status is None and fulfillment is None:
        return None
    by_fulfillment = None if fulfillment is None else FULFILLMENT_STATUSES.get(fulfillment, Phase.UNKNOWN)
    if has_reason or Phase.UNKNOWN in (by_status, by_fulfillment):
        # With a reason, but neither a time nor a status that says so, the cancel may be under way.
        return Phase.UNKNOWN
    return by_fulfillment or by_status


def occurred_at(order: Payload, phase: Phase | None, config: Config) -> datetime | None:
    """When the event happened, by the order's times; None if it states none. Raises `MalformedPayload`.

    Shoplazza's times are whole seconds, and several webhooks may share one. Of those the most advanced counts as the
    latest: it is better to refuse a cancel that might have worked than to send one in vain.
    """
    marks = [moment for key in _MARKS if (moment := time_in(order, key, config.zone)) is not None]
    # A time without an offset cannot be compared with the others.
    naive = next((moment for moment in marks if moment.tzinfo is None), None)
    moment = naive or (max(marks) if marks else time_in(order, "created_at", config.zone))
    if moment is None or moment.microsecond or phase is None:
        return moment
    progress = advance(phase, read_status(order.get("status")), read_status(order.get("fulfillment_status")))
    return moment + timedelta(microseconds=progress)


def time_in(order: Payload, key: str, zone: tzinfo | None) -> datetime | None:
    """The time at `key`, None if none is there; `zone` is that of times without an offset.

    Raises `MalformedPayload` for what is no time.
    """
    return None if order.get(key) == "" else _meant(time_at(order, key, zone))


def _meant(moment: datetime | None) -> datetime | None:
    """`moment`; None for one that stands for no time."""
    return moment if moment is not None and moment.year >= _FIRST_YEAR else None


def _phase(topic: Topic | None, stated: Phase | None) -> Phase | None:
    """The phase by the body (`stated`) and the topic: unknown where they contradict, as only the body is signed.

    A deletion is believed, as the object of a deleted order need not show it.
    """
    if topic is None:
        return stated
    match topic.phase:
        case Phase.CANCELED:
            return Phase.UNKNOWN if stated in (Phase.OPEN, Phase.IN_PROGRESS) else Phase.CANCELED
        case Phase.COMPLETED if topic.type == "order.deleted":
            return Phase.CANCELED if stated is Phase.CANCELED else Phase.COMPLETED
        case Phase.COMPLETED:
            return stated if stated in (Phase.COMPLETED, Phase.CANCELED) else Phase.UNKNOWN
        case Phase.IN_PROGRESS:
            return Phase.UNKNOWN if stated in (None, Phase.OPEN) else stated
    return stated or topic.phase or Phase.UNKNOWN
