"""The calls to a source, made of the account's templates: cancel an order, and probe it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from app.contract import (
    CancelOutcome,
    CancelRequest,
    CancelResult,
    Context,
    Facts,
    Flow,
    MalformedPayload,
    Order,
    ProbeUnavailable,
)
from app.kit.cel.expression import ExpressionFailed
from app.kit.excerpts import excerpt
from app.kit.flows import flow_per_order, read_snapshot
from app.kit.ids import is_id
from app.kit.paths.path import find
from app.kit.responses import ProviderResponse, told_wait
from handlers.generic.call import Call, Probe
from handlers.generic.config import Config
from handlers.generic.payload import UNTRUSTED, facts_of, order_of
from handlers.generic.request import UnfitNameError, make_call
from handlers.generic.responses import RESPONSES
from handlers.generic.template import call_values

_NO_PROBE = "This account has no call to ask by: configure `probe`."
_NO_STATUS = "The source's answer states no status that `phases` could tell: see fields.status."


def cancel(requests: Sequence[CancelRequest], config: Config, context: Context) -> Flow[list[CancelResult]]:
    """Cancel each order by a call of its own."""
    return flow_per_order(requests, partial(_cancel, config=config, context=context))


def probe(orders: Sequence[Order], config: Config, context: Context) -> Flow[list[Facts | ProbeUnavailable]]:
    """Ask for each order by a call of its own."""
    return flow_per_order(orders, partial(_probe, config=config, context=context))


def _cancel(request: CancelRequest, config: Config, context: Context) -> Flow[CancelResult]:
    if config.cancel is None:
        return CancelResult(CancelOutcome.REFUSED, str(config.no_cancel()))
    if config.cancel.probe_before and not request.probed:
        return (yield from _probe_before(request.order, config, context))
    values = call_values(request, context.now)
    try:
        response = yield from _call(config.cancel, request.order, config, values, context)
    except ExpressionFailed as error:
        return _unsent_cancel(error, config)
    return RESPONSES.cancel_result(response)


def _probe_before(order: Order, config: Config, context: Context) -> Flow[CancelResult]:
    """Probe the order instead of canceling it: only what is recorded of it can be judged by the account's rules.

    If the verdict allows, the cancel is asked for again, and made of what this probe says.
    """
    found = yield from _probe(order, config, context)
    if isinstance(found, Facts):
        return CancelResult(CancelOutcome.PROBE_FIRST, "The order was probed first.", facts=found)
    outcome = CancelOutcome.RETRY if found.outcome is CancelOutcome.INDETERMINATE else found.outcome
    detail = f"The probe before the cancel failed, and nothing was sent: {found}"
    return CancelResult(outcome, detail, told_wait(outcome, found.after_s), misdirected=found.misdirected)


def _unsent_cancel(error: ExpressionFailed, config: Config) -> CancelResult:
    """The result of a cancel whose call cannot be made: a probe may find out what it lacks."""
    words = excerpt(str(error), *config.secret_values.values())
    detail = f"The call that `cancel` describes cannot be made for this order, and nothing was sent: {words}."
    if isinstance(error, UnfitNameError):
        return CancelResult(CancelOutcome.REFUSED, detail)
    if config.probe is None:
        return CancelResult(CancelOutcome.REFUSED, f"{detail} {_NO_PROBE}")
    return CancelResult(CancelOutcome.PROBE_FIRST, detail)


def _probe(order: Order, config: Config, context: Context) -> Flow[Facts | ProbeUnavailable]:
    if config.probe is None:
        return ProbeUnavailable(_NO_PROBE, outcome=CancelOutcome.INDETERMINATE)
    values = call_values(CancelRequest(order, "", attempt=0), context.now)
    try:
        response = yield from _call(config.probe, order, config, values, context)
    except ExpressionFailed as error:
        words = excerpt(str(error), *config.secret_values.values())
        detail = f"The call that `probe` describes cannot be made for this order: {words}."
        outcome = CancelOutcome.REFUSED if isinstance(error, UnfitNameError) else CancelOutcome.RETRY
        return ProbeUnavailable(detail, outcome=outcome)
    order_in = partial(_order_in, read_as=config.probe.read_as, config=config)
    return read_snapshot(order, response, RESPONSES, order_in, no_status=_NO_STATUS)


def _order_in(body: Any, read_as: str | None, config: Config) -> tuple[str, Facts]:
    """The order in the response to a probe, with all its appointments. Raises `MalformedPayload`."""
    try:
        document = body if read_as is None else find(read_as, body)
        id, facts = order_of(document, config), facts_of(document, None, config, UNTRUSTED)
    except MalformedPayload as error:
        hint = "" if read_as else "; if its shape is not that of an event, set probe.read_as"
        raise MalformedPayload(f"{error}{hint}") from error
    # An appointment that the order as a whole does not list exists no more.
    return id, replace(facts, appointments_complete=config.fields.appointments is not None)


def _call(call: Call, order: Order, config: Config, values: dict[str, Any], context: Context) -> Flow[ProviderResponse]:
    """Make the call, and read its response. Raises `ExpressionFailed` where it cannot be made: nothing is sent then."""
    if not is_id(order.id):
        raise UnfitNameError("no order can be called so: its id is empty, too long, or holds what cannot be printed")
    return (yield from make_call(call, config, values, context, repeatable=isinstance(call, Probe)))
