"""Cancellations: request, follow, revoke, approve, resolve."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field

from app.config.resolve import Account
from app.config.scope import Scope
from app.contract import Cancelable, Order
from app.core import cancellation
from app.core.admission import admit
from app.core.aggregate import OrderAggregate
from app.core.cancellation import Cancellation, Cause, State, Waiting
from app.core.commands import Approve, Conflict, Resolve, Revoke
from app.core.unit_of_work import UnitOfWork
from app.runtime import ids
from app.store.filters import CancellationFilter
from app.store.links import LINKS_MAX
from app.web import examples, schemas
from app.web.cancel_requests import CancelFields, cancel_command, check_cancel, check_name, check_order_id, forecast
from app.web.examples import example
from app.web.facets import Facets
from app.web.fields import Moment
from app.web.idempotency import First, KeyedRequest, respond_once
from app.web.lookup import name_to_cancel, require_account
from app.web.pages import OrderQuery, Page, PageQuery, order_number, page, require_known
from app.web.problems import CONTENT_TYPE, Kind, Problem
from app.web.routes import AccountCheck, ApiTag, Body, Call, JsonResponse, RouteTable

ROUTES = RouteTable(
    ApiTag("Cancellations", "Requests to cancel orders, followed until they are final."), id=examples.CANCELLATION
)
_REVOCABLE = "Only a scheduled cancellation can be revoked"
_APPROVABLE = "Only a cancellation that waits for approval can be approved"
_RESOLVABLE = "Only an indeterminate or accepted cancellation can be resolved by hand"


class CancelBody(CancelFields):
    """A request to cancel an order."""

    dry_run: bool = Field(default=False, description="Only return what would happen.")
    force: bool = Field(
        default=False, description="Send it even if the verdict is `no`; new evidence still stops the cancellation."
    )


example(CancelBody(reason="client_requested_cancelation", note="The client no longer wants it."))


class ResolveBody(Body):
    """The outcome of a cancellation that Rescind does not know, as a person found it out."""

    outcome: Literal["succeeded", "refused"]
    note: str = Field(min_length=1, max_length=1000, description="How the outcome is known; recorded in the log.")


example(ResolveBody(outcome="succeeded", note="The provider's support confirmed it by phone."))


class CancellationFilters(OrderQuery):
    """Filters for cancellations."""

    state: State | None = None
    policy: str | None = Field(None, description="Only cancellations that this policy requested.")
    batch: str | None = Field(None, description="Only cancellations of this batch.")
    waiting: Waiting | None = Field(None, description="Only cancellations that wait for this, such as `approval`.")
    since: Moment | None = Field(None, description="Requested at this time or later.")
    until: Moment | None = Field(None, description="Requested before this time.")


class CancellationsQuery(PageQuery, CancellationFilters):
    """Filters for cancellations."""


class DryRun(Struct, kw_only=True):
    """What a request to cancel would lead to."""

    dry_run: bool
    would: str
    """`send`, `probe` (first) or `reject`."""
    verdict: schemas.Verdict


example(DryRun(dry_run=True, would="send", verdict=schemas.VERDICT))
_CONFIRMED = replace(
    schemas.VERDICT,
    cancelable=Cancelable.NO,
    reason="appointment_confirmed",
    explanation=Kind.NOT_CANCELABLE.example,
)
_ENDED = replace(schemas.CANCELLATION, final=True, waiting=None, expected_at=None)
_REJECTED = replace(
    _ENDED,
    state=State.REJECTED,
    cause=Cause.NOT_CANCELABLE,
    detail=_CONFIRMED.explanation,
    evidence=_CONFIRMED.evidence,
    verdict=_CONFIRMED,
)
_REVOKED = replace(_ENDED, state=State.REVOKED, cause=Cause.REVOKE_REQUESTED, detail="shop revoked it.")
_SUCCEEDED = replace(_ENDED, state=State.SUCCEEDED, cause=Cause.SUCCEEDED, detail="PlanOmatic accepted it.", attempts=1)
_MISSING = Problem(Kind.NOT_FOUND, f"There is no cancellation {examples.CANCELLATION!r}.")


def _wrong_state(rule: str) -> Problem:
    return Problem(Kind.WRONG_STATE, f"{rule}; {_SUCCEEDED.id} is {_SUCCEEDED.state}.", cancellation=_SUCCEEDED)


@ROUTES.post(
    "/v1/accounts/{account}/orders/{order}/cancellations",
    Scope.WRITE,
    account_check=AccountCheck.PATH,
    status=202,
    also={200: DryRun},
    idempotency_key=True,
    problems=[
        Kind.NOT_FOUND,
        Problem(Kind.NOT_CANCELABLE, Kind.NOT_CANCELABLE.example, verdict=_CONFIRMED, cancellation=_REJECTED),
        Kind.AMBIGUOUS,
        Problem(Kind.CANCELLATION_EXISTS, Kind.CANCELLATION_EXISTS.example, cancellation=schemas.CANCELLATION),
        Problem(Kind.INVALID, "The field deadline: it is in the past.", field="deadline"),
    ],
)
async def create_cancellation(
    call: Call, account: str, order: str, body: CancelBody
) -> JsonResponse[schemas.Cancellation]:
    """Request the cancellation of an order; rejected at once, with the evidence, if it cannot succeed.

    202: it was taken on; follow it by its id until `final`. 409 `order-not-cancelable`: the verdict is `no`, and the
    response has its evidence. An order that is not known is probed at the provider first. With `dry_run` nothing is
    recorded, and the response (200) says what would happen.
    """
    configured = require_account(call.node, account)
    check_order_id(configured, order)

    async def make(request: KeyedRequest | None) -> JsonResponse[Any]:
        return await _create(call, configured, order, body, request)

    # The first response stands, even if time and rules would lead to another one by now.
    return await respond_once(call, "cancellation", make, _find_first)


async def _create(
    call: Call, account: Account, order: str, body: CancelBody, request: KeyedRequest | None
) -> JsonResponse[Any]:
    now = datetime.now(UTC)
    check_cancel(account, body, now)
    order = await name_to_cancel(call.node, account.spec.id, order)
    if not body.force:
        await check_name(call.node, account.spec.id, order)
    if body.dry_run:
        return await _dry_run(call, account, order, force=body.force, now=now)
    (expected_at,) = await forecast(call.node, account, [order], [body.deadline_at(account, now)], now)
    id = ids.show(ids.CANCELLATION, call.node.ids.next()) if request is None else _id_of(request)
    digest = "" if request is None else request.digest.hex()
    members = {"id": id, "request_digest": digest, "expected_at": expected_at}
    command = cancel_command(call, account, order, body, now, force=body.force, **members)
    result = await call.node.ledger.execute(command, patient=False)
    if isinstance(result, Conflict):
        raise _exists(result.cancellation, "; follow it, or revoke it first")
    return _first_response(result.cancellation)


async def _dry_run(call: Call, account: Account, order: str, *, force: bool, now: datetime) -> JsonResponse[DryRun]:
    stored = await call.node.store.order(account.spec.id, order)
    aggregate = stored[1] if stored else OrderAggregate(Order(account.spec.id, order))
    if aggregate.live:
        raise _exists(aggregate.live[0])
    assessment = admit(UnitOfWork(aggregate, account.view, now), force)
    would = "probe" if assessment.waiting is Waiting.PROBE else "send"
    if assessment.cause is Cause.NOT_CANCELABLE:
        would = "reject"
    return JsonResponse(DryRun(dry_run=True, would=would, verdict=schemas.Verdict.of(assessment.verdict, now)), 200)


def _exists(live: Cancellation, hint: str = "") -> Problem:
    detail = f"Cancellation {live.id} of this order is {live.state}{hint}."
    return Problem(Kind.CANCELLATION_EXISTS, detail, cancellation=schemas.Cancellation.of(live))


def _id_of(request: KeyedRequest) -> str:
    """The id of the cancellation that this request creates, by which the log has its repetition."""
    return ids.show(ids.CANCELLATION, int.from_bytes(request.identity(8), "big") >> 1)


async def _find_first(call: Call, request: KeyedRequest) -> First | None:
    """The first response, made from the first event of the request's cancellation."""
    id = _id_of(request)
    stored = await call.node.store.cancellation(id)
    if stored is None or not call.key.sees(stored.account):
        return None
    first_step = cancellation.step_id(stored, 1)
    first = await call.node.store.event(first_step)
    begun = cancellation.apply(None, first) if first else None
    return bytes.fromhex(stored.request_digest), _first_response(begun or stored)


