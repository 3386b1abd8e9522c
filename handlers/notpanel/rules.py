"""NotPanel's rule on cancelability, from “Cancel”.

A pending order can always be canceled, and is refunded at once. One in flight can be if the catalog has
`cancel=true` for its service: then a request is queued upstream. A terminal one cannot. Time alone changes nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import Field

from app.contract import Order, Phase, Verdict
from app.contract import Rules as BaseRules
from app.kit.arguments import check_no_note, check_text
from app.kit.clauses import clause
from app.kit.verdicts import STATUS_UNCLEAR, final, in_parentheses, is_in, no, status_is_current, unknown, yes
from handlers.notpanel.payload import SERVICE, SERVICE_CANCEL

NOT_STARTED = "not_started"
SERVICE_CANCELABLE = "service_cancelable"
SERVICE_NOT_CANCELABLE = "service_not_cancelable"
SERVICE_UNCLEAR = "service_unclear"
ASSUMED_CANCELABLE = "assumed_cancelable"


class Rules(BaseRules):
    """What this account assumes where NotPanel's answers leave it open."""

    in_flight_without_flag: Literal["unknown", "yes"] = Field(
        "unknown",
        description="The verdict on an order in flight whose service's cancel flag is not known. A cancel is sent "
        "either way, as only the provider's answer can tell; after unknown it is probed first.",
    )


def verdict(order: Order, rules: Rules, now: datetime) -> Verdict:  # noqa: ARG001 - no window closes by time alone
    """May the order be canceled? Total over phases and statuses."""
    status = in_parentheses(order.provider_status if status_is_current(order) else None)
    if is_in(order, Phase.OPEN, NOT_STARTED):
        text = "The order is pending: NotPanel cancels it and refunds it at once, whatever its service."
        return yes(order, NOT_STARTED, text, "phase")
    if is_in(order, Phase.IN_PROGRESS, "in_flight"):
        return _in_flight(order, rules)
    done = f"NotPanel is done with the order{status}; what is missing can be refilled, not canceled."
    text = f"What is known of the order{status} does not tell whether it can be canceled; probe it."
    return final(order, done, "The order is canceled or refunded already.") or unknown(
        order, STATUS_UNCLEAR, text, "phase", "provider_status"
    )


def check(reason: str, note: str | None, rules: Rules) -> None:  # noqa: ARG001 - no rule is about words
    """Raise `InvalidCancel` for a note: NotPanel takes an order's id alone; a reason stays in the log."""
    check_text("reason", reason)
    check_no_note("NotPanel", note)


def _in_flight(order: Order, rules: Rules) -> Verdict:
    service, flag = order.attributes.get(SERVICE), order.attributes.get(SERVICE_CANCEL)
    named = "its service" if service is None else f"service {service}"
    field = f"attributes.{SERVICE_CANCEL}"
    if clause(SERVICE_CANCELABLE, "The order's service supports cancellation.", flag is True, field):
        text = f"The order is in flight, and {named} supports cancellation: a request is queued upstream."
        return yes(order, SERVICE_CANCELABLE, text, "phase", "attributes")
    if clause(SERVICE_NOT_CANCELABLE, "The order's service does not support cancellation.", flag is False, field):
        text = f"The order is in flight, and {named} does not support cancellation."
        return no(order, SERVICE_NOT_CANCELABLE, text, "phase", "attributes")
    text = f"The order is in flight; whether {named} supports cancellation is not known"
    is_assumed = rules.in_flight_without_flag == "yes"
    condition = "The account assumes that services support cancellation."
    if clause(ASSUMED_CANCELABLE, condition, is_assumed, setting="in_flight_without_flag"):
        return yes(order, ASSUMED_CANCELABLE, f"{text}, and is assumed.", "phase")
    return unknown(order, SERVICE_UNCLEAR, f"{text}.", "phase")
