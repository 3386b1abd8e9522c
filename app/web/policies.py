"""Policies: what they decide, what they would decide on an order, and what they would have done."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field

from app.config.keys import Scope
from app.config.models import PolicySpec
from app.config.resolve import Account, InvalidResourceError, policy_in, policy_of
from app.contract import Order, Source
from app.core.aggregate import POLICY_PREFIX, OrderAggregate
from app.core.event import Event, internal_event
from app.core.policy.duplicates import fingerprint, records
from app.core.policy.model import Policy
from app.core.policy.preview import Rehearsed, rehearse
from app.kit.duration import shift_time
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.web.fields import Moment
from app.web.lookup import find_account, find_case
from app.web.problems import Kind, Problem
from app.web.resources import invalid_resource
from app.web.routes import Body, Call, Page, PageQuery, Route, page, require_known
from app.web.schemas import EventShape, event_shape

ALIKE_MAX = 10_000
_SHOWN_BESIDES = frozenset({"tags", "verdict", "cancellation"})
"""What an order is shown with and is no part of it."""


class Fixture(Body):
    """An order that is made up."""

    account: str
    order: dict[str, Any] = Field(description="As the API shows orders; what is left out is empty.")
    tags: tuple[str, ...] = ()
    duplicates: tuple[dict[str, str], ...] = ()
    event: dict[str, Any] | None = Field(None, description="What woke the policy: `type`, `occurred_at`.")


class TrialBody(Body):
    """Which policy, and on what order to try it."""

    policy: dict[str, Any] | None = Field(None, description="As in a resource file; the saved one, if absent.")
    account: str | None = None
    order: str | None = None
    fixture: Fixture | None = None
    at: Moment | None = Field(None, description="As of this time; now, if absent.")


class PolicyTest(Struct, kw_only=True):
    """What a policy would decide."""

    policy: str
    account: str
    order: str
    at: datetime
    outcome: str
    """`shadowed`: it would have the order canceled; otherwise as its decisions are."""
    detail: str = ""
    due_at: str | None = None
    clauses: list[dict[str, Any]]
    verdict: dict[str, Any]
    evidence: list[str] = []
    decided: list[dict[str, Any]] = []
    """Its decisions on the order so far, oldest first; where a policy is only tried, none."""


class OrderPolicies(Struct):
    """How all policies of its account stand to an order."""

    data: list[PolicyTest]


async def list_decisions(call: Call) -> Page[EventShape]:
    """What a policy decided, the newest first."""
    asked: PageQuery = call.query
    rows = await call.node.store.decisions(call.path("id"), asked.cursor, asked.limit + 1)
    require_known(call, rows, policy=call.path("id"))
    return page([(seq, event_shape(event)) for seq, event in rows], asked.limit)


async def preview_policy(call: Call) -> PolicyTest:
    """What the policy would make of one order."""
    asked: TrialBody = call.body
    node, now = call.node, asked.at or datetime.now(UTC)
    spec = spec_in(call, asked.policy)
    policy = policy_of(spec)
    if asked.fixture is not None:
        account = find_account(node, asked.fixture.account)
        _check_account(spec, account)
        case, woken = _made_up(asked.fixture, now)
        return _trial(policy, account, case, now, woken, Rehearsed(asked.fixture.duplicates))
    if asked.account is None or asked.order is None:
        raise Problem(Kind.INVALID, "Name account and order, or give a fixture.", field="order")
    account = find_account(node, asked.account)
    _check_account(spec, account)
    pk, case = await find_case(node, account.spec.id, asked.order)
    events = await node.store.order_events(pk) if policy.on or policy.reads_event else ()
    return await _on_order(node, policy, account, (pk, case), now, events)


async def get_order_policies(call: Call) -> OrderPolicies:
    """How every policy of the account stands to the order, and how it comes out if it is weighed now."""
    node, now = call.node, datetime.now(UTC)
    account = find_account(node, call.path("account"))
    known = pk, case = await find_case(node, call.path("account"), call.path("order"))
    events, breather = await node.store.order_events(pk), TimeSlice()
    found = []
    for policy in account.view.policies:
        trial = await _on_order(node, policy, account, known, now, events)
        await breather.pause()
        own = [each for each in events if each.data.get("policy") == policy.id]
        trial.decided = [{"at": each.received_at, **each.data} for each in own if each.type.startswith(POLICY_PREFIX)]
        standing = case.policy_state(policy.id)
        if standing is not None:
            trial.outcome, trial.detail = standing.outcome.value, standing.detail
            trial.due_at = None if standing.due_at is None else standing.due_at.isoformat()
        found.append(trial)
    return OrderPolicies(found)


def _check_account(spec: PolicySpec, account: Account) -> None:
    if account.spec.id not in spec.accounts:
        detail = f"The policy {spec.id} is for {', '.join(spec.accounts)}, and not for account {account.spec.id}."
        raise Problem(Kind.INVALID, detail, field="account")


def spec_in(call: Call, given: dict[str, Any] | None) -> PolicySpec:
    """The policy in a body, as it is written; else the saved one of the path's id. Raises `Problem`."""
    id, node = call.path("id"), call.node
    if given is None:
        saved = node.directory.policies.get(id)
        if saved is None:
            raise Problem(Kind.NOT_FOUND, f"There is no policy {id!r}; give one in the body.")
        return saved
    try:
        return policy_in(id, {**given, "id": id})
    except InvalidResourceError as error:
        raise invalid_resource(error, field="policy") from error


