"""NotPanel's rule on cancelability, from “Cancel”.

A pending order can always be canceled, and is refunded at once. One in flight can be if the catalog has
`cancel=true` for its service: then a request is queued upstream. A terminal one cannot. Time alone changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.contract import Cancelable, Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_no_note, check_text
from app.kit.verdicts import ALREADY_CANCELED, COMPLETED
from handlers.notpanel.payload import SERVICE, SERVICE_CANCEL

NOT_STARTED = "not_started"
SERVICE_CANCELABLE = "service_cancelable"
SERVICE_NOT_CANCELABLE = "service_not_cancelable"
SERVICE_UNCLEAR = "service_unclear"
ASSUMED_CANCELABLE = "assumed_cancelable"
STATUS_UNCLEAR = "status_unclear"


class Rules(BaseRules):
    """What this account assumes where NotPanel's answers leave it open."""

    in_flight_without_flag: Literal["unknown", "yes"] = Field(
        "unknown",
        description="The verdict on an order in flight whose service's cancel flag is not known. A cancel is sent "
        "either way, as only the provider's answer can tell; after unknown it is probed first.",
    )


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses."""
    match order.phase:
        case Phase.CANCELED:
            return _verdict(order, Cancelable.NO, ALREADY_CANCELED, "The order is canceled or refunded already.")
        case Phase.COMPLETED:
            text = f"NotPanel is done with the order{_in_words(order)}; what is missing can be refilled, not canceled."
            return _verdict(order, Cancelable.NO, COMPLETED, text)
        case Phase.OPEN:
            text = "The order is pending: NotPanel cancels it and refunds it at once, whatever its service."
            return _verdict(order, Cancelable.YES, NOT_STARTED, text)
        case Phase.IN_PROGRESS:
            return _in_flight(order, rules)
    text = f"What is known of the order{_in_words(order)} does not tell whether it can be canceled; probe it."
    return _verdict(order, Cancelable.UNKNOWN, STATUS_UNCLEAR, text, "provider_status")


def check(reason: str, note: str | None, rules: Rules) -> None:  # noqa: ARG001 - no rule is about words
    """Raise `InvalidCancel` for a note: NotPanel takes an order's id alone; a reason stays in the log."""
    check_text("reason", reason)
    check_no_note("NotPanel", note)


def _in_flight(order: Order, rules: Rules) -> Verdict:
    service = order.attributes.get(SERVICE)
    named = f"service {service}" if service is not None else "its service"
    flag = order.attributes.get(SERVICE_CANCEL)
    if flag is True:
        text = f"The order is in flight, and {named} supports cancellation: a request is queued upstream."
        return _verdict(order, Cancelable.YES, SERVICE_CANCELABLE, text, "attributes")
    if flag is False:
        text = f"The order is in flight, and {named} does not support cancellation."
        return _verdict(order, Cancelable.NO, SERVICE_NOT_CANCELABLE, text, "attributes")
    if rules.in_flight_without_flag == "yes":
        text = f"The order is in flight; whether {named} supports cancellation is not known, and is assumed."
        return _verdict(order, Cancelable.YES, ASSUMED_CANCELABLE, text)
    text = f"The order is in flight, and whether {named} supports cancellation is not known."
    return _verdict(order, Cancelable.UNKNOWN, SERVICE_UNCLEAR, text)


def _in_words(order: Order) -> str:
    status = order.provider_status
    # A status that came before the event that set the phase is not the present one.
    of_one_event = order.sources.get("phase") == order.sources.get("provider_status")
    return f" (status {status})" if status and of_one_event else ""


def _verdict(order: Order, cancelable: Cancelable, reason: str, explanation: str, *fields: str) -> Verdict:
    return Verdict(cancelable, reason, explanation, order.evidence("phase", *fields))
