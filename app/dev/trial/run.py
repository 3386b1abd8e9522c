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
    """Responses to the calls of `flow`; with some, nothing else is called but the cancel after an answered probe."""
    flow: Literal["cancel", "probe", "token"] = "cancel"
    """`token`: of the cancel, but from its call for a token on, which is otherwise answered by a stand-in."""
    answers_tokens: bool = False
    """Whether `answers` has the responses to the calls for tokens too, which a stand-in answers otherwise."""
    keys: Sequence[KeyAnswer] = ()
    """What the source answers at the URLs of its public keys."""
    notes: Sequence[str] = ()
    """For the report."""


def run(source: TrialSource, target: Endpoint | Account, webhooks: Sequence[Given], wanted: Wanted) -> Trial:
    """Try webhooks one after another, then each order. Nothing is stored, and nothing is sent.

    An account stands for itself where it has no endpoint: it gets no webhooks.
    """
    endpoint, account = (None, target) if isinstance(target, Account) else (target, target.account)
    orders = TrialOrders(account)
    results = [] if endpoint is None else _receive(endpoint, webhooks, wanted, orders)
    # Times of receipt differ, as they do on a server.
    now = wanted.now + max(0, len(results) - 1) * 2 * TICK
    units = orders.units(now)
    if wanted.order is not None:
        units = [unit for unit in units if wanted.order in _names(unit)] or [unheard(account, wanted.order, now)]
    shown = [_order(account, unit, wanted, Mask(target)) for unit in units]
    failure = _first_failure(results, shown)
    warned = account.warnings if endpoint is None else (*account.warnings, *endpoint.warnings)
    return Trial(
        ok=not failure,
        failure=failure,
        source=source.name,
        endpoint=endpoint.spec.id if endpoint is not None else "",
        account=account.spec.id,
        provider=account.handler.title,
        at=wanted.now,
        webhooks=results,
        orders=shown,
        notes=[
            *warned,
            *_notes(source),
            *_notes_on_polling(endpoint, account, wanted),
            *_notes_on_fixtures(webhooks),
            *wanted.notes,
        ],
    )


def _receive(endpoint: Endpoint, webhooks: Sequence[Given], wanted: Wanted, orders: TrialOrders) -> list[TrialWebhook]:
    """What becomes of the webhooks, one after another; their events are recorded in `orders`."""
    results = list[TrialWebhook]()
    for number, given in enumerate(webhooks):
        result, commands = receive(endpoint, given, wanted.now + number * 2 * TICK, wanted.keys)
        repeated, clash = orders.record(commands)
        if clash:
            quarantine(endpoint, result, clash, "not_recorded")
            result.events = []
        for event in result.events:
            event.duplicate = event.id in repeated
        if result.events and all(event.duplicate for event in result.events):
            result.status = "duplicate"
        results.append(result)
    return results


def _notes(source: TrialSource) -> list[str]:
    return [f"{name} is not set: the recipe's example stands in for it" for name in source.examples]


def _notes_on_polling(endpoint: Endpoint | None, account: Account, wanted: Wanted) -> list[str]:
    """How an account without an endpoint hears of its orders, and how to try that."""
    if endpoint is not None:
        return []
    polled = account.spec.polling
    how = f"its orders are polled every {polled.every_s:g} s" if polled is not None else "it is not polled either"
    cure = "" if wanted.flow == "probe" and wanted.answers else "; --flow probe --answer FILE tries what a poll shows"
    return [f"no endpoint takes webhooks for the account: {how}{cure}"]


def _notes_on_fixtures(webhooks: Sequence[Given]) -> list[str]:
    """Which bodies are a recipe's fixtures, that is, documents about a webhook."""
    return [
        f"{one.name} looks like a recipe's fixture: save what stands under request.body as a file, and give that"
        for one in webhooks
        if one.looks_like_fixture
    ]


def _names(unit: UnitOfWork) -> set[str]:
    order = unit.aggregate.order
    return {order.id, *order.aliases, *order.shared_aliases}


def _order(account: Account, unit: UnitOfWork, wanted: Wanted, mask: Mask) -> TrialOrder:
    order = unit.aggregate.order
    cancel: TrialFlow | None
    probe: TrialFlow | None
    words = wanted.reason, wanted.note
    if wanted.flow == "probe" and wanted.answers:
        stands_in = not wanted.answers_tokens
        probe, after = try_probe(account, unit, wanted.answers, mask, token_stands_in=stands_in)
        cancel = None if after is None else try_cancel(account, after, words, (), mask)
    else:
        stands_in = wanted.flow != "token" and not wanted.answers_tokens
        cancel = try_cancel(account, unit, words, wanted.answers, mask, token_stands_in=stands_in)
        probe = try_probe(account, unit, (), mask)[0] if wanted.flow == "probe" or not wanted.answers else None
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
        cancel=cancel,
        probe=probe,
        probed_first=wanted.flow == "probe" and bool(wanted.answers),
    )


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
        for name, flow in order.flows:
            if flow is not None and not flow.ok:
                return f"order {order.id}: {name}: {flow.problem}"
    return ""
