"""Batches: many cancellations requested at once, each with a forecast whether it can be sent in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from itertools import groupby
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import Field

from app.config.resolve import Account
from app.config.scope import Scope
from app.core.cancellation import FINAL, Cancellation, State
from app.core.commands import Requested
from app.runtime import ids
from app.store import Window
from app.store.filters import CancellationFilter
from app.web import cancellations, examples
from app.web.cancel_requests import CancelFields, cancel_command, check_cancel, check_name, check_order_id, forecast
from app.web.examples import example
from app.web.idempotency import KeyedRequest, key_reused, respond_once
from app.web.lookup import missing, name_to_cancel, require_account
from app.web.problems import Kind, Problem
from app.web.routes import AccountCheck, Body, Call, JsonResponse, RouteTable

COMMIT_MAX = 200
"""Cancel requests recorded in one commit."""
ROUTES = RouteTable(cancellations.ROUTES.tag, id=examples.BATCH)


class BatchItem(CancelFields):
    """One cancel request of a batch."""

    account: str
    order: str


class BatchBody(Body):
    """Many cancel requests."""

    cancellations: tuple[BatchItem, ...] = Field(min_length=1, max_length=10_000)


example(
    BatchBody(
        cancellations=(
            BatchItem(account=examples.ACCOUNT, order=examples.ORDER, reason="duplicate_order", note="Sent twice."),
        )
    )
)


class BatchResult(Struct, kw_only=True):
    """What one cancel request of a batch led to."""

    account: str
    order: str
    outcome: str = "invalid"
    """scheduled, rejected (not cancelable), exists (another cancellation is live) or invalid"""
    cancellation: str | None = None
    detail: str = ""
    expected_at: datetime | None = None
    in_time: bool | None = None
    """Whether it can be sent in time, by the forecast; null if there is none."""


class Batch(Struct, kw_only=True):
    """A batch as it was accepted; `results` are in the order of the request."""

    id: str
    total: int
    outcomes: dict[str, int]
    in_time: int
    too_late: int
    """Scheduled cancellations that will expire without a call unless others make room."""
    results: list[BatchResult]


example(
    Batch(
        id=examples.BATCH,
        total=1,
        outcomes={"scheduled": 1},
        in_time=1,
        too_late=0,
        results=[
            BatchResult(
                account=examples.ACCOUNT,
                order=examples.ORDER,
                outcome="scheduled",
                cancellation=examples.CANCELLATION,
                expected_at=examples.REQUESTED_AT,
                in_time=True,
            )
        ],
    )
)


class BatchProgress(Struct, kw_only=True):
    """How far a batch is."""

    id: str
    total: int
    final: bool
    states: dict[str, int]


example(BatchProgress(id=examples.BATCH, total=3, final=False, states={"scheduled": 1, "succeeded": 2}))
_MISSING = Problem(Kind.NOT_FOUND, f"There is no batch {examples.BATCH!r}, or none of its requests was valid.")


@dataclass(slots=True)
class _Item:
    """A valid cancel request of a batch, on its way into the log."""

    id: str
    account: Account
    order: str
    """The order's id, if the request names the order by a shared alias; else as requested."""
    given: BatchItem
    result: BatchResult
    expected_at: datetime | None = None


@ROUTES.post(
    "/v1/cancellation-batches",
    Scope.WRITE,
    account_check=AccountCheck.HANDLER,
    status=202,
    idempotency_key=True,
)
async def create_cancellation_batch(call: Call, body: BatchBody) -> JsonResponse[Batch]:
    """Request many cancellations at once; each result says whether it can be sent in time.

    Each request of the batch is valid or not by itself, and has a result at its place. The forecast takes the account's
    limit and what waits already into account.
    """

    async def make(request: KeyedRequest | None) -> JsonResponse[Batch]:
        if request is None:
            return JsonResponse(await _create(call, body, ids.show(ids.BATCH, call.node.ids.next()), ""))
        batch = ids.show(ids.BATCH, int.from_bytes(request.identity()[:8], "big") >> 1)
        response = msgspec.json.encode(await _create(call, body, batch, request.digest.hex()))
        await call.node.store.save_response(request.stored(call, response))
        return JsonResponse(response)

    return await respond_once(call, "batch", make)