def _first_response(begun: Cancellation) -> JsonResponse[schemas.Cancellation]:
    shown = schemas.Cancellation.of(begun)
    if begun.state is not State.REJECTED:
        return JsonResponse(shown)
    problem = Problem(Kind.NOT_CANCELABLE, begun.detail, verdict=shown.verdict, cancellation=shown)
    return JsonResponse(problem.json(), problem.kind.status, content_type=CONTENT_TYPE)


@ROUTES.get("/v1/cancellations", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.QUERY)
async def list_cancellations(call: Call, query: CancellationsQuery) -> Page[schemas.Cancellation]:
    """Cancellations, newest first."""
    window = query.window()
    rows = await call.node.store.cancellations(window, await _filter(call, query))
    require_known(call, rows, account=query.account, policy=query.policy)
    return page([(seq, _shown(call, stored)) for seq, stored in rows], window)


@ROUTES.get("/v1/cancellations/facets", problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS], account_check=AccountCheck.QUERY)
async def count_cancellations(call: Call, query: CancellationFilters) -> Facets:
    """Count cancellations by `state` and `account`, for the filters of the list.

    With no other filters than these two, each value is counted up to some thousands; else the newest 2,000 are counted.
    `complete` tells whether there are more.
    """
    counted = await call.node.store.cancellation_facets(await _filter(call, query))
    require_known(call, range(counted.total), account=query.account, policy=query.policy)
    return Facets.of(counted)


