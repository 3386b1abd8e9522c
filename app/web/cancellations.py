"""Cancellations: ask, follow, withdraw, settle."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Literal

from msgspec import Struct
from pydantic import Field

from app.config.keys import Scope
from app.config.models import WORDS_CHARS_MAX
from app.config.resolve import Account
from app.contract import InvalidCancel, Order
from app.core import cancellation as life
from app.core.admission import Assessment, assess
from app.core.aggregate import OrderAggregate
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.commands import Approve, Conflict, RequestCancel, Requested, Resolve, Revoke
from app.core.event import event_id
from app.core.unit_of_work import UnitOfWork
from app.engine.ledger import Submission
from app.node import Node
from app.runtime import ids
from app.web.fields import Moment, Sayable
from app.web.lookup import find_account, known_name, name_to_cancel
from app.web.problems import Kind, Problem
from app.web.routes import (
    Answer,
    Body,
    Call,
    Page,
    PageQuery,
    Route,
    alone,
    order_number,
    page,
    require_known,
)
from app.web.schemas import CancellationShape, VerdictShape, cancellation_shape, verdict_shape

ORDER_ID_MAX = 200
DEADLINE_MAX = timedelta(days=36500)
QUEUE_MAX = 20_000
"""So many cancellations that wait are looked at for a forecast, the most urgent."""
REASON = "The provider's own word where it has a list, else free text; required and as long as the provider has it."
NOTE = "Free text; required where the provider requires it, and refused where it takes none."


class CancelBody(Body):
    """A wish to cancel an order."""

    reason: Sayable = Field("", max_length=WORDS_CHARS_MAX, description=REASON)
    note: Sayable | None = Field(None, max_length=WORDS_CHARS_MAX, description=NOTE)
    deadline: Moment | None = Field(None, description="Not sent any more after this time.")
    dry_run: bool = Field(default=False, description="Only say what would become of it.")
    force: bool = Field(default=False, description="Send it although the verdict is no; new evidence still stops it.")


class ResolveBody(Body):
    """What a person found out about a cancellation whose outcome was unknown."""

    outcome: Literal["succeeded", "refused"]
    note: str = Field(min_length=1, max_length=1000, description="How that is known; it goes into the log.")


class CancellationsQuery(PageQuery):
    """Filters for cancellations."""

    account: str | None = None
    order: str | None = Field(None, description="An order's id or alias; needs `account`.")
    state: State | None = None
    policy: str | None = Field(None, description="Only those that this policy made.")
    batch: str | None = Field(None, description="Only those of this batch.")
    waiting: Waiting | None = Field(None, description="Only those that wait for this, such as `approval`.")


class DryRun(Struct, kw_only=True):
    """What would become of a wish."""

    dry_run: bool
    would: str
    """`send`, `probe` (first) or `reject`."""
    verdict: VerdictShape


async def create(call: Call) -> Answer:
    """Ask for an order to be canceled."""
    account = find_account(call.node, call.path("account"))
    order = call.path("order")
    check_order_id(account, order)
    id, digest = _identify(call)
    with alone(call.node, id if digest else None):
        # First of all: the first answer stands, whatever the time and the rules say by now.
        replayed = await _replay(call, id, digest) if digest else None
        return replayed or await _create(call, account, order, id, digest)


def check_order_id(account: Account, order: str) -> None:
    """Raise `Problem` for what cannot be an order's id."""
    if not 0 < len(order) <= ORDER_ID_MAX or not order.isprintable():
        raise Problem(Kind.INVALID, f"The order id must have 1 to {ORDER_ID_MAX} printable characters.", field="order")
    try:
        account.handler.check_order(order)
    except InvalidCancel as error:
        raise Problem(Kind.INVALID, f"The order id {order!r}: {error}.", field=error.field) from error