@ROUTES.get("/v1/cancellation-batches/{id}", problems=[_MISSING], account_check=AccountCheck.HANDLER)
async def get_cancellation_batch(call: Call, id: str) -> BatchProgress:
    """How many cancellations of a batch are in which state.

    It counts what was recorded; requests that were invalid are not part of it.
    """
    states = await call.node.store.batch_states(id, call.key.accounts)
    if not states:
        raise Problem(Kind.NOT_FOUND, f"There is no batch {id!r}, or none of its requests was valid.")
    final = all(State(state) in FINAL for state in states)
    return BatchProgress(id=id, total=sum(states.values()), final=final, states=states)


async def _create(call: Call, body: BatchBody, batch: str, digest: str) -> Batch:
    now = datetime.now(UTC)
    results = [BatchResult(account=given.account, order=given.order) for given in body.cancellations]
    items = []
    for number, (given, result) in enumerate(zip(body.cancellations, results, strict=True)):
        try:
            items.append(await _checked(call, given, result, _id_of(batch, number), now))
        except Problem as problem:
            result.detail = problem.detail
    await _forecast(call, items, now)
    # If a process ended halfway through, the repeated request continues where the first one stopped.
    stored = await call.node.store.cancellations(Window(len(results)), CancellationFilter(batch=batch))
    recorded = {cancellation.id: cancellation for _, cancellation in stored}
    if any(cancellation.request_digest != digest for cancellation in recorded.values()):
        raise key_reused()
    for item in items:
        if item.id in recorded:
            _report(item.result, recorded[item.id])
    rest = [item for item in items if item.id not in recorded]
    for start in range(0, len(rest), COMMIT_MAX):
        await _record(call, rest[start : start + COMMIT_MAX], now, batch=batch, request_digest=digest)
    scheduled = [result for result in results if result.outcome == "scheduled"]
    return Batch(
        id=batch,
        total=len(results),
        outcomes=dict(sorted(Counter(result.outcome for result in results).items())),
        in_time=sum(result.in_time is True for result in scheduled),
        too_late=sum(result.in_time is False for result in scheduled),
        results=results,
    )


async def _checked(call: Call, given: BatchItem, result: BatchResult, id: str, now: datetime) -> _Item:
    """The request, if it is valid. Raises `Problem`."""
    if not call.key.sees(given.account):
        raise missing("accounts", given.account)
    account = require_account(call.node, given.account)
    check_order_id(account, given.order)
    check_cancel(account, given, now)
    order = await name_to_cancel(call.node, given.account, given.order)
    await check_name(call.node, given.account, order)
    return _Item(id, account, order, given, result)


async def _forecast(call: Call, items: Sequence[_Item], now: datetime) -> None:
    by_account = sorted(items, key=lambda item: item.account.spec.id)
    for _, group in groupby(by_account, key=lambda item: item.account.spec.id):
        own = list(group)
        account, orders = own[0].account, [item.order for item in own]
        deadlines = [item.given.deadline_at(account, now) for item in own]
        times = await forecast(call.node, account, orders, deadlines, now)
        for item, expected_at in zip(own, times, strict=True):
            item.expected_at = expected_at


async def _record(call: Call, items: Sequence[_Item], now: datetime, **source: Any) -> None:
    commands = [
        cancel_command(
            call, item.account, item.order, item.given, now, id=item.id, expected_at=item.expected_at, **source
        )
        for item in items
    ]
    results = await call.node.ledger.execute_all(commands)
    for item, result in zip(items, results, strict=True):
        if isinstance(result, Requested) or result.cancellation.id == item.id:  # recorded by another node just now
            _report(item.result, result.cancellation)
        else:
            live = result.cancellation
            item.result.outcome, item.result.cancellation = "exists", live.id
            item.result.detail = f"Cancellation {live.id} of this order is {live.state}."


def _report(result: BatchResult, stored: Cancellation) -> None:
    result.outcome = "rejected" if stored.state is State.REJECTED else "scheduled"
    result.cancellation, result.detail = stored.id, stored.detail
    if not stored.final:
        result.expected_at, result.in_time = stored.expected_at, stored.in_time


def _id_of(batch: str, number: int) -> str:
    digest = blake2b(f"{batch}\0{number}".encode(), digest_size=8).digest()
    return ids.show(ids.CANCELLATION, int.from_bytes(digest, "big") >> 1)
