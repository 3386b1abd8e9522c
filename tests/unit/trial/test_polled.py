"""An account without an endpoint is tried by what its source answers to the probe, as a poll would ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from unit.trial.support import CONFIG, KEY, NOW, answer, given, placed, source

from app.config.faults import InvalidResourceError
from app.config.resolve import Account
from app.dev.trial.report import Trial
from app.dev.trial.run import Wanted, run
from app.dev.trial.source import TrialSource, UnclearEndpointError, read_source


def _polled(folder: Path, *more: str, **endpoint: Any) -> TrialSource:
    """A file with the shop, which has no endpoint, and with others of its kind."""
    accounts = [{"id": id, "provider": "generic", "config": CONFIG} for id in ("shop", *more)]
    accounts[0]["polling"] = {"every_s": 60}
    file = folder / "polled.yaml"
    file.write_text(json.dumps({"accounts": accounts, "endpoints": [endpoint] if endpoint else []}), encoding="utf-8")
    return read_source(file, {}, NOW)


def _tried(shop: TrialSource, **wanted: Any) -> Trial:
    return run(shop, shop.target(None, "shop"), [], Wanted(**{"now": NOW, "order": "o-1", **wanted}))


def test_the_answer_to_a_probe_gives_facts_phase_verdict_and_the_cancel_that_follows(tmp_path: Path) -> None:
    shop = _polled(tmp_path)
    body = {"id": "o-1", "status": "placed", "version": 7}
    tried = _tried(shop, answers=[answer(200, body)], flow="probe")
    [order] = tried.orders
    assert tried.ok, tried.failure
    assert (tried.endpoint, tried.account, order.phase) == ("", "shop", "unknown")
    assert [name for name, _ in order.flows] == ["probe", "cancel"]
    assert order.probe is not None
    assert order.probe.result is not None
    assert order.probe.result.verdict is not None
    assert (order.probe.result.phase, order.probe.result.verdict.cancelable) == ("open", "yes")
    # The cancel is made of what the answer says, of which no webhook has told.
    assert order.cancel is not None
    assert order.cancel.admitted == "sent"
    assert order.cancel.calls[-1].body == '{"version":7,"key":"**********"}'
    assert KEY not in repr(tried)
    canceled = _tried(shop, answers=[answer(200, {**body, "status": "canceled"})], flow="probe").orders[0]
    assert canceled.cancel is not None
    assert canceled.cancel.admitted == "rejected"
    lacking = _tried(shop, answers=[answer(200, {"id": "o-1", "status": "placed"})], flow="probe")
    assert lacking.failure.startswith("order o-1: cancel: The call that `cancel` describes cannot be made")


def test_an_answer_that_tells_nothing_is_followed_by_no_cancel(tmp_path: Path) -> None:
    [order] = _tried(_polled(tmp_path), answers=[answer(503)], flow="probe").orders
    assert order.probe is not None
    assert order.probe.result is not None
    assert (order.probe.result.outcome, order.cancel) == ("retry", None)


def test_how_an_account_without_an_endpoint_hears_of_orders_is_noted(tmp_path: Path) -> None:
    shop = _polled(tmp_path, "other")
    [note] = [note for note in _tried(shop).notes if "no endpoint" in note]
    assert "polled every 60 s; --flow probe --answer FILE" in note
    other = run(shop, shop.target(None, "other"), [], Wanted(NOW, "o-1"))
    assert any("it is not polled either" in note for note in other.notes)
    # A webhook finds no endpoint, so it changes nothing.
    assert run(shop, shop.target(None, "shop"), [given(placed())], Wanted(NOW)).webhooks == []


def test_an_account_is_named_or_the_only_one(tmp_path: Path) -> None:
    assert isinstance(_polled(tmp_path).target(None, None), Account)
    several = _polled(tmp_path, "other")
    for named, said in ((None, "has several accounts; there are other, shop"), ("third", "has no account third")):
        with pytest.raises(UnclearEndpointError, match=said):
            several.target(None, named)
    mixed = _polled(tmp_path, "other", id="other-in", account="other", verify={"secrets": ["a-token-of-it"]})
    assert mixed.target(None, None) is mixed.target(None, "other") is mixed.endpoint("other-in")
    assert isinstance(mixed.target(None, "shop"), Account)
    assert source(tmp_path).target("shop-in", None) is not None
    with pytest.raises(InvalidResourceError, match="has no account"):
        read_source(_empty(tmp_path), {}, NOW)


def _empty(folder: Path) -> Path:
    file = folder / "empty.yaml"
    file.write_text("accounts: []\n", encoding="utf-8")
    return file
