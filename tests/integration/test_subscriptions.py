"""Subscriptions over the API: created, rotated, enabled and disabled; their secrets are shown once."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from servers import Rescind, stored_in

from app.config.subscriptions import make_secret, public_key

URL = "https://crm.example/hooks"
HIDDEN = "**********"


async def create(rescind: Rescind, headers: Any = None, **body: Any) -> dict[str, Any]:
    reply = await rescind.ask("POST", "/v1/subscriptions", {"url": URL, **body}, headers=headers)
    assert reply.status == 201, reply
    return dict(reply.json)


async def test_a_generated_secret_is_shown_once(rescind: Rescind) -> None:
    created = await create(rescind, events=["cancellation.*"])
    assert created["id"].startswith("sub_")
    assert (created["url"], created["version"]) == (URL, 1)
    secret = created["secret"]
    assert secret.startswith("whsec_")
    shown = await rescind.get(f"/v1/subscriptions/{created['id']}")
    assert (shown["secret"], shown["events"]) == (HIDDEN, ["cancellation.*"])
    in_force = rescind.node.config.subscriptions[created["id"]].secret
    assert in_force is not None
    assert in_force.get_secret_value() == secret
    everything = [await rescind.get(path) for path in ("/v1/subscriptions", "/v1/changes")]
    assert secret not in str(everything)
    given = await create(rescind, id="given", secret=secret)
    assert given["secret"] == HIDDEN, "it was not generated"


async def test_a_repeated_creation_gets_the_same_secret_and_creates_nothing(rescind: Rescind, tmp_path: Any) -> None:
    key = {"Idempotency-Key": "once"}
    first = await create(rescind, key)
    assert await create(rescind, key) == first
    assert len((await rescind.get("/v1/subscriptions"))["data"]) == 1
    reply = await rescind.ask("POST", "/v1/subscriptions", {"url": URL + "2"}, headers=key)
    reply.problem(422, "idempotency-key-reused")
    assert first["secret"].encode() not in stored_in(tmp_path)


async def test_creating_what_exists_changes_nothing(rescind: Rescind) -> None:
    created = await create(rescind, id="crm")
    reply = await rescind.ask("POST", "/v1/subscriptions", {"id": "crm", "url": URL + "2"})
    reply.problem(409, "already-exists")
    assert (await rescind.get("/v1/subscriptions/crm"))["url"] == created["url"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"url": "ftp://crm.example"}, "url"),
        ({"url": URL, "secret": "whsec_short"}, "secret"),
        ({"url": URL, "event": ["*"]}, "event"),
        ({"url": URL, "id": "No Slug"}, "id"),
    ],
)
async def test_faults_are_named(rescind: Rescind, body: dict[str, Any], field: str) -> None:
    reply = await rescind.ask("POST", "/v1/subscriptions", body)
    faults = reply.problem(422, "invalid-request")["errors"]
    assert [fault["path"] for fault in faults] == [[field]]
    assert "whsec_short" not in str(faults)


async def test_put_declares_and_keeps_the_secret(rescind: Rescind) -> None:
    secret = (await create(rescind, id="crm"))["secret"]
    put = await rescind.put("subscriptions", "crm", {"url": URL + "/2"})
    assert (put.status, put.json["url"], put.json["secret"]) == (200, URL + "/2", HIDDEN)
    shown = await rescind.get("/v1/subscriptions/crm")
    assert (await rescind.put("subscriptions", "crm", shown)).json["url"] == URL + "/2"
    kept = rescind.node.config.subscriptions["crm"].secret
    assert kept is not None
    assert kept.get_secret_value() == secret


async def test_rotation_keeps_the_former_secret_for_the_overlap(rescind: Rescind) -> None:
    first = (await create(rescind, id="crm"))["secret"]
    key = {"Idempotency-Key": "rotate-1"}
    reply = await rescind.ask("POST", "/v1/subscriptions/crm/rotate", {"overlap_h": 1}, headers=key)
    assert (reply.status, reply.json["version"]) == (200, 2)
    second = reply.json["secret"]
    again = await rescind.ask("POST", "/v1/subscriptions/crm/rotate", {"overlap_h": 1}, headers=key)
    assert again.json == reply.json, "a repetition rotates nothing"
    assert second not in (first, HIDDEN)
    spec = rescind.node.config.subscriptions["crm"]
    assert [retired.secret.get_secret_value() for retired in spec.retired_secrets] == [first]
    await rescind.ask("POST", "/v1/subscriptions/crm/rotate", {})
    spec = rescind.node.config.subscriptions["crm"]
    assert [retired.secret.get_secret_value() for retired in spec.retired_secrets] == [second, first]
    shown = await rescind.get("/v1/subscriptions/crm")
    assert [retired["secret"] for retired in shown["retired_secrets"]] == [HIDDEN, HIDDEN]


async def test_however_often_it_is_rotated_the_last_ten_secrets_are_valid(rescind: Rescind) -> None:
    await create(rescind, id="crm")
    for _ in range(12):
        reply = await rescind.ask("POST", "/v1/subscriptions/crm/rotate", {})
        assert reply.status == 200, reply
    assert len(rescind.node.config.subscriptions["crm"].retired_secrets) == 10


async def test_rotation_without_overlap_ends_the_former_secret(rescind: Rescind) -> None:
    await create(rescind, id="crm")
    given = make_secret()
    reply = await rescind.ask("POST", "/v1/subscriptions/crm/rotate", {"overlap_h": 0, "secret": given})
    assert reply.json["secret"] == HIDDEN, "it was not generated"
    spec = rescind.node.config.subscriptions["crm"]
    assert spec.retired_secrets == ()
    assert spec.secret is not None
    assert spec.secret.get_secret_value() == given
    (await rescind.ask("POST", "/v1/subscriptions/none/rotate", {})).problem(404, "not-found")


async def test_notices_to_people_have_no_secret_to_show_or_rotate(rescind: Rescind) -> None:
    created = await create(rescind, id="ops", format="slack", url="https://hooks.slack.example/services/T0/B0/x1")
    assert "secret" not in created
    (await rescind.ask("POST", "/v1/subscriptions/ops/rotate", {})).problem(422, "invalid-request")


async def test_receivers_get_the_public_key_of_an_ed25519_secret(rescind: Rescind) -> None:
    given = make_secret(like="whsk_")
    created = await create(rescind, id="crm", secret=given)
    assert created["public_key"] == public_key(given)
    assert (await rescind.get("/v1/subscriptions/crm"))["public_key"] == created["public_key"]
    rotated = await rescind.ask("POST", "/v1/subscriptions/crm/rotate", {})
    assert rotated.json["secret"].startswith("whsk_"), "of the same kind"
    assert rotated.json["public_key"] == public_key(rotated.json["secret"]) != created["public_key"]


def test_a_public_key_verifies_what_its_secret_signs() -> None:
    secret = make_secret(like="whsk_")
    seed = b64decode(secret.removeprefix("whsk_"))
    key = Ed25519PrivateKey.from_private_bytes(seed).public_key()
    assert b64decode((public_key(secret) or "").removeprefix("whpk_")) == key.public_bytes_raw()
    assert public_key(make_secret()) is None


async def test_disabled_and_enabled(rescind: Rescind) -> None:
    await create(rescind, id="crm")
    for verb, enabled in (("disable", False), ("disable", False), ("enable", True)):
        reply = await rescind.ask("POST", f"/v1/subscriptions/crm/{verb}")
        assert (reply.status, reply.json["enabled"]) == (200, enabled)
        assert rescind.node.config.subscriptions["crm"].enabled is enabled
    (await rescind.ask("POST", "/v1/subscriptions/none/enable")).problem(404, "not-found")
