"""Policies: their decisions, their state for an order, and tests on one order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import Field

from app.config.faults import InvalidResourceError
from app.config.models import PolicySpec
from app.config.resolve import Account, policy_of, read_policy
from app.config.scope import Scope
from app.contract import Source
from app.core.aggregate import OrderAggregate
from app.core.event import Event
from app.core.policy.context import PolicyContext
from app.core.policy.decisions import decisions_of
from app.core.policy.duplicates import fingerprint, records
from app.core.policy.model import Policy
from app.core.policy.preview import preview, state_of
from app.core.unit_of_work import UnitOfWork
from app.kit.duration import shift_time
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.web import examples, resources
from app.web.examples import example
from app.web.fields import Moment
from app.web.fixtures import Fixture
from app.web.lookup import missing, require_account, require_order
from app.web.pages import Page, PageQuery, page, require_known
from app.web.problems import Kind, Problem
from app.web.resources import invalid_resource
from app.web.routes import AccountCheck, Body, Call, RouteTable
from app.web.time_travel import MomentQuery, order_known_at

ROUTES = RouteTable(resources.TAGS["policies"], id=examples.POLICY)
DUPLICATES_MAX = 10_000
_POLICY = "/v1/policies/{id}"


class PolicyTestBody(Body):
    """Which policy to test, and on which order."""

    policy: dict[str, Any] | None = Field(None, description="As in a resource file. Default: the saved policy.")
    account: str | None = None
    order: str | None = None
    fixture: Fixture | None = None
    at: Moment | None = Field(None, description="Evaluate as of this time. Default: now.")


example(PolicyTestBody(account=examples.ACCOUNT, order=examples.ORDER))


class PolicyTest(Struct, kw_only=True):
    """What a policy would decide."""

    policy: str
    account: str
    order: str
    at: datetime
    outcome: str
    """`shadowed`: it would cancel the order; else an outcome of its decisions."""
    detail: str = ""
    due_at: str | None = None
    clauses: list[dict[str, Any]]
    verdict: dict[str, Any]
    evidence: list[str] = []
    decided: list[dict[str, Any]] = []
    """Its decisions on the order so far, oldest first; empty in a test."""


_TEST = example(
    PolicyTest(
        policy=examples.POLICY,
        account=examples.ACCOUNT,
        order=examples.ORDER,
        at=examples.REQUESTED_AT,
        outcome="unmatched",
        clauses=[
            {"text": "order.phase == 'open'", "value": True},
            {"text": "size(order.appointments) == 0", "value": False},
        ],
        verdict={"cancelable": "yes", "reason": "not_scheduled"},
        evidence=[examples.EVENT],
    )
)


class OrderPolicies(Struct):
    """The state of all policies of the account for an order."""

    data: list[PolicyTest]


example(OrderPolicies([_TEST]))
_MISSING = missing("policies", examples.POLICY)
_DECISION = Event(
    id="evt_fe186c4d2bc4cc34f8c6b98b5d22782d",
    account=examples.ACCOUNT,
    order=examples.ORDER,
    type="policy.unmatched",
    occurred_at=examples.REQUESTED_AT,
    received_at=examples.REQUESTED_AT,
    source=Source.CLOCK,
    data={
        "policy": examples.POLICY,
        "outcome": "unmatched",
        "condition_hash": "a712915bb323",
        "mode": "shadow",
        "clauses": _TEST.clauses,
        "verdict": _TEST.verdict,
        "evidence": [examples.EVENT],
    },
)


@ROUTES.get(
    _POLICY + "/decisions",
    problems=[_MISSING],
    response_example=Page.example_with(_DECISION),
)
async def list_decisions(call: Call, id: str, query: PageQuery) -> Page[Event]:
    """The decisions of a policy, newest first.

    A decision is an event of type `policy.*`, with the clauses of the condition and their values.
    """
    window = query.window()
    rows = await call.node.store.decisions(id, window)
    require_known(call, rows, policy=id)
    return page(rows, window)


@ROUTES.post(_POLICY + "/test", Scope.WRITE, problems=[_MISSING, Kind.AMBIGUOUS, Kind.INVALID])
async def test_policy(call: Call, id: str, body: PolicyTestBody) -> PolicyTest:
    """What a policy, saved or given, would decide on one order or on a fixture.

    Nothing is recorded, and nothing canceled. Give `account` and `order`, or a `fixture`.
    """
    node, now = call.node, body.at or datetime.now(UTC)
    spec = find_spec(node, id, body.policy)
    policy = policy_of(spec)
    if body.fixture is not None:
        account = _account_of(node, spec, body.fixture.account)
        aggregate, triggers = body.fixture.aggregate(now)
        return _test(policy, account, aggregate, now, triggers, body.fixture.duplicates)
    if body.account is None or body.order is None:
        raise Problem(Kind.INVALID, "Name account and order, or give a fixture.", field="order")
    account = _account_of(node, spec, body.account)
    pk, aggregate = await require_order(node, account.spec.id, body.order)
    events = await node.store.order_events(pk) if policy.on or policy.reads_event else ()
    return await _test_stored(node, policy, account, aggregate, now, events)


@ROUTES.get(
    "/v1/accounts/{account}/orders/{order}/policies",
    problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    account_check=AccountCheck.PATH,
)
async def get_order_policies(call: Call, account: str, order: str, query: MomentQuery) -> OrderPolicies:
    """The state of every policy of the account for an order: why it was canceled, or why not.

    Also as of a time, and as known at a time; with the policies as they are now.
    """
    configured = require_account(call.node, account)
    pk, aggregate = await require_order(call.node, account, order)
    if query.known_at is not None:
        aggregate = (await order_known_at(call.node, pk, aggregate.order, query.known_at)).aggregate
    now = query.at or datetime.now(UTC)
    return OrderPolicies(await policies_of(call.node, configured, pk, aggregate, now, query))


async def policies_of(
    node: Node, account: Account, pk: int, aggregate: OrderAggregate, now: datetime, query: MomentQuery
) -> list[PolicyTest]:
    """What each policy of the account decided on the order, and what it makes of it now.

    That it waits, or does not match, is computed as of the time that was asked for: `at`, or `known_at`.
    """
    known_at = query.known_at
    as_of = now if query.at is not None or known_at is None else known_at
    if not account.view.policies:
        return []
    events, time_slice = await node.store.order_events(pk), TimeSlice()
    if known_at is not None:
        events = [event for event in events if event.received_at <= known_at]
    decisions: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        for data in decisions_of(event):
            decided = {"id": event.id, "at": event.received_at, **data}
            decisions.setdefault(data["policy"], []).append(decided)
    shown = []
    for policy in account.view.policies:
        test = await _test_stored(node, policy, account, aggregate, now, events)
        await time_slice.pause()
        test.decided = decisions.get(policy.id, [])
        unit = UnitOfWork(aggregate, account.view, as_of)
        computed = None if policy.reads_duplicates else state_of(policy, unit, PolicyContext())
        state = computed or aggregate.policy_state(policy.id)
        if state is not None:
            test.outcome, test.detail = state.outcome.value, state.detail
            test.due_at = None if state.due_at is None else state.due_at.isoformat()
        shown.append(test)
    return shown


def find_spec(node: Node, id: str, given: dict[str, Any] | None) -> PolicySpec:
    """The policy given in a body; without one the saved policy. Raises `Problem`."""
    if given is None:
        saved = node.config.policies.get(id)
        if saved is None:
            raise Problem(Kind.NOT_FOUND, f"There is no policy {id!r}; give one in the body.")
        return saved
    try:
        return read_policy(id, {**given, "id": id})
    except InvalidResourceError as error:
        raise invalid_resource(error, field="policy") from error


def _account_of(node: Node, spec: PolicySpec, id: str) -> Account:
    """The account. Raises `Problem` if there is none, or the policy does not apply to it."""
    account = require_account(node, id)
    if id not in spec.accounts:
        detail = f"The policy {spec.id} applies to {', '.join(spec.accounts)}, not to account {id}."
        raise Problem(Kind.INVALID, detail, field="account")
    return account


async def _test_stored(
    node: Node, policy: Policy, account: Account, aggregate: OrderAggregate, now: datetime, events: Sequence[Event]
) -> PolicyTest:
    triggers = list[Event]()
    if policy.on or policy.reads_event:
        triggers = [event for event in events if not event.data and policy.is_triggered_by(event.type)][-1:]
    duplicates = await _duplicates(node, policy, account, aggregate) if policy.reads_duplicates else []
    return _test(policy, account, aggregate, now, triggers, duplicates)


async def _duplicates(node: Node, policy: Policy, account: Account, aggregate: OrderAggregate) -> list[dict[str, str]]:
    order, within = aggregate.order, policy.duplicates_within
    keys = account.view.rules.duplicate_keys
    own = fingerprint(order, keys)
    if own is None or order.opened_at is None:
        return []
    # The store has fingerprints only if a saved policy reads them.
    since, until = shift_time(order.opened_at, -within), shift_time(order.opened_at, within)
    near = await node.store.orders_opened(account.spec.id, since, until, DUPLICATES_MAX)
    others = [other for other in near if other.order.id != order.id and fingerprint(other.order, keys) == own]
    return records(order, others, within)


def _test(
    policy: Policy,
    account: Account,
    aggregate: OrderAggregate,
    now: datetime,
    triggers: Sequence[Event],
    duplicates: Sequence[dict[str, str]],
) -> PolicyTest:
    data = preview(policy, account.view, aggregate, now, triggers, duplicates)
    about = {"account": account.spec.id, "order": aggregate.order.id, "at": now}
    return msgspec.convert({**data, **about}, PolicyTest)
