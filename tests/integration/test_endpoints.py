"""Endpoints that are created, rotated, disabled and enabled through the API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from conftest import Start
from integration.test_webhook_secrets import emitted
from servers import ACCOUNT, Reply, Rescind, account_of, webhook

from app.config.registry import handlers
from app.contract import VerifyOptions
from app.kit.sample import sample_of, signed

PUBLIC = "https://rescind.example.com"
SHOP = {"shop_domain": "acme", "access_token": "an-access-token"}
SOURCE = {
    "base_url": "https://shop.example.com",
    "fields": {"order": "order.id", "status": "order.status", "event": "kind", "time": "at"},
    "events": {"placed": {"type": "order.created"}},
    "phases": {"new": "open", "sent": "completed"},
    "cancel": "none",
}
CONFIGS: dict[str, dict[str, Any]] = {
    "planomatic": {"base_url": "https://api.example.com", "api_key": "a-key"},
    "superloop": {"access_token": "a-token"},
    "kibo": {"tenant": "10777"},
    "shoplazza": SHOP,
    "notpanel": {"key": "a-key-of-the-panel"},
    "generic": SOURCE,
}


async def create(rescind: Rescind, **body: Any) -> Any:
    reply = await rescind.ask("POST", "/v1/endpoints", body)
    assert reply.status == 201, reply
    return reply.json


async def send(rescind: Rescind, endpoint: str, token: str, order: str = "4711") -> Reply:
    body = webhook("order.processed", order)
    return await rescind.hook(body, endpoint, token)


@pytest.fixture
async def acme(start: Start) -> Rescind:
    rescind = await start(public_url=PUBLIC)
    await rescind.put("accounts", ACCOUNT, account_of("https://api.example.com"))
    return rescind


async def test_the_text_that_is_shown_once_is_all_that_a_provider_needs(acme: Rescind) -> None:
    made = await create(acme, account=ACCOUNT)
    assert made["id"].startswith(f"{ACCOUNT}-")
    assert made["url"] == f"{PUBLIC}/webhooks/{made['id']}"
    [url] = [field["value"] for field in made["setup"]["fields"]]
    assert url == f"{made['url']}?token={made['secret']}"
    reply = await acme.ask("POST", url.removeprefix(PUBLIC), webhook("order.processed", "1"), key=None)
    assert reply.status == 200
    shown = [await acme.get(path) for path in (f"/v1/endpoints/{made['id']}", "/v1/endpoints", "/v1/changes")]
    assert made["secret"] not in str(shown)
    assert shown[0]["url"] == made["url"]
    assert (await acme.put("endpoints", made["id"], shown[0])).json["version"] == 1, "what is shown can be put back"


async def test_each_handler_says_what_to_enter_and_signs_a_sample_that_its_own_verify_accepts(start: Start) -> None:
    rescind, now = await start(public_url=PUBLIC), datetime.now(UTC)
    for name, config in CONFIGS.items():
        await rescind.put("accounts", name, {"provider": name, "config": config})
        secret = {"verify": {"secrets": ["s3cret/with+odd=signs"]}}
        made = await create(rescind, account=name, id=f"{name}-in", **secret)
        values = [field["value"] for field in made["setup"]["fields"]]
        assert any(value.startswith(made["url"]) for value in values), (name, values)
        assert "secret" not in made, "a secret that the caller gave is not repeated"
        endpoint = rescind.node.config.endpoints[f"{name}-in"]
        handler = handlers()[name]
        sample = sample_of(handler, endpoint.account.config, now)
        for options in (endpoint.verify, VerifyOptions(scheme="github", secrets=endpoint.verify.secrets)):
            sent = signed(handler, sample, options, now)
            id = f"{name}-{options.scheme}"
            verify = {"scheme": options.scheme, "secrets": ["s3cret/with+odd=signs"]}
            await rescind.put("endpoints", id, {"account": name, "verify": verify})
            url, more = f"/webhooks/{id}{sent.url}", {"headers": sent.headers, "key": None}
            reply = await rescind.ask("POST", url, data=sent.body, **more)
            assert (reply.status, reply.json["status"]) in ((200, "accepted"), (200, "duplicate")), (id, reply)


async def test_what_cannot_be_created(acme: Rescind) -> None:
    await create(acme, account=ACCOUNT, id="taken")
    taken = await acme.ask("POST", "/v1/endpoints", {"account": ACCOUNT, "id": "taken"})
    assert "taken" in taken.problem(409, "already-exists")["detail"]
    for body, said in (
        ({}, "account"),
        ({"account": "acme-"}, "did you mean 'acme'?"),
        ({"account": ACCOUNT, "id": "No Slug"}, "endpoint No Slug: id"),
        ({"account": ACCOUNT, "verify": {"scheme": "hmac", "signed": "{x}"}}, "signed"),
        ({"account": ACCOUNT, "verify": ["x"]}, "verify"),
        ({"account": ACCOUNT, "verify": {"scheme": "nix"}}, "scheme"),
        ({"account": [1]}, "account"),
    ):
        reply = await acme.ask("POST", "/v1/endpoints", body)
        assert said in reply.problem(422, "invalid-request")["detail"], reply


async def test_a_repeated_create_and_rotate_return_the_first_secret_and_do_nothing(acme: Rescind) -> None:
    again = {"headers": {"Idempotency-Key": "one"}}
    first, second = [await acme.ask("POST", "/v1/endpoints", {"account": ACCOUNT}, **again) for _ in range(2)]
    assert first.json == second.json
    assert second.headers["Idempotent-Replayed"] == "true"
    id, again = first.json["id"], {"headers": {"Idempotency-Key": "two"}}
    first, second = [await acme.ask("POST", f"/v1/endpoints/{id}/rotate", {}, **again) for _ in range(2)]
    assert (first.status, first.json) == (200, second.json)
    assert (await acme.get(f"/v1/endpoints/{id}"))["version"] == 2
    assert len((await acme.get("/v1/endpoints"))["data"]) == 1
    assert (await send(acme, id, first.json["secret"])).status == 200


async def test_both_secrets_are_accepted_until_the_overlap_ends(acme: Rescind) -> None:
    made = await create(acme, account=ACCOUNT, id="hook")
    rotated = (await acme.ask("POST", "/v1/endpoints/hook/rotate", {"overlap_h": 0.5})).json
    assert rotated["secret"] != made["secret"]
    assert rotated["secret"] in rotated["setup"]["fields"][0]["value"]
    left = datetime.fromisoformat(rotated["former_valid_until"]) - datetime.now(UTC)
    assert 0.49 < left.total_seconds() / 3600 <= 0.5
    for secret in (made["secret"], rotated["secret"]):
        assert (await send(acme, "hook", secret)).status == 200
    shown = await acme.get("/v1/endpoints/hook")
    assert made["secret"] not in str(shown)
    await acme.put("endpoints", "hook", {"account": ACCOUNT, "verify": shown["verify"]})
    assert (await send(acme, "hook", made["secret"])).status == 200, "a change that does not name it keeps the overlap"
    await acme.put("endpoints", "hook", {**shown, "retired_secrets": []})
    (await send(acme, "hook", made["secret"])).problem(401, "unauthentic-webhook")
    assert (await send(acme, "hook", rotated["secret"])).status == 200


async def test_an_expired_secret_is_refused_and_dropped_at_the_next_change(acme: Rescind) -> None:
    former = {"secret": "the-former-secret", "until": "2020-01-01T00:00:00Z"}
    made = await create(acme, account=ACCOUNT, id="hook")
    endpoint = acme.node.config.endpoints["hook"]
    # As if the overlap had ended since it was saved.
    version, body = acme.node.config._bodies["endpoints", "hook"]
    acme.node.config._bodies["endpoints", "hook"] = (version, {**body, "retired_secrets": [former]})
    object.__setattr__(
        endpoint,
        "retired",
        ((VerifyOptions(secrets=("the-former-secret",)), datetime(2020, 1, 1, tzinfo=UTC)),),
    )
    (await send(acme, "hook", "the-former-secret")).problem(401, "unauthentic-webhook")
    assert (await acme.get("/v1/endpoints/hook"))["retired_secrets"]
    await acme.ask("POST", "/v1/endpoints/hook/disable")
    assert "retired_secrets" not in await acme.get("/v1/endpoints/hook")
    assert made["secret"]


async def test_a_secret_that_the_provider_issues_is_not_generated_but_may_be_given(start: Start) -> None:
    rescind = await start(public_url=PUBLIC)
    old, new = "the-old-client-secret", "the-new-client-secret"
    await rescind.put("accounts", "shop", {"provider": "shoplazza", "config": {**SHOP, "client_secret": old}})
    await create(rescind, account="shop", id="in")
    refused = await rescind.ask("POST", "/v1/endpoints/in/rotate", {})
    detail = refused.problem(422, "invalid-request")["detail"]
    assert "config.client_secret of account shop" in detail
    rotated = await rescind.ask("POST", "/v1/endpoints/in/rotate", {"secret": new})
    assert "secret" not in rotated.json
    for secret, status in ((old, 200), (new, 200), ("another-secret", 401)):
        sent = emitted("shoplazza", "client_secret", secret)
        assert (await rescind.ask("POST", "/webhooks/in", **sent)).status == status, secret


async def test_a_public_key_is_not_replaced_by_a_secret(acme: Rescind) -> None:
    verify = {"scheme": "standard_webhooks", "secrets": ["whpk_AAAA"]}
    await create(acme, account=ACCOUNT, id="hook", verify=verify)
    refused = await acme.ask("POST", "/v1/endpoints/hook/rotate", {})
    assert "private key" in refused.problem(422, "invalid-request")["detail"]
    assert (await acme.ask("POST", "/v1/endpoints/hook/rotate", {"secret": "whpk_BBBB"})).status == 200


async def test_an_endpoint_waits_for_the_secret_that_the_provider_will_show(acme: Rescind) -> None:
    made = await create(acme, account=ACCOUNT, id="hook", verify={"scheme": "stripe"})
    assert "secret" not in made
    assert "rescind endpoints rotate hook --secret" in made["setup"]["notes"][-1]


async def test_a_disabled_endpoint_is_not_found_and_records_nothing(acme: Rescind) -> None:
    made = await create(acme, account=ACCOUNT, id="hook")
    for action, enabled, status in (("disable", False, 404), ("disable", False, 404), ("enable", True, 200)):
        reply = await acme.ask("POST", f"/v1/endpoints/hook/{action}")
        assert (reply.status, reply.json["enabled"]) == (200, enabled)
        assert (await send(acme, "hook", made["secret"])).status == status
        assert len((await acme.get("/v1/receipts"))["data"]) == (1 if enabled else 0)
    await acme.put("accounts", "cloud", {"provider": "generic", "config": {**SOURCE, "handshake": {"origins": ["*"]}}})
    await create(acme, account="cloud", id="cloud-in")
    asked = {"headers": {"WebHook-Request-Origin": "sender.example.com"}, "key": None}
    assert (await acme.ask("OPTIONS", "/webhooks/cloud-in", **asked)).status == 200
    await acme.ask("POST", "/v1/endpoints/cloud-in/disable")
    assert (await acme.ask("OPTIONS", "/webhooks/cloud-in", **asked)).status == 404
    for action in ("disable", "enable", "rotate"):
        (await acme.ask("POST", f"/v1/endpoints/nix/{action}", {})).problem(404, "not-found")
