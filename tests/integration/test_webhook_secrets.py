"""One webhook secret is written once: an endpoint without secrets of its own is verified by its account's."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from servers import Rescind

from app.config.registry import handlers

SECRET = "a-webhook-secret-0123456789"
OTHER = "another-secret-0123456789"
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "kibo": ({"tenant": "10001"}, "shared_secret", "secret"),
    "shoplazza": ({"shop_domain": "acme", "access_token": "an-access-token"}, "client_secret", "client_secret"),
    "notpanel": ({"key": "a-key-of-the-panel"}, "webhook_secret", "webhook_secret"),
}
"""Handler → its account's config, the field of the secret there, and the simulator's argument for it."""


def emitted(provider: str, argument: str, secret: str) -> dict[str, Any]:
    """One webhook as the provider signs it now."""
    kind: Any = handlers()[provider].simulator
    simulator, now = kind(**{argument: secret}), datetime.now(UTC).timestamp()
    made = simulator.act({"do": "create_order"}, now)
    if provider == "notpanel":
        simulator.act({"do": "complete", "order_id": made["order_id"]}, now)
    webhook = simulator.emitted()[-1]
    return {"data": webhook.body, "headers": dict(webhook.headers), "key": None}


@pytest.mark.parametrize("name", CASES)
async def test_an_endpoint_without_secrets_is_verified_by_its_account_s(rescind: Rescind, name: str) -> None:
    config, field, argument = CASES[name]
    account = {"id": "shop", "provider": name, "config": {**config, field: SECRET}}
    endpoints = [
        {"id": "bare", "account": "shop"},
        {"id": "empty", "account": "shop", "verify": {}},
        {"id": "own", "account": "shop", "verify": {"secrets": [OTHER]}},
    ]
    reply = await rescind.ask("POST", "/v1/apply", {"resources": {"accounts": [account], "endpoints": endpoints}})
    assert reply.status == 200, reply.json
    by_account, by_own = emitted(name, argument, SECRET), emitted(name, argument, OTHER)
    for id, good, bad in (("bare", by_account, by_own), ("empty", by_account, by_own), ("own", by_own, by_account)):
        accepted = await rescind.ask("POST", f"/webhooks/{id}", **good)
        assert accepted.status == 200, (id, accepted)
        (await rescind.ask("POST", f"/webhooks/{id}", **bad)).problem(401, "unauthentic-webhook")
    shown = [await rescind.get(f"/v1/{path}") for path in ("endpoints/bare", "endpoints", "accounts/shop", "changes")]
    assert SECRET not in str(shown)
    put = await rescind.ask("PUT", "/v1/endpoints/bare", shown[0])
    assert put.status == 200, "what is shown can be put back"


async def test_an_endpoint_without_any_secret_is_refused_and_told_where_to_write_it(rescind: Rescind) -> None:
    for provider, (config, field, _) in CASES.items():
        account = {"id": "shop", "provider": provider, "config": config}
        for verify, advice in (({}, f"config.{field} of account shop"), ({"scheme": "token"}, "verify.secrets")):
            endpoint = {"id": "in", "account": "shop", "verify": verify}
            body = {"resources": {"accounts": [account], "endpoints": [endpoint]}}
            detail = (await rescind.ask("POST", "/v1/apply", body)).problem(422, "invalid-request")["detail"]
            assert advice in detail
            assert ("config." in detail) is (verify == {})


async def test_a_token_is_never_the_account_s_webhook_secret(rescind: Rescind) -> None:
    config, field, _ = CASES["kibo"]
    account = {"id": "shop", "provider": "kibo", "config": {**config, field: SECRET}}
    endpoint = {"id": "in", "account": "shop", "verify": {"scheme": "token"}}
    body = {"resources": {"accounts": [account], "endpoints": [endpoint]}}
    (await rescind.ask("POST", "/v1/apply", body)).problem(422, "invalid-request")
