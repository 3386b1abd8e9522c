"""Batches: many cancellations asked for at once, each told whether it can be sent in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any

from msgspec import Struct
from pydantic import Field

from app.config.keys import Scope
from app.config.models import WORDS_CHARS_MAX
from app.config.resolve import Account
from app.core.cancellation import FINAL, Cancellation, State
from app.core.commands import RequestCancel, Requested
from app.engine.ledger import Submission
from app.runtime import ids
from app.store import StoredResponse
from app.web.cancellations import (
    NOTE,
    REASON,
    check_name,
    check_order_id,
    check_wish,
    forecast,
)
from app.web.fields import Moment, Sayable
from app.web.lookup import name_to_cancel
from app.web.problems import Kind, Problem
from app.web.routes import Answer, Body, Call, Route, alone, encode

TOGETHER = 200
"""So many wishes are recorded by one commit."""


class BatchItem(Body):
    """One wish of a batch."""

    account: str
    order: str
    reason: Sayable = Field("", max_length=WORDS_CHARS_MAX, description=REASON)
    note: Sayable | None = Field(None, max_length=WORDS_CHARS_MAX, description=NOTE)
    deadline: Moment | None = Field(None, description="Not sent any more after this time.")


class BatchBody(Body):
    """Many wishes."""

    cancellations: tuple[BatchItem, ...] = Field(min_length=1, max_length=10_000)


class BatchResult(Struct, kw_only=True):
    """What became of one wish of a batch when it was asked for."""

    account: str
    order: str
    outcome: str = "invalid"
    """scheduled, rejected (not cancelable), exists (another cancellation is under way) or invalid"""
    cancellation: str | None = None
    detail: str = ""
    expected_at: datetime | None = None
    in_time: bool | None = None
    """Whether it can be sent in time, as things stand; null if nobody can tell."""


class BatchShape(Struct, kw_only=True):
    """A batch as it was taken on; `results` are in the order of the request."""

    id: str
    total: int
    outcomes: dict[str, int]
    in_time: int
    too_late: int
    """Of those that are scheduled: these will expire without a call unless something gives way."""
    results: list[BatchResult]


class BatchProgress(Struct, kw_only=True):
    """How a batch stands now."""

    id: str
    total: int
    final: bool
    states: dict[str, int]


@dataclass(slots=True)
class _Wanted:
    """A wish of a batch on its way into the log."""

    item: BatchItem
    result: BatchResult
    order: str = ""
    """The order's id, where the item names it by a shared alias; else as the item has it."""
    deadline: datetime | None = None
    account: Account | None = None
    expected_at: datetime | None = None


