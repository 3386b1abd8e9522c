"""`GET /v1/overview`: what the console's start page and `rescind top` show, in one request."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from providers import Provider, until
from servers import ACCOUNT, ROOT, TOKEN, Rescind, account_of

from app.web import overview

HANDLERS = ROOT / "handlers"


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "FRESH_S", 0.0)
    monkeypatch.setattr(overview, "LASTING_S", 0.0)


async def test_an_installation_at_rest(rescind: Rescind):
    shown = await rescind.get("/v1/overview")
    assert (shown["needs_attention"], shown["findings"]) == (False, [])
    assert (shown["ingest"]["webhooks"], len(shown["ingest"]["events_by_minute"])) == (0, 60)
    assert shown["closing"]["next"] == []
    hours = shown["closing"]["hours"]
    assert [hour["orders"] for hour in hours] == [0] * 24
    assert [hour["ends_at"] for hour in hours[:-1]] == [hour["starts_at"] for hour in hours[1:]]
    assert set(shown["cancellations"]["live"].values()) == {0}
    (lane,) = shown["lanes"]["first"]
    assert (lane["account"], lane["state"], lane["due"], lane["oldest_due_s"]) == (ACCOUNT, "idle", 0, 0.0)
    assert shown["lanes"]["by_state"] == {"idle": 1}


async def test_what_came_in_what_waits_and_what_was_done(rescind: Rescind):
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "stock-taking"})
    for order in ("1", "2"):
        await rescind.tell("order.processed", order, status="ordered")
        await rescind.cancel(order)
    shown = await rescind.get("/v1/overview")
    assert shown["needs_attention"] is True
    assert [(one["code"], one["account"]) for one in shown["findings"]] == [("paused", ACCOUNT)]
    assert shown["ingest"]["webhooks"] == 2
    assert sum(shown["ingest"]["events_by_minute"]) >= 4
    assert shown["cancellations"]["live"]["scheduled"] == 2
    (lane,) = shown["lanes"]["first"]
    assert (lane["state"], lane["reason"], lane["due"], lane["webhooks"]) == ("paused", "stock-taking", 2, 2)
    await until_older(rescind, lane["oldest_due_s"])
    await rescind.ask("POST", "/v1/resume", {"account": ACCOUNT})

    async def done() -> Any:
        counts = (await rescind.get("/v1/overview"))["cancellations"]
        return counts if sum(counts["final"].values()) == 2 else None

    assert (await until(done, "both cancels"))["live"]["scheduled"] == 0


async def until_older(rescind: Rescind, age_s: float) -> None:
    async def older() -> bool:
        return bool((await rescind.get("/v1/overview"))["lanes"]["oldest_due_s"] > age_s)

    await until(older, "an older backlog")


async def test_windows_that_time_closes(rescind: Rescind, provider: Provider):
    closes_at = (datetime.now(UTC) + timedelta(hours=5, minutes=30)).isoformat()
    closed = {"when": f"now >= timestamp('{closes_at}')", "cancelable": "no", "reason": "too_late"}
    scenario = json.loads((HANDLERS / "generic" / "fixtures" / "_scenario.json").read_text(encoding="utf-8"))
    rules = {"conditions": [{**closed, "changes_at": f"timestamp('{closes_at}')"}]}
    config = {**scenario["config"], "base_url": provider.url}
    await rescind.put("accounts", "shop", {"provider": "generic", "config": config, "rules": rules})
    await rescind.put("endpoints", "shop-in", {"account": "shop", "verify": {"scheme": "token", "secrets": [TOKEN]}})
    event = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "com.example.shop.order.placed"}
    body = json.dumps({**event, "data": {"order": {"id": "ord_1", "status": "placed"}}}).encode()
    told = await rescind.hook(body, "shop-in", headers={"Content-Type": "application/cloudevents+json"})
    assert told.json["status"] == "accepted", told
    shown = (await rescind.get("/v1/overview?account=shop"))["closing"]
    (closing,) = shown["next"]
    assert (closing["account"], closing["order"], closing["cancelable"]) == ("shop", "ord_1", "yes")
    assert datetime.fromisoformat(closing["closes_at"]) == datetime.fromisoformat(closes_at)
    assert [hour["orders"] for hour in shown["hours"]] == [0] * 5 + [1] + [0] * 18
    assert (await rescind.get(f"/v1/overview?account={ACCOUNT}"))["closing"]["next"] == []


async def test_only_one_account(rescind: Rescind, provider: Provider):
    await rescind.put("accounts", "other", account_of(provider.url))
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "stock-taking"})
    assert (await rescind.hook({"event": "order.flown", "order_id": "1"})).status == 202
    shown = await rescind.get(f"/v1/overview?account={ACCOUNT}")
    assert {one["code"] for one in shown["findings"]} == {"paused", "quarantined"}
    assert shown["ingest"]["events_by_minute"] is None
    other = await rescind.get("/v1/overview?account=other")
    assert (other["findings"], other["ingest"]["webhooks"]) == ([], 0)
    assert [lane["account"] for lane in other["lanes"]["first"]] == ["other"]
    (await rescind.ask("GET", "/v1/overview?account=none")).problem(404, "not-found")


async def test_answers_are_shared_for_a_second(rescind: Rescind, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overview, "FRESH_S", 3600.0)
    first = await rescind.get("/v1/overview")
    assert await rescind.get("/v1/overview") == first
    assert (await rescind.get(f"/v1/overview?account={ACCOUNT}"))["as_of"] > first["as_of"]
