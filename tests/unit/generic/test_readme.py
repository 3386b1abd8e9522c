"""The example of the README stays true: it is what the suite over all handlers runs, and it works."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from multidict import CIMultiDict
from unit.generic.support import FOLDER, NOW, example

from app.config.models import AccountSpec, EndpointSpec
from app.contract import (
    CancelOutcome,
    CancelRequest,
    Context,
    Ignored,
    InboundRequest,
    Order,
    Phase,
    Source,
    Unrecognized,
)
from app.core.event import Event, to_event
from app.core.order import fold
from app.core.verdict import judge
from app.kit.signing import verify_scheme
from handlers.generic import HANDLER
from handlers.generic.config import Config, Fields
from handlers.generic.rules import Condition, Rules
from handlers.generic.simulator import ExampleShop
from handlers.generic.throttle import Throttle

README = (FOLDER / "README.md").read_text(encoding="utf-8")


def test_the_suite_runs_the_example() -> None:
    scenario = json.loads((FOLDER / "fixtures" / "_scenario.json").read_text(encoding="utf-8"))
    [account], [endpoint] = example()["accounts"], example()["endpoints"]
    assert account["config"] == scenario["config"]
    assert account["rules"] == scenario["rules"]
    assert endpoint["verify"] == {**scenario["options"], "secrets": scenario["secrets"]}


class Shop:
    """The example's account at the simulated shop."""

    def __init__(self) -> None:
        [account], [endpoint] = example()["accounts"], example()["endpoints"]
        self.account = AccountSpec.model_validate(account)
        self.endpoint = EndpointSpec.model_validate(endpoint)
        assert self.account.provider == HANDLER.name
        assert self.endpoint.account == self.account.id
        self.config = Config.model_validate(self.account.config)
        self.rules = Rules.model_validate(self.account.rules)
        self.shop = ExampleShop()
        self.events: list[Event] = []
        self.now = NOW

    def act(self, **action: Any) -> list[str]:
        """Let something happen; the types of the events that came of it."""
        self.now += timedelta(seconds=1)
        self.shop.act(action, self.now.timestamp())
        heard: list[Event] = []
        for webhook in self.shop.emitted():
            request = InboundRequest(CIMultiDict(webhook.headers), {}, webhook.body)
            verify_scheme(request, self.endpoint.verify, self.now)
            parsed = HANDLER.parse(request, self.config)
            assert not isinstance(parsed, Unrecognized)
            if not isinstance(parsed, Ignored):
                heard += [to_event(each, self.account.id, self.now, Source.WEBHOOK, None) for each in parsed]
        self.events += heard
        return [each.type for each in heard]

    @property
    def order(self) -> Order:
        return fold(self.account.id, self.events[0].order, self.events)[0]

    def verdict(self) -> tuple[str, str]:
        found = judge(HANDLER, self.rules, self.order, self.now)
        return found.cancelable, found.reason

    def cancel(self) -> CancelOutcome:
        HANDLER.check("mistake", "Ordered twice", self.rules)
        flow = HANDLER.cancel([CancelRequest(self.order, "mistake", "Ordered twice")], self.config, Context(self.now))
        answer = self.shop.handle(next(flow), self.now.timestamp())
        with pytest.raises(StopIteration) as end:
            flow.send(answer)
        outcome: CancelOutcome = end.value.value[0].outcome
        return outcome


def test_an_order_is_followed_and_canceled() -> None:
    shop = Shop()
    assert shop.act(do="create_order", order_id="ord_7") == ["order.created"]
    assert shop.act(do="send_greeting") == []
    assert (shop.order.phase, shop.order.attributes) == (Phase.OPEN, {"total": "49.90", "currency": "EUR"})
    assert shop.verdict() == ("yes", "open")
    assert shop.act(do="book_delivery", order_id="ord_7", starts_at="2026-03-03T15:00:00Z") == ["appointment.scheduled"]
    assert shop.verdict() == ("no", "delivery_near")
    assert shop.cancel() is CancelOutcome.REFUSED
    assert shop.act(do="call_off_delivery", order_id="ord_7") == ["appointment.canceled"]
    assert shop.verdict() == ("yes", "open")
    assert shop.cancel() is CancelOutcome.SUCCEEDED
    shop.now += timedelta(seconds=1)
    assert shop.act(do="list") == ["order.canceled"]
    assert shop.verdict() == ("no", "already_canceled")
    assert shop.cancel() is CancelOutcome.SUCCEEDED, "the table says so of an order that is canceled already"


def test_what_is_behind_the_window_is_refused_on_both_sides() -> None:
    shop = Shop()
    shop.act(do="create_order", order_id="ord_7")
    for step, type in (("pack", "order.updated"), ("ship", "order.fulfilled"), ("deliver", "order.completed")):
        assert shop.act(do=step, order_id="ord_7") == [type]
        assert shop.verdict()[0] == "no"
        assert shop.cancel() is CancelOutcome.REFUSED


def test_no_personal_data_is_kept() -> None:
    shop = Shop()
    shop.act(do="create_order")
    assert "Robin" in json.dumps(shop.shop.orders.one(order_id="ord_1001").shown())
    assert "Robin" not in repr(shop.events)


def test_every_key_is_in_the_readme() -> None:
    for model in (Config, Rules, Throttle):
        for name in model.model_fields:
            assert f"| `{name}` |" in README, name
    for name in (*Fields.model_fields, *Condition.model_fields):
        assert f"`{name}`" in README, name


def test_every_action_is_in_the_readme() -> None:
    with pytest.raises(ValueError, match="it can do") as caught:
        ExampleShop().act({"do": ""}, 0.0)
    for name in str(caught.value).rpartition("it can do ")[2].split(", "):
        assert f"`{name}`" in README, name


def test_the_example_is_yaml_that_needs_no_quotes_of_ours() -> None:
    """Templates and paths survive YAML as they are written."""
    config = Config.model_validate(example()["accounts"][0]["config"])
    assert config.cancel is not None
    assert config.cancel.url == "/v1/orders/{{ order.id }}/cancel"
    assert config.probe is not None
    assert config.probe.read_as == "{data: {order: @}}"
    assert yaml.safe_load(yaml.safe_dump(example())) == example()


def test_every_fixture_is_of_the_shop_or_plain() -> None:
    names = {each.stem for each in Path(FOLDER / "fixtures").glob("[!_]*.json")}
    assert {name.partition("_")[0] for name in names} == {"structured", "batch", "binary", "plain"}