async def check_name(node: Node, account: str, order: str) -> None:
    """Raise `Problem` where no order is called so, and one is known that is probably meant.

    To cancel by the bare id would cancel some other order, or none.
    """
    name = await known_name(node, account, order)
    if name is not None:
        detail = (
            f"No event of order {order!r} of account {account!r} has been received, but there is an order {name!r}: "
            f"cancel it by that name, or say force if another order {order!r} is meant."
        )
        raise Problem(Kind.NOT_FOUND, detail, field="order")


async def _create(call: Call, account: Account, order: str, id: str, digest: str) -> Answer:
    asked: CancelBody = call.body
    now = datetime.now(UTC)
    deadline = asked.deadline or now + timedelta(hours=account.spec.deadline_h)
    check_wish(account, asked.reason, asked.note, deadline, now)
    order = await name_to_cancel(call.node, account.spec.id, order)
    if not asked.force:
        await check_name(call.node, account.spec.id, order)
    if asked.dry_run:
        return await _dry_run(call, account, order, force=asked.force, now=now)
    (expected_at,) = await forecast(call.node, account, [order], [deadline], now)
    wish = Cancellation(
        id=id,
        account=account.spec.id,
        order=order,
        reason=asked.reason,
        note=asked.note,
        requested_at=now,
        updated_at=now,
        requested_by=call.key.name,
        deadline=deadline,
        request_digest=digest,
        expected_at=expected_at,
    )
    return await _ask(call, RequestCancel(account.spec.id, order, now, wish, asked.force))


async def forecast(
    node: Node, account: Account, orders: Sequence[str], deadlines: Sequence[datetime], now: datetime
) -> list[datetime | None]:
    """When a cancel of each of these orders would be sent, asked for together now: the most urgent first."""
    latency = timedelta(seconds=node.ledger.latencies.get(account.spec.id, 0.0))
    known = await asyncio.gather(*(node.store.order(account.spec.id, order) for order in orders))
    urgent = []
    for found, deadline in zip(known, deadlines, strict=True):
        closes_at = account.view.closes_at(found[1].order, now) if found else None
        urgent.append(deadline if closes_at is None else min(deadline, closes_at - latency))
    lane, waiting = node.lanes.get(account.spec.id), await node.store.deadlines(account.spec.id, max(urgent), QUEUE_MAX)
    # Whoever waits already comes before whoever comes now, where both are as urgent.
    queue = sorted([(each, -1) for each in waiting] + [(each, index) for index, each in enumerate(urgent)])
    times = lane.expected([deadline for deadline, _ in queue]) if lane is not None else None
    expected: list[datetime | None] = [None] * len(orders)
    for (_, index), at in zip(queue, times or (), strict=times is not None):
        if index >= 0:
            expected[index] = at
    return expected


def check_wish(account: Account, reason: str, note: str | None, deadline: datetime, now: datetime) -> None:
    """Raise `Problem` for a cancel that the provider would not take as it is written, or that is late already."""
    if account.view.no_cancel is not None:
        raise Problem(Kind.INVALID, f"Account {account.spec.id}: {account.view.no_cancel}", field="account")
    try:
        account.handler.check(reason, note, account.view.rules)
    except InvalidCancel as error:
        raise Problem(Kind.INVALID, f"The field {error.field}: {error}.", field=error.field) from error
    if deadline <= now:
        raise Problem(Kind.INVALID, "The field deadline: it has passed already.", field="deadline")
    if deadline > now + DEADLINE_MAX:
        detail = f"The field deadline: at most {DEADLINE_MAX.days // 365} years ahead."
        raise Problem(Kind.INVALID, detail, field="deadline")


async def _ask(call: Call, wish: RequestCancel) -> Answer:
    result: Requested | Conflict = (await call.node.ledger.record(Submission([wish]), patient=False)).results[0]
    if isinstance(result, Conflict):
        other = result.cancellation
        detail = f"Cancellation {other.id} of this order is {other.state}; follow it, or revoke it first."
        raise Problem(Kind.CANCELLATION_EXISTS, detail, cancellation=cancellation_shape(other))
    return _first_answer(result.cancellation)


