"""Messages to subscribers: one with its deliveries; and examples, sent through the real path."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from difflib import get_close_matches
from time import monotonic
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import Field

from app.config.scope import Scope
from app.config.subscriptions import SubscriptionSpec
from app.core.outbound.types import CLOSING_SOON, OUTBOUND_TYPES
from app.runtime import ids
from app.web import examples, resources
from app.web.deliveries import MESSAGE, Delivery, DeliveryDetails, Subject
from app.web.examples import example
from app.web.lookup import missing, require_account
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, RouteTable
from app.web.subscriptions import SUBSCRIPTION, require_subscription

ROUTES = RouteTable(resources.TAGS["subscriptions"], id=examples.SUBSCRIPTION)
DELIVERIES_MAX = 500
LOOK_S = 0.05
PATIENCE_S = 2.0
"""On top of the time limit of one delivery."""
_NO_SUBSCRIPTION = missing("subscriptions", examples.SUBSCRIPTION)
_NO_MESSAGE = Problem(
    Kind.NOT_FOUND, f"There is no message {MESSAGE!r}; delivered messages are kept for some time only."
)
_NO_TYPE = Problem(Kind.INVALID, "The field type: there is no type 'order.closing'.", field="type")


class TestBody(Body):
    """Which example to send."""

    __test__ = False  # pytest would take it for tests

    type: str = Field(CLOSING_SOON, description="A type of messages.")
    account: str | None = Field(None, description="The account that it says to be about. Default: none.")


class TriggerBody(Body):
    """Which example to send, and about which account."""

    type: str = Field(description="A type of messages.")
    account: str | None = Field(None, description="The account that it says to be about. Default: none.")


class Message(Struct, kw_only=True):
    """A message to subscribers, and its deliveries."""

    id: str
    """The `webhook-id` of each delivery."""
    type: str
    account: str | None
    order: str | None
    event: str | None
    """The event that caused it, if one did."""
    test: bool
    """Whether it is an example that a person had sent."""
    created_at: datetime
    data: dict[str, Any]
    """The `data` of its body; a subscription with full payloads gets the order as well."""
    deliveries: list[Delivery]
    """One for each subscription that matched it, up to 500."""


class Triggered(Struct, kw_only=True):
    """Who receives an example."""

    message: str | None
    """Its id; null if nobody receives it."""
    type: str
    account: str | None
    subscriptions: list[str]
    """Those whose `events` and `accounts` match."""


example(
    Message(
        id=MESSAGE,
        type=CLOSING_SOON,
        account=examples.ACCOUNT,
        order=examples.ORDER,
        event=None,
        test=False,
        created_at=examples.REQUESTED_AT,
        data={"account": examples.ACCOUNT, "order": examples.ORDER},
        deliveries=[examples.example_of(Delivery)],
    )
)
example(TestBody(type=CLOSING_SOON))
example(TriggerBody(type=CLOSING_SOON, account=examples.ACCOUNT))
example(Triggered(message=MESSAGE, type=CLOSING_SOON, account=examples.ACCOUNT, subscriptions=[examples.SUBSCRIPTION]))


@ROUTES.get("/v1/messages/{id}", problems=[_NO_MESSAGE], variables={"id": MESSAGE})
async def get_message(call: Call, id: str) -> Message:
    """One message to subscribers: what it says, which event caused it, and what became of its deliveries."""
    try:
        number = ids.read(ids.MESSAGE, id)
    except ValueError as error:
        raise Problem(Kind.NOT_FOUND, f"{error}.") from error
    message = await call.node.store.message(number)
    if message is None:
        raise Problem(Kind.NOT_FOUND, f"There is no message {id!r}; delivered messages are kept for some time only.")
    deliveries = await call.node.store.message_deliveries(number, DELIVERIES_MAX)
    subject = msgspec.json.decode(message.data, type=Subject)
    return Message(
        id=id,
        type=message.type,
        account=message.account or None,
        order=subject.order,
        event=message.cause,
        test=subject.test,
        created_at=message.at,
        data=msgspec.json.decode(message.data),
        deliveries=[Delivery.of(row) for row in deliveries],
    )


@ROUTES.post("/v1/messages", Scope.WRITE, status=202, problems=[missing("accounts", examples.ACCOUNT), _NO_TYPE])
async def trigger_message(call: Call, body: TriggerBody) -> Triggered:
    """Send an example of a type, marked as a test, to every subscription that receives the type about the account.

    Nothing of what it says happens, and nothing is recorded but its deliveries.
    """
    _require_type(body.type)
    if body.account is not None:
        require_account(call.node, body.account)
    message = await call.node.ledger.send_test(body.type, datetime.now(UTC), account=body.account)
    return Triggered(
        message=None if message is None else ids.show(ids.MESSAGE, message.id),
        type=body.type,
        account=body.account,
        subscriptions=[] if message is None else [target.subscription for target in message.targets],
    )


@ROUTES.post(SUBSCRIPTION + "/test", Scope.WRITE, name="testSubscription", problems=[_NO_SUBSCRIPTION, _NO_TYPE])
async def send_test(call: Call, id: str, body: TestBody) -> DeliveryDetails:
    """Send an example to a subscription, marked as a test, and return the delivery when it was attempted.

    It goes through the subscription's queue as every message: it stays `pending` while the subscription is disabled,
    waits after failures, or is pulled.
    """
    spec = require_subscription(call, id)
    _require_type(body.type)
    if body.account is not None:
        require_account(call.node, body.account)
    message = await call.node.ledger.send_test(body.type, datetime.now(UTC), account=body.account, subscription=id)
    if message is None:
        raise missing("subscriptions", id)
    full = spec.payload == "full"
    end = monotonic() + (spec.timeout_s + PATIENCE_S if _is_sent_now(call, spec) else 0)
    while True:
        row = await call.node.store.delivery(id, message.id)
        if row is None:
            raise missing("subscriptions", id)
        if row.attempts or monotonic() >= end:
            return DeliveryDetails.whole(row, full=full)
        await asyncio.sleep(LOOK_S)


def _require_type(type: str) -> None:
    if type not in OUTBOUND_TYPES:
        near = get_close_matches(type, OUTBOUND_TYPES, 1)
        hint = f"did you mean {near[0]!r}?" if near else "`rescind trigger --list` shows all."
        raise Problem(Kind.INVALID, f"The field type: there is no type {type!r}; {hint}", field="type")


def _is_sent_now(call: Call, spec: SubscriptionSpec) -> bool:
    """Whether the subscription's queue is being sent."""
    state = call.node.deliveries.state(spec.id)
    waits = state.hold_until is not None and state.hold_until > datetime.now(UTC)
    return spec.enabled and spec.url is not None and state.disabled_at is None and not waits
