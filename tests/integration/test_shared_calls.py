"""Calls for several orders that need another call first: each order has its own fence, outcome and record."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from conftest import Start
from providers import PROVIDER_KEY, Side, until
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

from app.config import resolve
from app.contract import CancelOutcome, CancelRequest, CancelResult, Context, Facts, HttpRequest, HttpResponse
from handlers.planomatic import HANDLER

TICKET, CANCEL = "/ticket", "/cancel"
ORDERS = ["o-1", "o-2", "o-3"]
pytestmark = pytest.mark.usefixtures("quick")

Flow = Generator[HttpRequest, HttpResponse, list[CancelResult]]
Read = Callable[[Sequence[CancelRequest], HttpResponse, Context], list[CancelResult]]


@dataclass
class TicketProvider:
    """A provider that hands out tickets, and takes one for a call that names several orders."""

    named: list[list[str]] = field(default_factory=list)
    """The orders of each cancel call, as they came."""

    def handle(self, request: HttpRequest, now: float) -> HttpResponse:  # noqa: ARG002 - a simulator's shape
        if request.url.endswith(CANCEL):
            self.named.append(json.loads(request.body))
        return HttpResponse(200, {}, b"{}")

    def act(self, action: Mapping[str, Any], now: float) -> dict[str, Any]:
        raise ValueError(f"there is nothing to do at {now}: {action}")

    def emitted(self) -> list[HttpRequest]:
        return []


def done(requests: Sequence[CancelRequest], _: HttpResponse, __: Context) -> list[CancelResult]:
    return [CancelResult(CancelOutcome.SUCCEEDED) for _ in requests]


def shared(monkeypatch: pytest.MonkeyPatch, read: Read = done) -> None:
    """From now on PlanOmatic's orders are canceled ten by one call, each call with a ticket of its own."""

    def cancel(requests: Sequence[CancelRequest], config: Any, context: Context) -> Flow:
        yield HttpRequest("GET", f"{config.base_url}{TICKET}", repeatable=True)
        body = json.dumps([each.order.id for each in requests]).encode()
        response = yield HttpRequest("POST", f"{config.base_url}{CANCEL}", body=body)
        return read(requests, response, context)

    handler = replace(HANDLER, cancel=cancel, cancel_batch_max=10, probe=None)
    monkeypatch.setattr(resolve, "handler", lambda _: handler)


@pytest_asyncio.fixture
async def tickets() -> AsyncIterator[Side]:
    side = await Side.begin("tickets", TicketProvider())
    yield side
    await side.close()


async def opened(start: Start, tickets: Side, **more: Any) -> Rescind:
    """A Rescind that has heard of the orders."""
    rescind = await start()
    await rescind.put("accounts", ACCOUNT, account_of(tickets.url, **more))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    for order in ORDERS:
        await rescind.tell("order.processed", order)
    return rescind


async def requested(rescind: Rescind, orders: Sequence[str] = ORDERS) -> list[str]:
    """Request cancels that all become due at once."""
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    made = [await rescind.cancel(order) for order in orders]
    await rescind.ask("POST", "/v1/resume", {"scope": "all"})
    return made


async def states(rescind: Rescind, made: Sequence[str]) -> list[str]:
    return [str((await rescind.cancellation(id))["state"]) for id in made]


async def become(rescind: Rescind, made: Sequence[str], *wanted: str) -> None:
    async def look() -> bool:
        return await states(rescind, made) == list(wanted)

    await until(look, f"the states {wanted}")


