"""What `GET /v1/status` tells of an installation: what waits for a person, and what should be known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Start
from providers import PROVIDER_KEY, Provider, until
from servers import ACCOUNT, BOOTSTRAP_KEY, Rescind, account_of


async def findings(rescind: Rescind) -> dict[str, dict[str, Any]]:
    """What was found, by its code."""
    status = await rescind.get("/v1/status")
    assert status["needs_attention"] is any(each["state"] == "fault" for each in status["findings"])
    return {each["code"]: each for each in status["findings"]}


async def test_nothing_to_tell(rescind: Rescind):
    status = await rescind.get("/v1/status")
    assert status["findings"] == []
    assert status["needs_attention"] is False
    assert (status["accounts"], status["endpoints"], status["policies"]) == (1, 1, 0)
    (await rescind.ask("GET", "/v1/status", key=None)).problem(401, "unauthorized")


@pytest.mark.parametrize(
    ("scope", "what", "cure"),
    [
        ({"account": ACCOUNT}, f"account {ACCOUNT}", f"`rescind resume --account {ACCOUNT}`"),
        ({"policies": True}, "all policies", "`rescind resume --policies`"),
    ],
)
async def test_what_a_person_paused(rescind: Rescind, scope: dict[str, Any], what: str, cure: str):
    await rescind.ask("POST", "/v1/pause", {**scope, "reason": "stock-taking"})
    found = (await findings(rescind))["paused"]
    assert (found["what"], found["state"]) == (what, "fault")
    assert "stock-taking" in found["detail"]
    assert found["do"].startswith(cure)


async def test_refused_credentials(rescind: Rescind, provider: Provider):
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config={"api_key": "not-the-key"}))
    await rescind.tell("order.processed", "1", status="ordered")
    await rescind.cancel("1")

    async def told() -> Any:
        return (await findings(rescind)).get("credentials_refused")

    found = await until(told, "the refused credentials")
    assert (found["what"], found["state"]) == (f"account {ACCOUNT}", "fault")
    assert f"rescind resume --account {ACCOUNT}" in found["do"]
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config={"api_key": PROVIDER_KEY}))
    assert "credentials_refused" not in await findings(rescind)


async def test_quarantine_and_approvals(rescind: Rescind):
    for number in range(3):
        assert (await rescind.hook({"event": "order.flown", "order_id": str(number)})).status == 202
    policy = {
        "accounts": [ACCOUNT],
        "when": 'order.phase == "open"',
        "cancel": {"reason": "duplicate_order", "note": "We sent it twice."},
        "mode": "approve",
    }
    assert (await rescind.ask("PUT", "/v1/policies/all-of-them?confirm=true", policy)).status == 201
    await rescind.tell("order.processed", "77", status="ordered")
    found = await findings(rescind)
    assert found["quarantined"]["detail"].startswith("3 ")
    assert found["approvals"]["detail"].startswith("1 ")
    assert "--waiting approval" in found["approvals"]["do"]
    (asked,) = (await rescind.get("/v1/cancellations?waiting=approval"))["data"]
    await rescind.ask("POST", f"/v1/cancellations/{asked['id']}/revoke", {})
    assert "approvals" not in await findings(rescind)


async def test_an_open_breaker_is_known_and_waits_for_nobody(rescind: Rescind, provider: Provider):
    await provider.fault("status", path=None, status=503, times=1_000_000)
    rescind.node.lanes[ACCOUNT].gate.rate.breaker.patience_s = 0.0
    for order in range(6):
        await rescind.tell("order.processed", str(order), status="ordered")
        await rescind.cancel(str(order))

    async def told() -> Any:
        return (await findings(rescind)).get("breaker_open")

    found = await until(told, "the open breaker")
    assert (found["what"], found["state"]) == (f"account {ACCOUNT}", "notice")
    assert BOOTSTRAP_KEY not in str(found)


async def test_a_search_index_that_cannot_be_opened_is_named_and_harms_nobody(start: Start, tmp_path: Path):
    (tmp_path / "rescind-index.db").mkdir()
    rescind = await start()

    async def told() -> Any:
        return (await findings(rescind)).get("search_index")

    found = await until(told, "the index's fault")
    assert found["state"] == "notice"
    assert "rescind-index.db" in found["detail"]
    assert (await rescind.get("/v1/events?text=nothing"))["data"] == []
