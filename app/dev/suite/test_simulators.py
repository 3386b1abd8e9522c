"""What every handler and its simulator must do together, run over every folder in `handlers/`."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace
from multidict import CIMultiDict

from app.contract import Cancelable, CancelOutcome, Handler, InboundRequest, Phase, SignsTime, VerificationError
from app.dev.suite.cases import Loop, chosen, options_of, verify

HANDLERS = list(chosen().values())
by_handler = pytest.mark.parametrize("handler", HANDLERS, ids=[handler.name for handler in HANDLERS])


@by_handler
def test_an_order_is_created_and_canceled(handler: Handler) -> None:
    loop = Loop(handler)
    loop.act(loop.given["create"])
    assert (loop.order.phase, loop.verdict()) == (Phase.OPEN, Cancelable.YES)
    if handler.probe is not None:
        assert loop.probe().phase is Phase.OPEN
    assert loop.cancel().outcome in (CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED)
    if handler.probe is not None:
        assert loop.probe().phase is Phase.CANCELED
    assert (loop.order.phase, loop.verdict()) == (Phase.CANCELED, Cancelable.NO)


@by_handler
def test_a_cancel_too_late_is_refused_by_both_sides(handler: Handler) -> None:
    loop = Loop(handler)
    loop.act(loop.given["create"])
    loop.act(loop.given["close"])
    if loop.verdict() is not Cancelable.NO and handler.probe is not None:
        loop.probe()  # its webhooks do not report it
    assert loop.verdict() is Cancelable.NO
    assert loop.cancel().outcome is CancelOutcome.REFUSED
    assert loop.order.phase is not Phase.CANCELED


@by_handler
def test_a_redelivered_webhook_is_authentic(handler: Handler) -> None:
    loop = Loop(handler)
    tolerance_s = loop.given["proof"]["tolerance_s"]
    assert isinstance(loop.simulator, SignsTime) == (tolerance_s is not None)
    created = loop.simulator.act(loop.given["create"], loop.now)
    loop.simulator.act({**loop.given["close"], "order_id": created["order_id"]}, loop.now)
    sent = loop.simulator.emitted()
    assert sent
    later = loop.now + (tolerance_s or 0) + 100
    for webhook in sent:
        again = loop.simulator.resigned(webhook, later) if isinstance(loop.simulator, SignsTime) else webhook
        headers = CIMultiDict({**again.headers, **loop.given["webhook_headers"]})
        request = InboundRequest(headers, {}, again.body)
        verify(handler, request, options_of(handler, *loop.given["secrets"]), datetime.fromtimestamp(later, UTC))
        assert request.body == webhook.body
        if tolerance_s is not None:
            old = replace(request, headers=CIMultiDict(webhook.headers))
            with pytest.raises(VerificationError):
                verify(handler, old, options_of(handler, *loop.given["secrets"]), datetime.fromtimestamp(later, UTC))


@by_handler
def test_a_simulator_names_what_it_does_not_know(handler: Handler) -> None:
    loop = Loop(handler)
    with pytest.raises(ValueError, match="fly"):
        loop.simulator.act({"do": "fly"}, loop.now)
    with pytest.raises(ValueError, match="wings"):
        loop.simulator.act({**loop.given["create"], "wings": 2}, loop.now)
    assert loop.simulator.emitted() == []