async def _filter(call: Call, query: CancellationFilters) -> CancellationFilter:
    """The filter of the store. Raises `Problem`."""
    order_pk = await order_number(call, query.account, query.order)
    return CancellationFilter(order_pk=order_pk, **query.model_dump(exclude={"limit", "cursor", "order"}))


@ROUTES.get("/v1/cancellations/{id}", problems=[_MISSING], account_check=AccountCheck.HANDLER)
async def get_cancellation(call: Call, id: str) -> schemas.CancellationDetails:
    """One cancellation, what it waits for, and its events, attempts and messages.

    `waiting` says what it waits for, and until when at the latest.
    """
    stored = await _find(call, id)
    events = cancellation.step_ids(stored, LINKS_MAX)
    links = await call.node.store.cancellation_links(id, stored.policy, events)
    shown = _shown(call, stored)
    return schemas.CancellationDetails(
        **{name: getattr(shown, name) for name in schemas.Cancellation.__struct_fields__},
        events=events,
        decision=links.decision,
        attempt_ids=links.attempts,
        messages=links.messages,
    )


@ROUTES.post(
    "/v1/cancellations/{id}/revoke",
    Scope.WRITE,
    problems=[_MISSING, _wrong_state(_REVOCABLE)],
    response_example=_REVOKED,
    account_check=AccountCheck.HANDLER,
)
async def revoke_cancellation(call: Call, id: str) -> schemas.Cancellation:
    """Revoke a cancellation that has not been sent.

    Once its call is under way, it cannot be revoked: the provider decides.
    """
    stored = await _find(call, id)
    command = Revoke(stored.account, stored.order, datetime.now(UTC), id, call.key.name)
    return await _settle(call, command, _REVOCABLE)


@ROUTES.post(
    "/v1/cancellations/{id}/approve",
    Scope.WRITE,
    problems=[_MISSING, _wrong_state(_APPROVABLE)],
    account_check=AccountCheck.HANDLER,
)
async def approve_cancellation(call: Call, id: str) -> schemas.Cancellation:
    """Approve a cancellation that a policy proposed.

    It is sent as any other, if the order can still be canceled.
    """
    stored = await _find(call, id)
    command = Approve(stored.account, stored.order, datetime.now(UTC), id, call.key.name)
    return await _settle(call, command, _APPROVABLE)


@ROUTES.post(
    "/v1/cancellations/{id}/resolve",
    Scope.WRITE,
    problems=[_MISSING, _wrong_state(_RESOLVABLE)],
    response_example=_SUCCEEDED,
    account_check=AccountCheck.HANDLER,
)
async def resolve_cancellation(call: Call, id: str, body: ResolveBody) -> schemas.Cancellation:
    """Record by hand the outcome of a cancellation.

    For a cancellation that is `indeterminate` or `accepted`, whose outcome a person learned elsewhere.
    """
    stored, succeeded = await _find(call, id), body.outcome == "succeeded"
    command = Resolve(stored.account, stored.order, datetime.now(UTC), id, succeeded, call.key.name, body.note)
    return await _settle(call, command, _RESOLVABLE)


async def _settle(call: Call, command: Revoke | Approve | Resolve, rule: str) -> schemas.Cancellation:
    result = await call.node.ledger.execute(command)
    if isinstance(result, Cancellation):
        return _shown(call, result)
    now = result.cancellation if isinstance(result, Conflict) else await _find(call, command.cancellation)
    raise Problem(Kind.WRONG_STATE, f"{rule}; {now.id} is {now.state}.", cancellation=_shown(call, now))


async def _find(call: Call, id: str) -> Cancellation:
    stored = await call.node.store.cancellation(id)
    if stored is None or not call.key.sees(stored.account):
        raise Problem(Kind.NOT_FOUND, f"There is no cancellation {id!r}.")
    return stored


def _shown(call: Call, stored: Cancellation) -> schemas.Cancellation:
    return schemas.Cancellation.of(stored, schemas.holdup(call.node.lane_status(stored.account)))
