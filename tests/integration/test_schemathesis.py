"""Schemathesis reads `/openapi.json` and finds nothing that the API answers otherwise than is described there."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from conftest import Start
from servers import BOOTSTRAP_KEY, account_of, endpoint_of

from app.web import examples

CONFIG = Path(__file__).with_name("schemathesis.toml")


async def test_the_api_is_as_it_is_described(start: Start, tmp_path: Path) -> None:
    rescind = await start()
    # What the examples of the document name.
    await rescind.put("accounts", examples.ACCOUNT, account_of("http://127.0.0.1:9"))
    await rescind.put("endpoints", examples.ENDPOINT, endpoint_of(examples.ACCOUNT))
    await rescind.put("subscriptions", examples.SUBSCRIPTION, {"url": "https://crm.example/hooks", "enabled": False})
    await rescind.tell("order.processed", examples.ORDER, examples.ENDPOINT)
    command = ["--config-file", str(CONFIG), "run", f"{rescind.url}/openapi.json", "--checks", "all", "--no-color"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", *command, "-H", f"Authorization: Bearer {BOOTSTRAP_KEY}"),
        cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()[-20_000:]
    assert (await rescind.get("/readyz", key=None))["status"] == "ready"
