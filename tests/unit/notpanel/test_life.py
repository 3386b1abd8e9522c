"""Whole lives: the core's own cancellations, through this handler's flows, against the simulator."""

from __future__ import annotations

from typing import Any

import pytest
from contract.handler_cases import converse
from unit.core import support
from unit.core.book import Book
from unit.core.support import T0
from unit.notpanel.support import CONFIG, provider, summary

from app.contract import (
    Cancelable,
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Order,
    Phase,
    ProbeUnavailable,
)
from app.core.aggregate import JobKind, OrderAggregate
from app.core.cancellation import State
from app.core.unit_of_work import AccountView, UnitOfWork
from handlers.notpanel import HANDLER
from handlers.notpanel.cancel import cancel
from handlers.notpanel.probe import probe
from handlers.notpanel.rules import Rules
from handlers.notpanel.simulator import NotPanel

ORDER = support.ORDER


class Life:
    """One order at the simulated provider, and its case here."""

    def __init__(self, status: str, **options: Any) -> None:
        self.provider = provider(show_service=True, **options)
        self.provider.act({"do": "create_order", "order_id": ORDER, "status": status}, 0)
        self.book = Book(HANDLER)
        self.book.account = AccountView(support.ACCOUNT, HANDLER, Rules())
        self.book.unit = UnitOfWork(OrderAggregate(Order(support.ACCOUNT, ORDER)), self.book.account, T0)
        self.memory: dict[str, Any] = {}

    def act(self, do: str, **more: Any) -> None:
        self.provider.act({"do": do, "order_id": ORDER, **more}, self.now)

    @property
    def now(self) -> float:
        return self.book.unit.now.timestamp()

    @property
    def state(self) -> State:
        return self.book.cancellation.state

    @property
    def verdict(self) -> tuple[Cancelable, str]:
        found = self.book.unit.verdict()
        return found.cancelable, found.reason

    def request_cancel(self) -> None:
        self.book.request_cancel(10)

    def step(self, *, lose: bool = False) -> JobKind:
        """Carry out the next job; with `lose` its answer does not come."""
        kind = self.book.job().kind
        if kind is JobKind.CANCEL:
            granted = self.book.send()
            flow_context = Context(self.book.unit.now, "n", self.memory)
            flow = cancel([CancelRequest(granted.order, "because")], CONFIG, flow_context)
            if lose:
                self.provider.handle(next(flow), self.now)
                self.book.answer(CancelResult(CancelOutcome.INDETERMINATE, "No answer came."))
                return kind
            [result] = converse(flow, self.provider, self.now)
            # A call takes its time: what it tells is newer than what was known before.
            self.book.answer(result, (self.book.unit.now - T0).total_seconds() + 0.1)
            return kind
        granted = self.book.ask()
        flow_context = Context(self.book.unit.now, "n", self.memory)
        [found] = converse(probe([granted.order], CONFIG, flow_context), self.provider, self.now)
        if isinstance(found, ProbeUnavailable):
            self.book.fail_to_tell(found.outcome, found.after_s)
        else:
            self.book.tell(found)
        return kind

    def walk(self, *kinds: JobKind) -> None:
        for kind in kinds:
            assert self.step() is kind


CANCEL, PROBE = JobKind.CANCEL, JobKind.PROBE


def test_a_pending_order_is_probed_canceled_and_seen_to_be_canceled() -> None:
    life = Life("pending")
    life.request_cancel()
    life.walk(PROBE)
    assert life.verdict == (Cancelable.YES, "not_started")
    life.walk(CANCEL)
    assert life.state is State.ACCEPTED
    life.walk(PROBE)
    assert life.state is State.SUCCEEDED
    assert life.book.aggregate.order.provider_status == "cancelled"
    assert summary(life.provider, ORDER)["cancel_effects"] == 1