async def create_batch(call: Call) -> Answer:
    """Ask for many orders to be canceled."""
    given = call.idempotency_key
    if given is None:
        return Answer(await _create(call, ids.show(ids.BATCH, call.node.ids.next()), ""), 202)
    slot = blake2b(f"{call.key.id}\0{given}\0batch".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    digest = blake2b(call.raw_body, digest_size=16).digest()
    with alone(call.node, f"batch {slot}"):
        first = await call.node.store.stored_response(slot)
        if first is None:
            batch = ids.show(ids.BATCH, int(slot[:16], 16) >> 1)
            body = encode(await _create(call, batch, digest.hex()))
            stored = StoredResponse(slot, digest, call.node.vault.seal(body), datetime.now(UTC))
            await call.node.store.save_response(stored)
            return Answer(body, 202)
    if first.digest != digest:
        raise Problem(Kind.KEY_REUSED, "This Idempotency-Key came with another request before; use a new one.")
    return Answer(call.node.vault.open(first.response), 202, {"Idempotent-Replayed": "true"})


async def get_batch(call: Call) -> BatchProgress:
    """How a batch stands."""
    id = call.path("id")
    states = await call.node.store.batch_states(id)
    if not states:
        raise Problem(Kind.NOT_FOUND, f"There is no batch {id!r}, or nothing in it could be taken on.")
    final = all(State(state) in FINAL for state in states)
    return BatchProgress(id=id, total=sum(states.values()), final=final, states=states)


async def _create(call: Call, batch: str, digest: str) -> BatchShape:
    asked: BatchBody = call.body
    now = datetime.now(UTC)
    wanted = [_Wanted(each, BatchResult(account=each.account, order=each.order)) for each in asked.cancellations]
    for each in wanted:
        await _check(call, each, now)
    valid = [each for each in wanted if each.account is not None]
    await _foresee(call, valid, now)
    # If a process ended halfway through, the same request goes on where that one stopped.
    former = {known.id: known for _, known in await call.node.store.cancellations(batch=batch, limit=len(wanted))}
    if any(known.request_digest != digest for known in former.values()):
        raise Problem(Kind.KEY_REUSED, "This Idempotency-Key came with another request before; use a new one.")
    numbered = [(_id_of(batch, number), each) for number, each in enumerate(wanted) if each.account is not None]
    for id, each in numbered:
        if id in former:
            _tell(each.result, former[id])
    rest = [(id, each) for id, each in numbered if id not in former]
    for start in range(0, len(rest), TOGETHER):
        await _record(call, (batch, digest), rest[start : start + TOGETHER], now)
    results = [each.result for each in wanted]
    scheduled = [each for each in results if each.outcome == "scheduled"]
    return BatchShape(
        id=batch,
        total=len(results),
        outcomes=dict(sorted(Counter(each.outcome for each in results).items())),
        in_time=sum(each.in_time is True for each in scheduled),
        too_late=sum(each.in_time is False for each in scheduled),
        results=results,
    )


async def _check(call: Call, wanted: _Wanted, now: datetime) -> None:
    item = wanted.item
    account = call.node.directory.accounts.get(item.account)
    if account is None:
        wanted.result.detail = f"There is no account {item.account!r}."
        return
    deadline = item.deadline or now + timedelta(hours=account.spec.deadline_h)
    try:
        check_order_id(account, item.order)
        check_wish(account, item.reason, item.note, deadline, now)
        wanted.order = await name_to_cancel(call.node, item.account, item.order)
        await check_name(call.node, account.spec.id, wanted.order)
    except Problem as problem:
        wanted.result.detail = problem.detail
        return
    wanted.account, wanted.deadline = account, deadline


async def _foresee(call: Call, valid: Sequence[_Wanted], now: datetime) -> None:
    for account in {each.item.account for each in valid}:
        own = [each for each in valid if each.item.account == account]
        deadlines = [each.deadline or now for each in own]
        orders = [each.order for each in own]
        times = await forecast(call.node, call.node.directory.accounts[account], orders, deadlines, now)
        for each, expected_at in zip(own, times, strict=True):
            each.expected_at = expected_at


async def _record(call: Call, source: tuple[str, str], wishes: Sequence[tuple[str, _Wanted]], now: datetime) -> None:
    entries = []
    for id, each in wishes:
        item = each.item
        asked = Cancellation(
            id=id,
            account=item.account,
            order=each.order,
            reason=item.reason,
            note=item.note,
            requested_at=now,
            updated_at=now,
            requested_by=call.key.name,
            deadline=each.deadline,
            batch=source[0],
            request_digest=source[1],
            expected_at=each.expected_at,
        )
        entries.append(RequestCancel(item.account, each.order, now, asked))
    recorded = await call.node.ledger.record(Submission(entries))
    for (_, each), found in zip(wishes, recorded.results, strict=True):
        if isinstance(found, Requested):
            _tell(each.result, found.cancellation)
        else:
            other = found.cancellation
            each.result.outcome, each.result.cancellation = "exists", other.id
            each.result.detail = f"Cancellation {other.id} of this order is {other.state}."


def _tell(result: BatchResult, known: Cancellation) -> None:
    result.outcome = "rejected" if known.state is State.REJECTED else "scheduled"
    result.cancellation, result.detail = known.id, known.detail
    if not known.final:
        result.expected_at, result.in_time = known.expected_at, known.in_time


def _id_of(batch: str, number: int) -> str:
    digest = blake2b(f"{batch}\0{number}".encode(), digest_size=8).digest()
    return ids.show(ids.CANCELLATION, int.from_bytes(digest, "big") >> 1)


_WRITE: dict[str, Any] = {"method": "POST", "scope": Scope.WRITE}

ROUTES = [
    Route(
        **_WRITE,
        path="/v1/cancellation-batches",
        name="createCancellationBatch",
        summary="Ask for many orders to be canceled at once; each is told whether it can be sent in time.",
        handler=create_batch,
        body=BatchBody,
        answer=BatchShape,
        status=202,
        creates=True,
        problems=[Kind.INVALID, Kind.KEY_REUSED],
    ),
    Route(
        method="GET",
        scope=Scope.READ,
        path="/v1/cancellation-batches/{id}",
        name="getCancellationBatch",
        summary="How a batch stands: how many of its cancellations are in which state.",
        handler=get_batch,
        answer=BatchProgress,
        problems=[Kind.NOT_FOUND],
    ),
]
