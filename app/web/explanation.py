"""Why an order can or cannot be canceled, and why policies did or did not cancel it: clause by clause."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct
from msgspec.structs import asdict

from app import contract
from app.contract import Cancelable, Order, Source
from app.core.event_types import VerdictSummary
from app.core.explanation import ExplainedClause, Operand, Setting, VerdictExplanation, explain
from app.core.representation import schema_of
from app.core.unit_of_work import AccountView
from app.node import Node
from app.runtime.time_slice import TimeSlice
from app.web import examples, orders, policies, schemas
from app.web.examples import example, example_of
from app.web.lookup import require_account, require_order
from app.web.policies import PolicyTest
from app.web.problems import Kind
from app.web.routes import AccountCheck, Call, RouteTable
from app.web.time_travel import MomentQuery, order_known_at

ROUTES = RouteTable(orders.ROUTES.tag)
EVENTS_MAX = 100


class Clause(Struct, kw_only=True):
    """A condition that the verdict tested."""

    rule: str
    """Its code, lower_snake_case."""
    text: str
    """The condition in a sentence; or in CEL, where it is the account's own."""
    holds: bool
    decisive: bool
    """Whether the verdict follows from this clause: it is the first that decides, and the last here."""
    operands: list[Operand]
    """What it was tested on, and which events set that."""
    setting: Setting | None
    """The parameter of the account's rules that it was compared with."""
    changes_at: datetime | None
    """When time alone turns it round, if the verdict changes then."""
    opposite: VerdictSummary | None
    """The verdict if it were the other way round; null where that is the same, or cannot be told."""


class ExplainedEvent(Struct, kw_only=True):
    """An event that a clause or the verdict rests on."""

    id: str
    type: str
    source: Source
    occurred_at: datetime
    received_at: datetime


class Explanation(Struct, kw_only=True):
    """Why an order can or cannot be canceled."""

    account: str
    order: str
    known_at: datetime | None
    """Only events received by then were counted; null: all."""
    verdict: schemas.Verdict
    closes_at: datetime | None
    """When time alone closes the order's window."""
    then: schemas.Verdict | None
    """The verdict as of its `changes_at`, unless an event comes before."""
    clauses: list[Clause]
    """In the order in which they were tested; the last is decisive."""
    events: list[ExplainedEvent]
    """The events that clauses and verdict rest on."""
    policies: list[PolicyTest]
    """What the account's policies decided, with the value of each clause of their conditions."""


_STATUS = Operand("provider_status", "ordered", examples.EVENT)
example(
    Explanation(
        account=examples.ACCOUNT,
        order=examples.ORDER,
        known_at=None,
        verdict=schemas.VERDICT,
        closes_at=None,
        then=None,
        clauses=[
            Clause(
                rule="status_cancelable",
                text="The status is one in which PlanOmatic accepts a cancel, and the order's phase agrees with it.",
                holds=True,
                decisive=True,
                operands=[_STATUS, Operand("phase", "open", examples.EVENT)],
                setting=Setting("cancelable_statuses", ["new_request", "ordered", "scheduling"]),
                changes_at=None,
                opposite=VerdictSummary(Cancelable.NO, "status_not_cancelable"),
            )
        ],
        events=[
            ExplainedEvent(
                id=examples.EVENT,
                type="order.processed",
                source=Source.WEBHOOK,
                occurred_at=examples.RECEIVED_AT - timedelta(seconds=1),
                received_at=examples.RECEIVED_AT,
            )
        ],
        policies=[example_of(PolicyTest)],
    )
)


@ROUTES.get(
    "/v1/accounts/{account}/orders/{order}/explanation",
    problems=[Kind.NOT_FOUND, Kind.AMBIGUOUS],
    account_check=AccountCheck.PATH,
)
async def get_explanation(call: Call, account: str, order: str, query: MomentQuery) -> Explanation:
    """Why an order can or cannot be canceled, clause by clause: also as of a time, and as known at a time.

    Each clause has its value, the events that decided it, and the verdict that would follow if it were otherwise. The
    policies of the account follow, each with the clauses of its condition.
    """
    node, now = call.node, query.at or datetime.now(UTC)
    configured = require_account(node, account)
    pk, aggregate = await require_order(node, account, order)
    if query.known_at is not None:
        aggregate = (await order_known_at(node, pk, aggregate.order, query.known_at)).aggregate
    explained = await _explained(configured.view, aggregate.order, now)
    then = explained.then
    return Explanation(
        account=aggregate.order.account,
        order=aggregate.order.id,
        known_at=query.known_at,
        verdict=schemas.Verdict.of(explained.verdict, now),
        closes_at=configured.view.closes_at(aggregate.order, now),
        then=None if then is None else schemas.Verdict.of(then, explained.verdict.changes_at or now),
        clauses=[_clause(clause) for clause in explained.clauses],
        events=await _events(node, explained),
        policies=await policies.policies_of(node, configured, pk, aggregate, now, query),
    )


async def _explained(view: AccountView, order: Order, now: datetime) -> VerdictExplanation:
    time_slice = TimeSlice()
    for result in explain(view, order, now):
        if result is not None:
            return result
        await time_slice.pause()
    raise AssertionError("the explanation comes last")


def _clause(clause: ExplainedClause) -> Clause:
    other: contract.Verdict | None = clause.opposite
    opposite = None if other is None else VerdictSummary(other.cancelable, other.reason)
    return Clause(**{**asdict(clause), "opposite": opposite})


async def _events(node: Node, explained: VerdictExplanation) -> list[ExplainedEvent]:
    """The events of the evidence and of all operands, the oldest first."""
    ids = [operand.event for clause in explained.clauses for operand in clause.operands if operand.event is not None]
    events = []
    for id in list(dict.fromkeys([*explained.verdict.evidence, *ids]))[:EVENTS_MAX]:
        event = await node.store.event(id)
        if event is not None:
            events.append(schema_of(ExplainedEvent, event))
    return sorted(events, key=lambda event: event.occurred_at)
