"""The keys in memory follow the database."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from app.config.keys import Keys, digest
from app.store import ApiKey

NOW = datetime.now(UTC)


class SlowStore:
    """A store whose first answer is late, and by then out of date."""

    def __init__(self, key: ApiKey) -> None:
        self.keys = [key]
        self.asked, self.answer = asyncio.Event(), asyncio.Event()

    async def api_keys(self) -> list[ApiKey]:
        read = list(self.keys)
        if not self.asked.is_set():
            self.asked.set()
            await self.answer.wait()
        return read


async def test_a_revoked_key_is_refused_although_an_earlier_read_ends_later() -> None:
    key = ApiKey("key_1", "ci", "read", digest("rk_secret"), NOW, "me")
    store: Any = SlowStore(key)
    keys = Keys(store, "")
    early = asyncio.create_task(keys.load())
    await store.asked.wait()
    store.keys = [replace(key, revoked_at=NOW)]
    late = asyncio.create_task(keys.load())
    await asyncio.sleep(0)
    store.answer.set()
    await asyncio.gather(early, late)
    assert keys.find("rk_secret") is None
    assert "was revoked" in keys.why_refused("rk_secret")
