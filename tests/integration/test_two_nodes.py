"""Two nodes on one PostgreSQL: what is configured or asked for at one of them holds at the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from conftest import Start
from postgres import CleanSchema, give_back, take_schema
from providers import Provider
from servers import ACCOUNT, CANCEL_BODY, ENDPOINT, SECRET_KEY, Rescind, account_of, endpoint_of

TIMES = 8


@pytest.fixture
async def schema() -> AsyncIterator[CleanSchema]:
    taken = await take_schema()
    yield taken
    await give_back(taken)


@pytest.fixture
async def nodes(schema: CleanSchema, start: Start, provider: Provider) -> AsyncIterator[tuple[Rescind, Rescind]]:
    """Two nodes, of which the first has configured an account and an endpoint."""
    target = schema.target
    settings = {"database_url": target.url, "database_schema": target.schema, "secret_key": SECRET_KEY}
    one, two = await start(**settings), await start(**settings)
    await one.put("accounts", ACCOUNT, account_of(provider.url, unknown_orders="send"))
    await one.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await one.ask("POST", "/v1/pause", {"scope": "all"})
    yield one, two
    for node in (one, two):
        await node.stop()


async def test_one_idempotency_key_at_two_nodes_at_once_has_one_answer(nodes: tuple[Rescind, Rescind]) -> None:
    batch = [{"account": ACCOUNT, "order": f"o-{number}", **CANCEL_BODY} for number in range(20)]
    requests = [
        (f"/v1/accounts/{ACCOUNT}/orders/o-first/cancellations", CANCEL_BODY),
        ("/v1/cancellation-batches", {"cancellations": batch}),
        ("/v1/keys", {"name": "ci", "scope": "write"}),
        ("/v1/endpoints", {"id": "more", "account": ACCOUNT}),
        (f"/v1/endpoints/{ENDPOINT}/rotate", {"overlap_h": 1}),
    ]
    for path, body in requests:
        headers = {"Idempotency-Key": f"once for {path}"}
        asked = [node.ask("POST", path, body, headers=headers) for _ in range(TIMES) for node in nodes]
        replies = await asyncio.gather(*asked)
        assert {(reply.status, reply.raw) for reply in replies} == {(replies[0].status, replies[0].raw)}, path
        assert replies[0].status in (200, 201, 202), replies[0]
        assert sum("Idempotent-Replayed" not in reply.headers for reply in replies) == 1, path
    assert len((await nodes[0].get("/v1/cancellations?limit=100"))["data"]) == 21
    assert len((await nodes[0].get("/v1/keys"))["data"]) == 1
    assert (await nodes[0].get(f"/v1/endpoints/{ENDPOINT}"))["version"] == 2
