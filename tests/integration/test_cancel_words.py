"""A cancel's reason and note: what they may be, its provider's handler says, through every door."""

from __future__ import annotations

from typing import Any

import pytest
from servers import Rescind, endpoint_of

from app.config.faults import InvalidResourceError
from app.config.models import WORDS_CHARS_MAX
from app.config.resolve import resolve

CONFIGS: dict[str, dict[str, Any]] = {
    "shoplazza": {"shop_domain": "acme", "access_token": "t0ken-of-the-shop"},
    "notpanel": {"key": "k3y-of-the-panel"},
    "superloop": {"access_token": "t0ken-of-the-account"},
    "planomatic": {"api_key": "k3y-of-the-photos"},
}
NOTELESS = ("shoplazza", "notpanel", "superloop")
LONG = "The customer changed their mind. " * 7


@pytest.fixture
async def accounts(rescind: Rescind) -> Rescind:
    """An account at each provider, whose calls lead nowhere, and wait."""
    for provider, config in CONFIGS.items():
        body = {"provider": provider, "config": {**config, "base_url": "http://127.0.0.1:1"}}
        await rescind.put("accounts", provider, body)
        await rescind.ask("POST", "/v1/pause", {"account": provider})
    return rescind


def order_at(provider: str) -> str:
    return f"/v1/accounts/{provider}/orders/17/cancellations"


async def test_a_reason_is_as_optional_and_as_long_as_the_provider_has_it(accounts: Rescind) -> None:
    assert 200 < len(LONG) <= 255
    for provider in NOTELESS:
        for body in ({}, {"reason": ""}, {"reason": LONG}):
            made = await accounts.ask("POST", order_at(provider), body)
            assert (made.status, made.json["reason"]) == (202, body.get("reason", "")), (provider, body)
            await accounts.ask("POST", f"/v1/cancellations/{made.json['id']}/revoke")
    problem = (await accounts.ask("POST", order_at("planomatic"), {"note": "x"})).problem(422, "invalid-request")
    assert (problem["field"], "PlanOmatic accepts only these" in problem["detail"]) == ("reason", True)
    longer = {"reason": "x" * 256}
    problem = (await accounts.ask("POST", order_at("shoplazza"), longer)).problem(422, "invalid-request")
    assert "may have 255 characters, and this has 256" in problem["detail"]
    rules = {"provider": "shoplazza", "config": CONFIGS["shoplazza"], "rules": {"reason_chars_max": 5000}}
    await accounts.put("accounts", "shoplazza", rules)
    assert (await accounts.ask("POST", order_at("shoplazza"), {"reason": "x" * 5000})).status == 202
    (await accounts.ask("POST", order_at("notpanel"), {"reason": "x" * (WORDS_CHARS_MAX + 1)})).problem(
        422, "invalid-request"
    )


async def test_a_note_where_the_provider_has_none_is_refused_and_says_so(accounts: Rescind) -> None:
    for provider, title in (("shoplazza", "Shoplazza"), ("notpanel", "NotPanel"), ("superloop", "Superloop")):
        body = {"reason": "x", "note": "They called."}
        problem = (await accounts.ask("POST", order_at(provider), body)).problem(422, "invalid-request")
        assert (problem["field"], f"{title} takes no note" in problem["detail"]) == ("note", True)
        assert (await accounts.ask("POST", order_at(provider), {"note": None, "dry_run": True})).status == 200


async def test_batches_and_policies_hold_to_the_same(accounts: Rescind) -> None:
    items = [{"account": each, "order": "17"} for each in CONFIGS]
    items += [{"account": "shoplazza", "order": "18", "reason": LONG}, {**items[0], "order": "19", "note": "x"}]
    made = (await accounts.ask("POST", "/v1/cancellation-batches", {"cancellations": items})).json
    assert [each["outcome"] for each in made["results"]] == [*["scheduled"] * 3, "invalid", "scheduled", "invalid"]
    assert "accepts only these" in made["results"][3]["detail"]
    assert "takes no note" in made["results"][5]["detail"]
    policy = {"accounts": ["shoplazza"], "when": "order.phase == 'open'"}
    for cancel, status in (({}, 201), ({"cancel": {"reason": LONG}}, 200), ({"cancel": {"note": "x"}}, 422)):
        reply = await accounts.ask("PUT", "/v1/policies/p", {**policy, **cancel})
        assert reply.status == status, cancel
    assert "policy p: cancel.note: account shoplazza: Shoplazza takes no note" in reply.json["detail"]


def test_a_policy_that_an_earlier_release_let_pass_keeps_no_server_from_starting() -> None:
    account = {"id": "panel", "provider": "notpanel", "config": CONFIGS["notpanel"]}
    policy = {"id": "p", "accounts": ["panel"], "when": "true", "cancel": {"reason": "x", "note": "an old note"}}
    endpoint = {"id": "in", **endpoint_of("panel")}
    raw = {("accounts", "panel"): (1, account), ("endpoints", "in"): (1, endpoint), ("policies", "p"): (1, policy)}
    assert resolve(raw).policies["p"].cancel.note == "an old note"
    assert resolve(raw, {("endpoints", "in")})
    for saved in (("policies", "p"), ("accounts", "panel")):
        with pytest.raises(InvalidResourceError, match=r"policy p: cancel\.note: account panel: NotPanel takes no"):
            resolve(raw, {saved})
