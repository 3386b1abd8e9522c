"""Who may use the API: keys, scopes, and that no secret ever stands in an answer (I9)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from providers import PROVIDER_KEY, Provider
from servers import ACCOUNT, BOOTSTRAP_KEY, ENDPOINT, TOKEN, Rescind, account_of, endpoint_of, stored_in, webhook

from app.config.scope import Scope
from app.web.server import ROUTES

OPEN = {"/healthz", "/readyz", "/openapi.json"}


def path_of(template: str) -> str:
    for name, value in {"account": ACCOUNT, "order": "o-1", "id": "nothing"}.items():
        template = template.replace("{backtest}", "x").replace("{" + name + "}", value)
    return template


async def new_key(rescind: Rescind, scope: str, **headers: str) -> dict[str, Any]:
    reply = await rescind.ask("POST", "/v1/keys", {"name": f"a {scope} key", "scope": scope}, headers=headers)
    assert reply.status == 201, reply
    return dict(reply.json)


# -- Authentication ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Basic {BOOTSTRAP_KEY}",
        BOOTSTRAP_KEY,
        f"Bearer {BOOTSTRAP_KEY}x",
        f"Bearer {BOOTSTRAP_KEY[:-1]}",
        f"Bearer {BOOTSTRAP_KEY} {BOOTSTRAP_KEY}",
        "Bearer \u00e9\u00ff",
    ],
)
async def test_no_route_answers_without_a_valid_key(rescind: Rescind, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    for route in ROUTES:
        reply = await rescind.ask(route.method, path_of(route.path), key=None, headers=headers)
        reply.problem(401, "unauthorized")
        assert reply.headers["WWW-Authenticate"].startswith("Bearer")
    (await rescind.ask("GET", "/metrics", key=None, headers=headers)).problem(401, "unauthorized")
    for path in OPEN:
        assert (await rescind.ask("GET", path, key=None, headers=headers)).status == 200


async def test_the_scheme_is_not_case_sensitive(rescind: Rescind) -> None:
    for scheme in ("bearer", "BEARER", "Bearer"):
        headers = {"Authorization": f"{scheme} {BOOTSTRAP_KEY}"}
        assert (await rescind.ask("GET", "/v1/orders", key=None, headers=headers)).status == 200


async def test_every_route_asks_for_its_scope(rescind: Rescind) -> None:
    keys = {scope: (await new_key(rescind, scope))["key"] for scope in Scope}
    for route in ROUTES:
        for scope, key in keys.items():
            reply = await rescind.ask(route.method, path_of(route.path), key=key)
            if not scope.includes(route.scope):
                assert route.scope in reply.problem(403, "forbidden")["detail"]
            else:
                assert reply.status not in (401, 403), (route, scope, reply)


def test_reading_needs_read_and_changing_more() -> None:
    for route in ROUTES:
        assert (route.scope is Scope.READ) <= (route.method == "GET"), route.name
    for_admins = {route.name for route in ROUTES if route.method == "GET" and route.scope is Scope.ADMIN}
    assert for_admins == {"listKeys", "listChanges", "getPruning"}


# -- Keys ---------------------------------------------------------------------------------------------


async def test_a_key_is_shown_once_works_and_can_be_revoked(rescind: Rescind, tmp_path: Path) -> None:
    made = await new_key(rescind, "read")
    assert made["key"].startswith("rk_")
    assert len(made["key"]) >= 40
    assert (await rescind.ask("GET", "/v1/orders", key=made["key"])).status == 200
    listed = await rescind.ask("GET", "/v1/keys")
    assert made["key"].encode() not in listed.raw
    assert [each["id"] for each in listed.json["data"]] == [made["id"]]
    assert (await rescind.ask("DELETE", f"/v1/keys/{made['id']}")).status == 204
    (await rescind.ask("GET", "/v1/orders", key=made["key"])).problem(401, "unauthorized")
    (await rescind.ask("DELETE", f"/v1/keys/{made['id']}")).problem(404, "not-found")
    (shown,) = (await rescind.get("/v1/keys"))["data"]
    assert shown["revoked_at"]
    on_disk = stored_in(tmp_path)
    assert made["key"].encode() not in on_disk


async def test_the_same_idempotency_key_makes_one_key(rescind: Rescind) -> None:
    headers = {"Idempotency-Key": "once"}
    body = {"name": "ci", "scope": "write"}
    first = await rescind.ask("POST", "/v1/keys", body, headers=headers)
    again = await rescind.ask("POST", "/v1/keys", body, headers=headers)
    assert (first.status, again.status, again.raw) == (201, 201, first.raw)
    assert (first.headers.get("Idempotent-Replayed"), again.headers.get("Idempotent-Replayed")) == (None, "true")
    other = await rescind.ask("POST", "/v1/keys", {"name": "another"}, headers=headers)
    other.problem(422, "idempotency-key-reused")
    assert len((await rescind.get("/v1/keys"))["data"]) == 1


async def test_concurrent_requests_with_one_idempotency_key_make_one_key(rescind: Rescind) -> None:
    headers = {"Idempotency-Key": "once"}
    asked = (rescind.ask("POST", "/v1/keys", {"name": "ci"}, headers=headers) for _ in range(6))
    replies = await asyncio.gather(*asked)
    assert {(reply.status, reply.raw) for reply in replies} == {(201, replies[0].raw)}
    assert len((await rescind.get("/v1/keys"))["data"]) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 101},
        {"name": 7},
        {"name": "x", "scope": "root"},
        {"name": "x", "scope": ["read"]},
        {"name": "x", "key": "rk_mine"},
    ],
)
async def test_keys_that_cannot_be(rescind: Rescind, body: dict[str, Any]) -> None:
    (await rescind.ask("POST", "/v1/keys", body)).problem(422, "invalid-request")


# -- Secrets ------------------------------------------------------------------------------------------


async def test_no_secret_in_any_answer(rescind: Rescind, provider: Provider, tmp_path: Path) -> None:
    # A provider that repeats what it was sent, and a webhook that holds what it should not.
    echo = {"code": 400, "status": "validation-error", "errors": [{"attr": "x", "message": f"key was {PROVIDER_KEY}"}]}
    await provider.create("o-1")
    await provider.fault("status", status=400, body=echo)
    await rescind.hook(webhook("order.processed", "o-1"), headers={"Authorization": f"Bearer {TOKEN}"})
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "refused"
    await rescind.hook(b"{")
    receipts = [f"/v1/receipts/{each['id']}" for each in (await rescind.get("/v1/receipts"))["data"]]
    paths = [path_of(route.path) for route in ROUTES if route.method == "GET"]
    paths += [f"/v1/accounts/{ACCOUNT}", f"/v1/endpoints/{ENDPOINT}", "/metrics", "/openapi.json", *receipts]
    for path in paths:
        reply = await rescind.ask("GET", path)
        for secret in (PROVIDER_KEY, TOKEN, BOOTSTRAP_KEY):
            assert secret.encode() not in reply.raw, path
    plan = {"resources": {"accounts": [{"id": ACCOUNT, **account_of(provider.url, config={"api_key": "new-key-1"})}]}}
    reply = await rescind.ask("POST", "/v1/apply", {**plan, "dry_run": True})
    assert b"new-key-1" not in reply.raw
    assert PROVIDER_KEY.encode() not in reply.raw
    on_disk = stored_in(tmp_path)
    assert b"validation-error" in on_disk
    for secret in (PROVIDER_KEY, TOKEN, BOOTSTRAP_KEY):
        assert secret.encode() not in on_disk


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("accounts", account_of("http://127.0.0.1:9", config={"api_key": " S3CRET-with-space "})),
        ("accounts", account_of("http://127.0.0.1:9", config={"api_key": ["S3CRET-in-a-list"]})),
        ("accounts", account_of("http://user:S3CRET@127.0.0.1:9")),
        ("accounts", account_of("http://127.0.0.1:9", config={"S3CRET": 1})),
        ("accounts", {"provider": "planomatic", "config": "S3CRET"}),
        ("endpoints", {"account": ACCOUNT, "verify": {"secrets": "S3CRET-no-list"}}),
        ("endpoints", {"account": ACCOUNT, "verify": {"secrets": [["S3CRET-list"]]}}),
        ("endpoints", {"account": ACCOUNT, "verify": {"scheme": "none", "secrets": ["S3CRET-scheme"]}}),
    ],
)
async def test_no_secret_in_an_error(rescind: Rescind, kind: str, body: dict[str, Any]) -> None:
    reply = await rescind.ask("PUT", f"/v1/{kind}/x-1", body)
    reply.problem(422, "invalid-request")
    # A misspelled key of the configuration is named; its value never is.
    assert reply.raw.replace(b'"config","S3CRET"', b"").replace(b"config.S3CRET", b"").count(b"S3CRET") == 0


async def test_repr_and_logs_hold_no_secret(rescind: Rescind, capsys: pytest.CaptureFixture[str]) -> None:
    node = rescind.node
    shown = repr((node.settings, node.config.accounts, node.config.endpoints, node.lanes, node.keys, node.vault))
    await rescind.hook(b"{}", token="wrong-token-123456")
    await rescind.request_cancel("o-1", reason="bad")
    said = shown + "".join(capsys.readouterr())
    for secret in (PROVIDER_KEY, TOKEN, BOOTSTRAP_KEY, "wrong-token-123456"):
        assert secret not in said


async def test_a_value_that_was_redacted_is_kept_and_never_becomes_the_secret(
    rescind: Rescind, provider: Provider
) -> None:
    shown = await rescind.get(f"/v1/accounts/{ACCOUNT}")
    assert shown["config"]["api_key"] == "**********"
    assert (await rescind.ask("PUT", f"/v1/accounts/{ACCOUNT}", shown)).status == 200
    assert rescind.node.config.accounts[ACCOUNT].config.api_key.get_secret_value() == PROVIDER_KEY  # type: ignore[attr-defined]
    # There is nothing that it could stand for.
    for kind, id, body in (
        ("accounts", "fresh", account_of(provider.url, config={"api_key": "**********"})),
        ("endpoints", "fresh-in", endpoint_of(ACCOUNT, verify={"scheme": "token", "secrets": ["**********"]})),
        (
            "endpoints",
            ENDPOINT,
            endpoint_of(ACCOUNT, verify={"secrets": ["new-token-123456", "**********", "**********"]}),
        ),
    ):
        (await rescind.ask("PUT", f"/v1/{kind}/{id}", body)).problem(422, "invalid-request")


async def test_rotation_by_what_is_shown_keeps_the_old_secret(rescind: Rescind) -> None:
    """The list with the new secret before the redacted old one: the old one must stay what it was."""
    verify = {"scheme": "token", "secrets": ["new-token-123456", "**********"]}
    reply = await rescind.ask("PUT", f"/v1/endpoints/{ENDPOINT}", endpoint_of(ACCOUNT, verify=verify))
    assert (await rescind.hook(b"{}", token="**********")).status == 401
    assert (await rescind.hook(b"{}", token=TOKEN)).status == 202
    if reply.status == 200:
        assert (await rescind.hook(b"{}", token="new-token-123456")).status == 202
