"""Orders that nobody told of: the provider is asked about them, within the limit, and to repeat it changes nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from providers import RETRIEVE_PATH, Provider, until
from servers import ACCOUNT, Rescind, account_of

from app.web import probes

PATH = f"/v1/accounts/{ACCOUNT}/probes"


async def want(rescind: Rescind, *orders: str, **more: Any) -> dict[str, str]:
    """Order → what came of it."""
    reply = await rescind.ask("POST", PATH, {"orders": list(orders), **more})
    assert reply.status == 202, reply
    return {each["order"]: each["outcome"] for each in reply.json["results"]}


async def probed(rescind: Rescind) -> None:
    async def look() -> bool:
        return (await rescind.get(PATH))["waiting"] == 0

    await until(look, "all probes to be over")


async def test_what_the_provider_knows_is_known_then(rescind: Rescind, provider: Provider):
    await provider.create("1", "2")
    assert await want(rescind, "1", "2", "3", "1") == {"1": "wanted", "2": "wanted", "3": "wanted"}
    await probed(rescind)
    for order in ("1", "2"):
        known = await rescind.order(order)
        assert (known["phase"], known["verdict"]["cancelable"]) == ("open", "yes")
    assert (await rescind.order("3"))["verdict"]["cancelable"] == "unknown"
    types = [each["type"] for each in (await rescind.get(f"/v1/events?account={ACCOUNT}&order=3"))["data"]]
    assert types == ["probe.abandoned", "probe.wanted"]


async def test_a_refresh_asks_again_and_an_import_does_not(rescind: Rescind, provider: Provider):
    await provider.create("1")
    await want(rescind, "1", only_new=True)
    await probed(rescind)
    assert await want(rescind, "1", only_new=True) == {"1": "known"}
    assert len(await provider.calls(RETRIEVE_PATH)) == 1
    await provider.act("cancel_by_staff", order_id="1", silent=True)
    assert await want(rescind, "1") == {"1": "wanted"}
    await probed(rescind)
    assert (await rescind.order("1"))["phase"] == "canceled"


async def test_an_import_may_be_repeated_while_it_goes_on(rescind: Rescind):
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    for _ in range(2):
        assert set((await want(rescind, *"abcde", only_new=True)).values()) == {"wanted"}
    assert len((await rescind.get("/v1/events?type=probe.wanted"))["data"]) == 5
    waiting = await rescind.get(PATH)
    assert (waiting["waiting"], waiting["lane"]["state"]) == (5, "paused")


async def test_an_import_leaves_half_of_the_limit_to_cancels(rescind: Rescind, provider: Provider):
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits={"requests": 10, "per_s": 100}))
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    await want(rescind, "a", "b", "c", only_new=True)
    await want(rescind, "d", only_new=True)
    events = (await rescind.get("/v1/events?type=probe.wanted"))["data"]
    due = sorted(datetime.fromisoformat(each["data"]["due_at"]) for each in events)
    assert [(later - due[0]).total_seconds() for later in due] == [0.0, 20.0, 40.0, 60.0]


async def test_a_large_import_is_counted_up_to_a_bound_and_says_so(rescind: Rescind, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(probes, "COUNT_MAX", 3)
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    for orders, shown in (("abc", (3, False)), ("d", (3, True))):
        await want(rescind, *orders, only_new=True)
        waiting = await rescind.get(PATH)
        assert (waiting["waiting"], waiting["more"]) == shown


async def test_an_import_may_be_due_after_the_last_year(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
):
    # As millions of orders at one call a day would be.
    monkeypatch.setattr(probes, "SHARE", 1e-8)
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, limits={"requests": 1, "per_s": 86_400}))
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    for orders in ("abc", "d"):
        assert set((await want(rescind, *orders, only_new=True)).values()) == {"wanted"}
    assert (await rescind.get(PATH))["waiting"] == 4


async def test_a_cancellation_under_way_asks_by_itself(rescind: Rescind):
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    await rescind.tell("order.processed", "1", status="ordered")
    await rescind.cancel("1")
    assert await want(rescind, "1") == {"1": "busy"}


async def test_what_cannot_be_asked(rescind: Rescind):
    assert await want(rescind, "x" * 201, "\n") == {"x" * 201: "invalid", "\n": "invalid"}
    (await rescind.ask("POST", "/v1/accounts/nobody/probes", {"orders": ["1"]})).problem(404, "not-found")
    (await rescind.ask("POST", PATH, {"orders": []})).problem(422, "invalid-request")
    (await rescind.ask("GET", "/v1/accounts/nobody/probes")).problem(404, "not-found")
