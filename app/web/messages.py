"""Example messages, sent through the real path: to one subscription, or to all that receive the type."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from difflib import get_close_matches
from time import monotonic

from msgspec import Struct
from pydantic import Field

from app.config.scope import Scope
from app.config.subscriptions import SubscriptionSpec
from app.core.outbound.types import CLOSING_SOON, OUTBOUND_TYPES
from app.runtime import ids
from app.web import examples, resources
from app.web.deliveries import MESSAGE, DeliveryDetails
from app.web.examples import example
from app.web.lookup import missing, require_account
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, RouteTable
from app.web.subscriptions import SUBSCRIPTION, require_subscription

ROUTES = RouteTable(resources.TAGS["subscriptions"], id=examples.SUBSCRIPTION)
LOOK_S = 0.05
PATIENCE_S = 2.0
"""On top of the time limit of one delivery."""
_NO_SUBSCRIPTION = missing("subscriptions", examples.SUBSCRIPTION)
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


class Triggered(Struct, kw_only=True):
    """Who receives an example."""

    message: str | None
    """Its id; null if nobody receives it."""
    type: str
    account: str | None
    subscriptions: list[str]
    """Those whose `events` and `accounts` match."""


example(TestBody(type=CLOSING_SOON))
example(TriggerBody(type=CLOSING_SOON, account=examples.ACCOUNT))
example(Triggered(message=MESSAGE, type=CLOSING_SOON, account=examples.ACCOUNT, subscriptions=[examples.SUBSCRIPTION]))


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