@pytest.mark.parametrize(
    ("end", "state", "phase"),
    [
        ({"do": "settle"}, State.SUCCEEDED, Phase.CANCELED),
        ({"do": "settle", "status": "refunded"}, State.SUCCEEDED, Phase.CANCELED),
        ({"do": "settle", "status": "partial", "remains": 10}, State.REFUSED, Phase.COMPLETED),
        ({"do": "complete"}, State.REFUSED, Phase.COMPLETED),
        ({"do": "fail"}, State.ACCEPTED, Phase.UNKNOWN),
    ],
)
def test_an_order_in_flight_is_asked_for_until_upstream_has_decided(
    end: dict[str, Any], state: State, phase: Phase
) -> None:
    life = Life("in_progress")
    life.request_cancel()
    life.walk(PROBE)
    assert life.verdict == (Cancelable.YES, "service_cancelable")
    life.walk(CANCEL, PROBE, PROBE)
    assert life.state is State.ACCEPTED
    life.act(**end)
    life.walk(PROBE)
    assert (life.state, life.book.aggregate.order.phase) == (state, phase)
    assert summary(life.provider, ORDER)["cancel_calls"] == 1


def test_an_order_that_went_in_flight_unheard_is_not_taken_for_canceled() -> None:
    life = Life("pending")
    life.request_cancel()
    life.walk(PROBE)
    life.act("start")
    life.walk(CANCEL, PROBE)
    assert (life.state, life.book.aggregate.order.phase) == (State.ACCEPTED, Phase.IN_PROGRESS)


def test_a_service_that_went_without_cancellation_is_found_out_by_the_refusal() -> None:
    life = Life("in_progress")
    life.request_cancel()
    life.walk(PROBE)
    life.provider.act({"do": "set_service", "service": 1, "cancel": False}, 0)
    life.walk(CANCEL)
    assert life.state is State.REFUSED
    assert life.verdict == (Cancelable.NO, "service_not_cancelable")


def test_an_order_completed_meanwhile_is_refused_and_known_to_be_completed() -> None:
    life = Life("in_progress")
    life.request_cancel()
    life.walk(PROBE)
    life.act("complete")
    life.walk(CANCEL)
    assert life.state is State.REFUSED
    assert life.verdict == (Cancelable.NO, "completed")
    assert life.book.aggregate.pending_probe is None


def test_a_lost_answer_about_a_pending_order_is_settled_by_the_probe() -> None:
    life = Life("pending")
    life.request_cancel()
    life.walk(PROBE)
    assert life.step(lose=True) is CANCEL
    assert life.state is State.INDETERMINATE
    life.walk(PROBE)
    assert life.state is State.SUCCEEDED
    assert summary(life.provider, ORDER)["cancel_calls"] == 1


def test_a_crash_that_took_effect_is_not_a_refusal() -> None:
    life = Life("pending")
    life.request_cancel()
    life.walk(PROBE)
    life.provider.act({"do": "crash", "takes_effect": True}, 0)
    life.walk(CANCEL)
    assert life.state is State.SCHEDULED
    life.walk(CANCEL)
    # “already cancelled” after a call that may have worked: it did.
    assert life.state is State.SUCCEEDED
    assert summary(life.provider, ORDER)["cancel_effects"] == 1


def test_an_order_that_notpanel_does_not_know_is_refused() -> None:
    life = Life("pending")
    life.provider = NotPanel()
    life.request_cancel()
    life.walk(PROBE)
    assert life.state is State.REFUSED


def test_without_its_service_the_answer_decides() -> None:
    life = Life("in_progress")
    life.provider = provider()
    life.provider.act({"do": "create_order", "order_id": ORDER, "status": "in_progress", "service": 2}, 0)
    life.request_cancel()
    life.walk(PROBE)
    assert life.verdict == (Cancelable.UNKNOWN, "service_unclear")
    life.walk(CANCEL)
    assert life.state is State.REFUSED
    assert life.verdict == (Cancelable.NO, "service_not_cancelable")
