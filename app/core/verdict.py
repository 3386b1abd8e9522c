"""The verdict on an order: the handler's, made total and given the reasons that are the same everywhere."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from app.contract import Cancelable, Handler, Order, Phase, Verdict

NEVER_SEEN = "never_seen"
ALREADY_CANCELED = "already_canceled"
COMPLETED = "completed"
RULE_FAILED = "rule_failed"


def judge(handler: Handler, rules: Any, order: Order, now: datetime) -> Verdict:
    """May `order` be canceled at `now`, under the account's `rules`? Never raises.

    An error in a handler's rule must neither stop events from coming in nor pass for a `no`: it is `unknown`.
    """
    if not order.version:
        return Verdict(
            Cancelable.UNKNOWN, NEVER_SEEN, "No event of this order has been received, and it has not been probed."
        )
    if order.phase is Phase.CANCELED:
        return Verdict(Cancelable.NO, ALREADY_CANCELED, "The order is canceled already.", order.evidence("phase"))
    try:
        return handler.verdict(order, rules, now)
    except Exception as error:  # noqa: BLE001 - a handler may fail in any way
        return Verdict(
            Cancelable.UNKNOWN,
            RULE_FAILED,
            f"The rule of handler {handler.name} failed on this order ({_words(error)}); "
            "nothing can be said until the handler is mended.",
            order.evidence(*order.sources),
        )


def _words(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even an error's own text may fail
        return type(error).__name__