async def _on_order(
    node: Node,
    policy: Policy,
    account: Account,
    order: tuple[int, OrderAggregate],
    now: datetime,
    events: Sequence[Event],
) -> PolicyTest:
    case, woken = order[1], list[Event]()
    if policy.on or policy.reads_event:
        woken = [each for each in events if not each.data and policy.is_woken_by(each.type)][-1:]
    duplicates = await _duplicates(node, policy, account, case) if policy.reads_duplicates else []
    return _trial(policy, account, case, now, woken, Rehearsed(duplicates))


async def _duplicates(node: Node, policy: Policy, account: Account, case: OrderAggregate) -> list[dict[str, str]]:
    order, within = case.order, policy.duplicates_within
    keys = account.view.rules.duplicate_keys
    mine = fingerprint(order, keys)
    if mine is None or order.opened_at is None:
        return []
    # The fingerprints in the store are there only once a policy that is saved asks for them.
    since, until = shift_time(order.opened_at, -within), shift_time(order.opened_at, within)
    near = await node.store.orders_opened(account.spec.id, since, until, ALIKE_MAX)
    others = [each for each in near if each.order.id != order.id and fingerprint(each.order, keys) == mine]
    return records(order, others, within)


def _trial(
    policy: Policy, account: Account, case: OrderAggregate, now: datetime, woken: Sequence[Event], around: Rehearsed
) -> PolicyTest:
    data = rehearse(policy, account.view, case, now, woken, around)
    return PolicyTest(
        policy=policy.id,
        account=account.spec.id,
        order=case.order.id,
        at=now,
        outcome=data["outcome"],
        detail=data.get("detail", ""),
        due_at=data.get("due_at"),
        clauses=data["clauses"],
        verdict=data["verdict"],
        evidence=data["evidence"],
    )


def _made_up(fixture: Fixture, now: datetime) -> tuple[OrderAggregate, Sequence[Event]]:
    """The case of a fixture, and the event that wakes policies. Raises `Problem`."""
    given = {key: value for key, value in fixture.order.items() if key in Order.__struct_fields__}
    strange = set(fixture.order) - set(Order.__struct_fields__) - _SHOWN_BESIDES
    if strange:
        detail = f"The fixture: an order has no {', '.join(sorted(strange))}."
        raise Problem(Kind.INVALID, detail, field="fixture")
    try:
        order = msgspec.convert(
            {"id": "fixture", "version": 1, **given, "account": fixture.account}, Order, strict=False
        )
        event = internal_event(fixture.account, order.id, "", "fixture", now, Source.WEBHOOK, {})
        woken = [_event(event, fixture.event)] if fixture.event is not None else []
    except msgspec.ValidationError as error:
        raise Problem(Kind.INVALID, f"The fixture: {error}.", field="fixture") from error
    times = [order.opened_at, order.last_event_at, order.changed_at]
    times += [each for visit in order.appointments for each in (visit.starts_at, visit.ends_at)]
    if any(each is not None and each.tzinfo is None for each in (*times, *(each.occurred_at for each in woken))):
        raise Problem(Kind.INVALID, "The fixture: give times with an offset from UTC, such as Z.", field="fixture")
    # Every field rests on an event of some kind: without evidence a rule would know nothing.
    sources = {name: event.id for name in ("phase", "provider_status", "appointments", "attributes") if name in given}
    moments = {"opened_at": order.opened_at or now, "last_event_at": order.last_event_at or now}
    shown = fixture.order.get("tags", [])
    if not isinstance(shown, list) or not all(isinstance(each, str) for each in shown):
        raise Problem(Kind.INVALID, "The fixture: tags must be a list of strings.", field="fixture")
    tags = {*fixture.tags, *shown}
    return OrderAggregate(replace(order, sources=sources, **moments), tags=tuple(sorted(tags))), woken


def _event(blank: Event, given: dict[str, Any]) -> Event:
    shown = msgspec.convert(given, _EventGiven, strict=False)
    return replace(blank, type=shown.type, occurred_at=shown.occurred_at or blank.occurred_at)


class _EventGiven(Struct):
    type: str
    occurred_at: datetime | None = None


_POLICY = "/v1/policies/{id}"

ROUTES = [
    Route(
        method="GET",
        path=_POLICY + "/decisions",
        name="listDecisions",
        summary="What a policy decided, the newest first.",
        scope=Scope.READ,
        handler=list_decisions,
        query=PageQuery,
        answer=Page[EventShape],
        problems=[Kind.NOT_FOUND],
    ),
    Route(
        method="POST",
        path=_POLICY + "/test",
        name="testPolicy",
        summary="What a policy, saved or given, would make of one order or of a fixture.",
        scope=Scope.WRITE,
        handler=preview_policy,
        body=TrialBody,
        answer=PolicyTest,
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS, Kind.INVALID],
    ),
    Route(
        method="GET",
        path="/v1/accounts/{account}/orders/{order}/policies",
        name="getOrderPolicies",
        summary="How every policy of the account stands to an order: why it was canceled, or why not.",
        scope=Scope.READ,
        handler=get_order_policies,
        answer=OrderPolicies,
        problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    ),
]