async def list_cancellations(call: Call) -> Page[CancellationShape]:
    """All cancellations that the filters let through."""
    asked: CancellationsQuery = call.query
    order_pk = await order_number(call, asked.account, asked.order)
    rows = await call.node.store.cancellations(
        account=asked.account,
        order_pk=order_pk,
        state=asked.state,
        policy=asked.policy,
        batch=asked.batch,
        waiting=asked.waiting,
        before=asked.cursor,
        limit=asked.limit + 1,
    )
    require_known(call, rows, account=asked.account, policy=asked.policy)
    return page([(seq, _shape(call, known)) for seq, known in rows], asked.limit)


async def get_cancellation(call: Call) -> CancellationShape:
    """One cancellation."""
    return _shape(call, await _known(call))


async def revoke(call: Call) -> CancellationShape:
    """Withdraw a cancellation that has not been sent."""
    known = await _known(call)
    entry = Revoke(known.account, known.order, datetime.now(UTC), known.id, call.key.name)
    return await _settle(call, known, entry, "Only a scheduled cancellation can be revoked")


async def approve(call: Call) -> CancellationShape:
    """Let a policy have an order canceled."""
    known = await _known(call)
    entry = Approve(known.account, known.order, datetime.now(UTC), known.id, call.key.name)
    return await _settle(call, known, entry, "Only a cancellation that waits for approval can be approved")


async def resolve(call: Call) -> CancellationShape:
    """Settle by hand what became of a cancellation."""
    asked: ResolveBody = call.body
    known = await _known(call)
    succeeded = asked.outcome == "succeeded"
    entry = Resolve(known.account, known.order, datetime.now(UTC), known.id, succeeded, call.key.name, asked.note)
    return await _settle(call, known, entry, "Only an indeterminate or accepted cancellation can be settled by hand")


async def _settle(call: Call, known: Cancellation, entry: Revoke | Resolve | Approve, rule: str) -> CancellationShape:
    result = (await call.node.ledger.record(Submission([entry]))).results[0]
    if isinstance(result, Cancellation):
        return _shape(call, result)
    now = result.cancellation if isinstance(result, Conflict) else await _known(call)
    raise Problem(Kind.WRONG_STATE, f"{rule}; {known.id} is {now.state}.", cancellation=_shape(call, now))


async def _dry_run(call: Call, account: Account, order: str, *, force: bool, now: datetime) -> Answer:
    found = await call.node.store.order(account.spec.id, order)
    case = found[1] if found else OrderAggregate(Order(account.spec.id, order))
    desk = UnitOfWork(case, account.view, now)
    if case.live:
        live = cancellation_shape(case.live[0])
        detail = f"Cancellation {live.id} of this order is {live.state} already."
        raise Problem(Kind.CANCELLATION_EXISTS, detail, cancellation=live)
    assessment = assess(desk, force)
    return Answer(DryRun(dry_run=True, would=_would(assessment), verdict=verdict_shape(assessment.verdict, now)))


def _would(assessment: Assessment) -> str:
    if assessment.cause is Cause.NOT_CANCELABLE:
        return "reject"
    return "probe" if assessment.waiting is life.Waiting.PROBE else "send"


def _identify(call: Call) -> tuple[str, str]:
    """The cancellation's id, and a digest of the request if it came with an Idempotency-Key.

    With such a key the id follows from the key: a repetition is found by its id, in the log itself,
    and there is no second place that could disagree with it.
    """
    given = call.idempotency_key
    if given is None:
        return ids.show(ids.CANCELLATION, call.node.ids.next()), ""
    material = f"{call.key.id}\0{given}".encode("utf-8", "surrogateescape")
    number = int.from_bytes(blake2b(material, digest_size=8).digest(), "big") >> 1
    request = call.request.path.encode("utf-8", "surrogateescape") + b"\0" + call.raw_body
    return ids.show(ids.CANCELLATION, number), blake2b(request, digest_size=16).hexdigest()


