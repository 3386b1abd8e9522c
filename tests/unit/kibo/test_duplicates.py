"""Nothing that is kept of Kibo's orders tells that two of them are the same, but for an id of the merchant's own."""

from __future__ import annotations

from typing import Any

from contract.handler_cases import exchange, responses
from webhooks import NOW, mark, order_of

from app.contract import Facts, Order, ParsedEvent, Source
from app.core.event import to_event
from app.core.order import fold


def probed(**more: Any) -> Order:
    """The order in a fixture's response of Kibo, with more in it."""
    [fixture] = [each for each in responses() if (each.handler.name, each.name) == ("kibo", "probe: Accepted")]
    fixture.data["responses"][0]["body"].update(more)
    facts = exchange(fixture).result
    assert isinstance(facts, Facts)
    event = to_event(ParsedEvent("1010101", "order.probed", b"1", facts, NOW), "account", NOW, Source.PROVIDER, None)
    return fold("account", event.order, [event])[0]


def test_strangers_who_buy_the_same_are_no_duplicates() -> None:
    assert probed().attributes["total"] == "49.9"
    assert mark("kibo", probed()) is None
    assert mark("kibo", order_of("kibo", "order_opened")) is None


def test_an_id_of_the_merchant_s_own_may_be_named() -> None:
    def imported(**more: Any) -> int | None:
        return mark("kibo", probed(**more), duplicate_keys=("externalId",))

    assert imported(externalId="web-7") == imported(externalId="web-7", total=50) is not None
    assert imported(externalId="web-7") != imported(externalId="web-8")
    assert imported() is None
