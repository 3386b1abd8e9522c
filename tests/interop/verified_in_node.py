"""Deliveries of a real server are verified in Node by the public `standardwebhooks` library. Run by `make interop`."""

from __future__ import annotations

import asyncio
import json
from asyncio.subprocess import PIPE, Process
from base64 import b64encode
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from providers import Provider
from servers import ACCOUNT, ENDPOINT, Server, account_of, endpoint_of

HERE = Path(__file__).parent
WAIT_S = 60.0
SEED = b"\4" * 32
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
HMAC, ROTATED_OUT, OTHER = (f"whsec_{b64encode(bytes([number]) * 32).decode()}" for number in (1, 2, 3))
SIGNED_BY: dict[str, dict[str, Any]] = {
    "hmac": {"secret": HMAC},
    "rotated": {"secret": HMAC, "retired_secrets": [{"secret": ROTATED_OUT, "until": "2999-01-01T00:00:00Z"}]},
    "full": {"secret": HMAC, "payload": "full", "ordered": True},
    "ed25519": {"secret": f"whsk_{b64encode(SEED).decode()}"},
    "forged": {"secret": OTHER},
}
VERIFIED_BY = {
    "hmac": HMAC,
    "rotated": ROTATED_OUT,
    "full": HMAC,
    "ed25519": f"whpk_{b64encode(PUBLIC).decode()}",
    "forged": HMAC,
}
ORDERS = [f'ord {number}/ä "é\U0001f4e6' for number in range(20)]
EXPECTED = {id: len(ORDERS) for id in SIGNED_BY} | {"forged": 1}
"""How many messages to wait for. A receiver that refuses everything is soon tried less."""


@pytest.fixture
async def node() -> AsyncIterator[Process]:
    """The receiver in Node."""
    secrets = json.dumps({f"/{id}": secret for id, secret in VERIFIED_BY.items()})
    process = await asyncio.create_subprocess_exec("node", HERE / "receiver.mjs", secrets, stdout=PIPE)
    yield process
    process.kill()
    await process.wait()


async def test_node_verifies_deliveries(
    node: Process, provider: Provider, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    assert node.stdout is not None
    url = (await node.stdout.readline()).decode().strip()
    server = Server(tmp_path, session)
    await server.start()
    try:
        await server.put("accounts", ACCOUNT, account_of(provider.url))
        await server.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        for id, signed_by in SIGNED_BY.items():
            await server.put("subscriptions", id, {"url": f"{url}/{id}", **signed_by})
        for order in ORDERS:
            await server.tell("order.processed", order)
        seen: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        async with asyncio.timeout(WAIT_S):
            while any(len(seen[f"/{id}"]) < number for id, number in EXPECTED.items()):
                line = json.loads(await node.stdout.readline())
                seen[line["path"]][line["id"]] = line
    finally:
        await server.kill()
    for path, lines in seen.items():
        if path == "/forged":
            assert {line["error"] for line in lines.values()} == {"No matching signature found"}
            continue
        assert [line for line in lines.values() if not line["verified"]] == [], path
        assert {line["payload"]["data"]["order"] for line in lines.values()} == set(ORDERS), path
    assert len({frozenset(lines) for path, lines in seen.items() if path != "/forged"}) == 1, (
        "a message has one id, whoever receives it"
    )