async def _replay(call: Call, id: str, digest: str) -> Answer | None:
    """The first answer again, made from the first event of that cancellation."""
    known = await call.node.store.cancellation(id)
    if known is None:
        return None
    if known.request_digest != digest:
        raise Problem(Kind.KEY_REUSED, "This Idempotency-Key came with another request before; use a new one.")
    first = await call.node.store.event(event_id(known.account, known.order, life.EVENT_PREFIX, f"{id}\0{1}".encode()))
    begun = life.apply(None, first) if first else None
    answer = _first_answer(begun or known)
    return Answer(answer.body, answer.status, {"Idempotent-Replayed": "true"}, answer.content_type)


def _first_answer(begun: Cancellation) -> Answer:
    shape = cancellation_shape(begun)
    if begun.state is not State.REJECTED:
        return Answer(shape, 202)
    problem = Problem(Kind.NOT_CANCELABLE, begun.detail, verdict=shape.verdict, cancellation=shape).response()
    return Answer(problem.body, problem.status, content_type=problem.content_type)


async def _known(call: Call) -> Cancellation:
    known = await call.node.store.cancellation(call.path("id"))
    if known is None:
        raise Problem(Kind.NOT_FOUND, f"There is no cancellation {call.path('id')!r}.")
    return known


def _shape(call: Call, known: Cancellation) -> CancellationShape:
    return cancellation_shape(known, call.node.lane_status(known.account))


ROUTES = [
    Route(
        method="POST",
        path="/v1/accounts/{account}/orders/{order}/cancellations",
        name="createCancellation",
        summary="Ask for an order to be canceled; rejected at once, with the evidence, if that is in vain.",
        scope=Scope.WRITE,
        handler=create,
        body=CancelBody,
        answer=CancellationShape,
        status=202,
        creates=True,
        problems=[
            Kind.NOT_FOUND,
            Kind.NOT_CANCELABLE,
            Kind.AMBIGUOUS,
            Kind.CANCELLATION_EXISTS,
            Kind.INVALID,
            Kind.KEY_REUSED,
        ],
    ),
    Route(
        method="GET",
        path="/v1/cancellations",
        name="listCancellations",
        summary="Cancellations, the newest first.",
        scope=Scope.READ,
        handler=list_cancellations,
        query=CancellationsQuery,
        answer=Page[CancellationShape],
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    ),
    Route(
        method="GET",
        path="/v1/cancellations/{id}",
        name="getCancellation",
        summary="One cancellation, and what it waits for.",
        scope=Scope.READ,
        handler=get_cancellation,
        answer=CancellationShape,
        problems=[Kind.NOT_FOUND],
    ),
    Route(
        method="POST",
        path="/v1/cancellations/{id}/revoke",
        name="revokeCancellation",
        summary="Withdraw a cancellation that has not been sent.",
        scope=Scope.WRITE,
        handler=revoke,
        answer=CancellationShape,
        problems=[Kind.NOT_FOUND, Kind.WRONG_STATE],
    ),
    Route(
        method="POST",
        path="/v1/cancellations/{id}/approve",
        name="approveCancellation",
        summary="Let a policy have an order canceled, which asks for it.",
        scope=Scope.WRITE,
        handler=approve,
        answer=CancellationShape,
        problems=[Kind.NOT_FOUND, Kind.WRONG_STATE],
    ),
    Route(
        method="POST",
        path="/v1/cancellations/{id}/resolve",
        name="resolveCancellation",
        summary="Settle by hand what became of a cancellation.",
        scope=Scope.WRITE,
        handler=resolve,
        body=ResolveBody,
        answer=CancellationShape,
        problems=[Kind.NOT_FOUND, Kind.WRONG_STATE],
    ),
]
