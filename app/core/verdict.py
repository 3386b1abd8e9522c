"""The verdict on an order: the handler's, made total, with the reasons that are the same for all providers."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from app.contract import Cancelable, Handler, Order, Phase, Verdict
from app.kit.clauses import clause
from app.kit.verdicts import ALREADY_CANCELED, is_in

NEVER_SEEN = "never_seen"
RULE_FAILED = "rule_failed"
STALE = "stale"
NOT_OFFERED = "cancel_not_offered"
_CHANGES_MAX = 8
"""Changes of a verdict that are looked ahead at most."""


def judge(handler: Handler, rules: Any, order: Order, now: datetime, stale_after_s: float | None = None) -> Verdict:
    """May `order` be canceled at `now`, under the account's `rules`? Never raises.

    A `yes` whose newest evidence is older than `stale_after_s` is `unknown`: a window may have closed without an
    event, but a `no` does not become a `yes` by itself. An error in a handler's rule must neither stop ingest nor count
    as `no`: it is `unknown`.
    """
    if clause(NEVER_SEEN, "No event of the order has been received.", not order.version):
        return Verdict(
            Cancelable.UNKNOWN, NEVER_SEEN, "No event of this order has been received, and it has not been probed."
        )
    if is_in(order, Phase.CANCELED, ALREADY_CANCELED):
        return Verdict(Cancelable.NO, ALREADY_CANCELED, "The order is canceled already.", order.evidence("phase"))
    try:
        verdict = handler.verdict(order, rules, now)
    except Exception as error:  # noqa: BLE001 - a handler may fail in any way
        return Verdict(
            Cancelable.UNKNOWN,
            RULE_FAILED,
            f"The rule of handler {handler.name} failed on this order ({_words(error)}); "
            "nothing is known until the handler is fixed.",
            order.evidence(*order.sources),
        )
    if stale_after_s is not None and verdict.cancelable is Cancelable.YES and order.last_event_at is not None:
        return _while_fresh(verdict, order, order.last_event_at + timedelta(seconds=stale_after_s), now)
    return verdict


def closes_at(
    handler: Handler, rules: Any, order: Order, now: datetime, judged: Verdict | None = None
) -> datetime | None:
    """When time alone closes the window of an order that can be canceled at `now`; None: never, as far as is known.

    The age of the evidence plays no part: it closes no window. `judged` is the verdict at `now`, if known already.
    """
    verdict = judged or judge(handler, rules, order, now)
    for _ in range(_CHANGES_MAX):
        if verdict.cancelable is Cancelable.NO or verdict.changes_at is None:
            return None
        moment, now = verdict.changes_at, verdict.changes_at
        verdict = judge(handler, rules, order, moment)
        if verdict.cancelable is Cancelable.NO:
            return moment
    return None


def _while_fresh(verdict: Verdict, order: Order, until: datetime, now: datetime) -> Verdict:
    text = "What was last heard of the order is too long ago to rely on (`stale_after`)."
    if not clause(STALE, text, now >= until, "last_event_at", "now"):
        return replace(verdict, changes_at=until if verdict.changes_at is None else min(until, verdict.changes_at))
    heard = order.last_event_at.isoformat(timespec="seconds") if order.last_event_at else "its first event"
    return Verdict(
        Cancelable.UNKNOWN,
        STALE,
        f"By what was last heard of it ({heard}) it could be canceled, but that is too long ago to rely on.",
        order.evidence(*order.sources),
    )


def _words(error: Exception) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even an error's own text may fail
        return type(error).__name__
