"""Idempotency: how requests with an Idempotency-Key are identified in the database, as release 0.1 did."""

from __future__ import annotations

from typing import Any

import pytest
from providers import Provider
from servers import ACCOUNT, Rescind, account_of

HEADERS = {"Idempotency-Key": "once"}
CANCELLATIONS = f"/v1/accounts/{ACCOUNT}/orders/o-1/cancellations"
BATCHES = "/v1/cancellation-batches"
CANCEL = b'{"reason":"duplicate_order","note":"x"}'
BATCH = b'{"cancellations":[{"account":"acme","order":"o-2","reason":"duplicate_order","note":"x"}]}'


@pytest.fixture
async def configured(rescind: Rescind, provider: Provider) -> Rescind:
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, unknown_orders="send"))
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    return rescind


async def create(rescind: Rescind, path: str, body: bytes, *, replayed: bool) -> Any:
    reply = await rescind.ask("POST", path, data=body, headers=HEADERS)
    assert reply.status in (201, 202), reply
    assert reply.headers.get("Idempotent-Replayed") == ("true" if replayed else None)
    return reply.json


async def test_the_id_and_the_digest_of_a_cancellation_follow_from_the_request(configured: Rescind) -> None:
    first = await create(configured, CANCELLATIONS, CANCEL, replayed=False)
    stored = await configured.node.store.cancellation(first["id"])
    assert stored is not None
    assert (stored.id, stored.request_digest) == ("can_79c0fedfe3ff2753", "1a77a4558feea550fb17721918455a60")
    assert await create(configured, CANCELLATIONS, CANCEL, replayed=True) == first


async def test_the_id_and_the_stored_response_of_a_batch_follow_from_the_request(configured: Rescind) -> None:
    first = await create(configured, BATCHES, BATCH, replayed=False)
    stored = await configured.node.store.stored_response("06fb22cb838c6fc68d9c61bf114f29e8")
    assert stored is not None
    assert (first["id"], stored.digest.hex()) == ("bat_037d9165c1c637e3", "db93071d36468c45b50752ce0073cdf6")
    assert await create(configured, BATCHES, BATCH, replayed=True) == first


async def test_the_stored_response_of_a_key_follows_from_the_request(rescind: Rescind) -> None:
    first = await create(rescind, "/v1/keys", b'{"name":"ci"}', replayed=False)
    stored = await rescind.node.store.stored_response("0d5be0393506385e6615e3b0ae8919f5")
    assert stored is not None
    assert stored.digest.hex() == "c313d334f3371aadb030a940667c9631"
    assert first["key"].encode() not in stored.response
    assert await create(rescind, "/v1/keys", b'{"name":"ci"}', replayed=True) == first


async def test_one_idempotency_key_serves_each_kind_of_request(configured: Rescind) -> None:
    created = [
        await create(configured, path, body, replayed=False)
        for path, body in ((CANCELLATIONS, CANCEL), (BATCHES, BATCH), ("/v1/keys", b'{"name":"ci"}'))
    ]
    assert len({each["id"] for each in created}) == 3


@pytest.mark.parametrize(
    ("path", "body", "other"),
    [
        (CANCELLATIONS, CANCEL, CANCEL.replace(b'"x"', b'"y"')),
        (BATCHES, BATCH, BATCH.replace(b'"x"', b'"y"')),
        ("/v1/keys", b'{"name":"ci"}', b'{"name":"cd"}'),
    ],
)
async def test_another_request_with_the_same_key_is_refused(
    configured: Rescind, path: str, body: bytes, other: bytes
) -> None:
    await create(configured, path, body, replayed=False)
    reply = await configured.ask("POST", path, data=other, headers=HEADERS)
    reply.problem(422, "idempotency-key-reused")
