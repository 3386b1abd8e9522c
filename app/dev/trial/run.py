"""A trial: webhooks as an endpoint would take them, the orders that they make, and the calls that would cancel them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from app.config.resolve import Account, Endpoint
from app.core.event import TICK
from app.core.representation import Verdict
from app.core.unit_of_work import UnitOfWork
from app.dev.trial.calls import GivenAnswer
from app.dev.trial.flows import try_cancel, try_probe
from app.dev.trial.keys import KeyAnswer
from app.dev.trial.mask import Mask
from app.dev.trial.orders import TrialOrders, unheard
from app.dev.trial.report import Trial, TrialFlow, TrialOrder, TrialWebhook
from app.dev.trial.source import TrialSource
from app.dev.trial.webhooks import Given, quarantine, receive

_REFUSED = 400


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be tried besides the webhooks."""

    now: datetime
    order: str | None = None
    """Only this order, whether or not a webhook speaks of it; by default all that webhooks speak of."""
    reason: str | None = None
    note: str | None = None
    answers: Sequence[GivenAnswer] = ()
    """Responses to the calls of `flow`; with some, nothing else is called."""
    flow: Literal["cancel", "probe", "token"] = "cancel"
    """`token`: of the cancel, but from its call for a token on, which is otherwise answered by a stand-in."""
    keys: Sequence[KeyAnswer] = ()
    """What the source answers at the URLs of its public keys."""
    notes: Sequence[str] = ()
    """For the report."""


def run(source: TrialSource, endpoint: Endpoint, webhooks: Sequence[Given], wanted: Wanted) -> Trial:
    """Try webhooks one after another, then each order. Nothing is stored, and nothing is sent."""
    account = endpoint.account
    orders, results = TrialOrders(account), list[TrialWebhook]()
    now = wanted.now
    for number, given in enumerate(webhooks):
        # Times of receipt differ, as they do on a server.
        now = wanted.now + number * 2 * TICK
        result, commands = receive(endpoint, given, now, wanted.keys)
        repeated, clash = orders.record(commands)
        if clash:
            quarantine(endpoint, result, clash, "not_recorded")
            result.events = []
        for event in result.events:
            event.duplicate = event.id in repeated
        if result.events and all(event.duplicate for event in result.events):
            result.status = "duplicate"
        results.append(result)
    units = orders.units(now)
    if wanted.order is not None:
        units = [unit for unit in units if wanted.order in _names(unit)] or [unheard(account, wanted.order, now)]
    shown = [_order(endpoint, unit, wanted) for unit in units]
    failure = _first_failure(results, shown)
    return Trial(
        ok=not failure,
        failure=failure,
        source=source.name,
        endpoint=endpoint.spec.id,
        account=account.spec.id,
        provider=account.handler.title,
        at=wanted.now,
        webhooks=results,
        orders=shown,
        notes=[*account.warnings, *_notes(source), *wanted.notes],
    )


def _notes(source: TrialSource) -> list[str]:
    return [f"{name} is not set: the recipe's example stands in for it" for name in source.examples]


def _names(unit: UnitOfWork) -> set[str]:
    order = unit.aggregate.order
    return {order.id, *order.aliases, *order.shared_aliases}


def _order(endpoint: Endpoint, unit: UnitOfWork, wanted: Wanted) -> TrialOrder:
    account, mask, order = endpoint.account, Mask(endpoint), unit.aggregate.order
    verdict = unit.verdict()
    then = None
    if verdict.changes_at is not None:
        then = Verdict.of(account.view.judge(order, verdict.changes_at), verdict.changes_at)
    fields = msgspec.to_builtins(order)
    return TrialOrder(
        id=order.id,
        phase=order.phase,
        order=mask.value(fields),  # type: ignore[arg-type]
        verdict=Verdict.of(verdict, unit.now),
        closes_at=unit.closes_at(),
        then=then,
        cancel=_cancel(account, unit, wanted, mask),
        probe=try_probe(account, unit, wanted.answers, mask) if wanted.flow == "probe" or not wanted.answers else None,
    )


def _cancel(account: Account, unit: UnitOfWork, wanted: Wanted, mask: Mask) -> TrialFlow | None:
    if wanted.flow == "probe" and wanted.answers:
        return None
    words, stands_in = (wanted.reason, wanted.note), wanted.flow != "token"
    return try_cancel(account, unit, words, wanted.answers, mask, token_stands_in=stands_in)


def _first_failure(webhooks: Sequence[TrialWebhook], orders: Sequence[TrialOrder]) -> str:
    for webhook in webhooks:
        if webhook.status == "refused":
            is_unproven = webhook.proof is not None and not webhook.proof.ok
            why = f"it is not verified: {webhook.proof.detail}" if webhook.proof and is_unproven else webhook.reason
            return f"{webhook.name}: {why}"
        if webhook.status == "handshake" and webhook.http_status >= _REFUSED:
            return f"{webhook.name}: the handshake is refused with {webhook.http_status}"
        if webhook.status == "quarantined":
            return f"{webhook.name}: it goes to quarantine: {webhook.reason}"
    for order in orders:
        for name, flow in (("cancel", order.cancel), ("probe", order.probe)):
            if flow is not None and not flow.ok:
                return f"order {order.id}: {name}: {flow.problem}"
    return ""