async def waits_for_its_place(rescind: Rescind, tickets: Side) -> None:
    await tickets.arrived(1, TICKET)

    async def look() -> bool:
        return bool((await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["state"] == "rate_limited")

    await until(look, "the cancel waiting for the limit")


async def test_an_order_whose_window_closes_at_the_last_moment_is_left_out_and_the_others_go(
    start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared(monkeypatch)
    rescind = await opened(start, tickets, limits={"requests": 1, "per_s": 3600})
    made = await requested(rescind)
    await waits_for_its_place(rescind, tickets)
    await rescind.tell("order.canceled", "o-2", status="canceled")
    await rescind.put("accounts", ACCOUNT, account_of(tickets.url))
    await become(rescind, made, "succeeded", "revoked", "succeeded")
    assert sorted(tickets.simulator.named[0]) == ["o-1", "o-3"]
    assert len(tickets.simulator.named) == 1


async def test_a_pause_holds_all_of_them_back(start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    shared(monkeypatch)
    rescind = await opened(start, tickets, limits={"requests": 1, "per_s": 3600})
    made = await requested(rescind)
    await waits_for_its_place(rescind, tickets)
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    await rescind.put("accounts", ACCOUNT, account_of(tickets.url))
    await become(rescind, made, "scheduled", "scheduled", "scheduled")
    assert tickets.simulator.named == []
    await rescind.ask("POST", "/v1/resume", {"scope": "all"})
    await become(rescind, made, "succeeded", "succeeded", "succeeded")
    assert [len(each) for each in tickets.simulator.named] == [3]


async def test_one_order_that_is_throttled_holds_the_lane(
    start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(requests: Sequence[CancelRequest], _: HttpResponse, __: Context) -> list[CancelResult]:
        throttled = CancelResult(CancelOutcome.THROTTLED, "Later.", after_s=900.0)
        return [
            throttled if each.order.id == "o-3" else CancelResult(CancelOutcome.REFUSED, "No.") for each in requests
        ]

    shared(monkeypatch, read)
    rescind = await opened(start, tickets)
    made = await requested(rescind)
    await become(rescind, made, "refused", "refused", "scheduled")
    status = rescind.node.lanes[ACCOUNT].status()
    assert status.state == "throttled"
    assert status.until is not None
    assert 800 < (status.until - datetime.now(UTC)).total_seconds() <= 900


async def test_what_the_answer_asks_to_hold_holds_the_lane_although_all_went_well(
    start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(requests: Sequence[CancelRequest], answer: HttpResponse, context: Context) -> list[CancelResult]:
        context.hold(900.0)
        return done(requests, answer, context)

    shared(monkeypatch, read)
    rescind = await opened(start, tickets)
    await become(rescind, await requested(rescind), *["succeeded"] * 3)
    assert rescind.node.lanes[ACCOUNT].status().state == "throttled"


def stumbles(requests: Sequence[CancelRequest], answer: HttpResponse, context: Context) -> list[CancelResult]:
    raise KeyError(f"{answer.status} for {len(requests)} orders at {context.now}")


def one_too_few(requests: Sequence[CancelRequest], answer: HttpResponse, context: Context) -> list[CancelResult]:
    return done(requests, answer, context)[1:]


@pytest.mark.parametrize("read", [stumbles, one_too_few])
async def test_when_the_answer_cannot_be_read_nobody_knows_what_became_of_any_order(
    start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    shared(monkeypatch, read)
    rescind = await opened(start, tickets)
    made = await requested(rescind)
    await become(rescind, made, *["indeterminate"] * 3)
    assert len(tickets.simulator.named) == 1, "nothing is sent again"


async def test_an_outcome_that_cannot_be_recorded_spoils_no_other(
    start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(requests: Sequence[CancelRequest], _: HttpResponse, __: Context) -> list[CancelResult]:
        unfit = Facts(attributes={"price": object()})
        return [
            CancelResult(CancelOutcome.SUCCEEDED, facts=unfit if each.order.id == "o-2" else None) for each in requests
        ]

    shared(monkeypatch, read)
    rescind = await opened(start, tickets)
    made = await requested(rescind)
    await become(rescind, made, "succeeded", "indeterminate", "succeeded")
    assert len(tickets.simulator.named) == 1


async def test_some_orders_that_fail_do_not_make_the_provider_one_that_fails(
    start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(requests: Sequence[CancelRequest], _: HttpResponse, __: Context) -> list[CancelResult]:
        failed = CancelResult(CancelOutcome.RETRY, "Not now.")
        return [failed if each.order.id == "o-1" else CancelResult(CancelOutcome.REFUSED, "No.") for each in requests]

    shared(monkeypatch, read)
    rescind = await opened(start, tickets)
    await become(rescind, (await requested(rescind))[1:], "refused", "refused")
    assert rescind.node.lanes[ACCOUNT].gate.rate.breaker.failed == set()


async def test_the_record_shows_what_was_shared_and_no_secret(
    start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(requests: Sequence[CancelRequest], _: HttpResponse, __: Context) -> list[CancelResult]:
        return [CancelResult(CancelOutcome.REFUSED, f"{PROVIDER_KEY} may not.") for _ in requests]

    shared(monkeypatch, read)
    monkeypatch.setattr(TicketProvider, "handle", lambda *_: HttpResponse(200, {}, PROVIDER_KEY.encode()))
    rescind = await opened(start, tickets)
    made = await requested(rescind)
    await become(rescind, made, *["refused"] * 3)
    shown = [
        entry["attempt"] for order in ORDERS for entry in await rescind.timeline(order) if entry["kind"] == "attempt"
    ]
    assert PROVIDER_KEY not in str(shown)
    [first] = [each for each in shown if "answer" in each["exchanges"][0]]
    others = [each for each in shown if each is not first]
    assert [[call["status"] for call in each["exchanges"]] for each in shown] == [[200, 200]] * 3
    assert [[call["shared_with"] for call in each["exchanges"]] for each in others] == [[first["id"]] * 2] * 2


async def test_a_new_process_counts_every_call_of_a_flow_once_however_many_orders_shared_it(
    start: Start, tickets: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared(monkeypatch)
    rescind = await opened(start, tickets, limits={"requests": 50, "per_s": 3600})
    await become(rescind, await requested(rescind), *["succeeded"] * 3)
    await asyncio.gather(*(rescind.tell("order.processed", f"o-{number}") for number in (4, 5)))
    await become(rescind, await requested(rescind, ["o-4", "o-5"]), *["succeeded"] * 2)
    calls = len(await tickets.calls())
    assert (calls, [len(each) for each in tickets.simulator.named]) == (4, [3, 2])
    await rescind.stop()
    rescind = await start()

    async def counted() -> int:
        return int((await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["used"])

    await until(counted, "the calls of the process before")
    assert await counted() == calls
