"""The API keys in force: stored as hashes, with scopes of which each includes the ones before."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from hashlib import sha256

import structlog

from app.config.tokens import typing_error
from app.runtime.allowance import Allowance
from app.store import ApiKey, Store, StoreError

BOOTSTRAP = "bootstrap"
"""Id of the key in RESCIND_BOOTSTRAP_KEY, which is not stored."""
LOOK_UPS_PER_S = 20
"""How many keys that are not known here are looked up: anybody can make some up."""
USE_NOTED_S = 60.0
"""How often it is stored when keys were last used."""

log = structlog.get_logger()


def digest(token: str) -> bytes:
    """The stored hash of a key. A key has 238 random bits or more, so that no slow hash is needed."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


class Keys:
    """The keys, in memory. The database is the truth: `load` reads it again."""

    def __init__(self, store: Store, bootstrap: str) -> None:
        self._store, self._bootstrap = store, bootstrap
        self._by_hash: dict[bytes, ApiKey] = {}
        self._loading, self._look_ups = asyncio.Lock(), Allowance(LOOK_UPS_PER_S)
        self._used: dict[str, float] = {}
        """Key → when it was last used, in seconds since 1970, if that is not stored yet."""

    async def load(self) -> None:
        """Read the keys from the store, as they are now or later."""
        # In turn: one that began before a key was revoked must not end after the one that knows of it.
        async with self._loading:
            keys = {key.hash: key for key in await self._store.api_keys()}
            if self._bootstrap:
                hash = digest(self._bootstrap)
                keys[hash] = ApiKey(BOOTSTRAP, BOOTSTRAP, "admin", hash, datetime.now(UTC), "the environment")
            self._by_hash = keys

    @property
    def none(self) -> bool:
        """Whether no key is in force, so that nobody can use the API."""
        return not any(_in_force(key, time.time()) for key in self._by_hash.values())

    def find(self, token: str) -> ApiKey | None:
        """The key in force with this token."""
        key, now = self._by_hash.get(digest(token)), time.time()
        if key is None or not _in_force(key, now):
            return None
        self._used[key.id] = now
        return key

    async def look_up(self, token: str) -> ApiKey | None:
        """As `find`; a key that is not known here is looked up in the store: another node may just have made it.

        Raises `StoreError`.
        """
        hash = digest(token)
        if hash in self._by_hash or typing_error(token) or not self._look_ups.admit():
            return self.find(token)
        if await self._store.api_key_exists(hash):
            await self.load()
        return self.find(token)

    def in_force(self, id: str) -> ApiKey | None:
        """The key of that id, if it can be used."""
        now = time.time()
        return next((key for key in self._by_hash.values() if key.id == id and _in_force(key, now)), None)

    def is_in_force(self, key: ApiKey) -> bool:
        """Whether a key that was found before can still be used."""
        key = self._by_hash.get(key.hash, key)
        return _in_force(key, time.time())

    def why_refused(self, token: str) -> str:
        """Why `find` gives no key for this token, for its holder."""
        key = self._by_hash.get(digest(token))
        if key is not None and key.revoked_at is not None:
            return f"The API key {key.name!r} ({key.id}) was revoked."
        if key is not None and key.expires_at is not None:
            return f"The API key {key.name!r} ({key.id}) expired at {key.expires_at:%Y-%m-%dT%H:%M:%SZ}."
        fault = typing_error(token)
        return f"The API key is mistyped or incomplete: {fault}." if fault else "This server has no such API key."

    def expiring(self, until: datetime) -> list[ApiKey]:
        """The keys in force that expire by then, the first of them first."""
        now, end = time.time(), until.timestamp()
        dated = [(key.expires_at.timestamp(), key) for key in self._by_hash.values() if key.expires_at is not None]
        return [key for at, key in sorted(dated, key=lambda row: row[0]) if now < at <= end and key.revoked_at is None]

    def last_used_at(self, key: ApiKey) -> datetime | None:
        """When the key was last used."""
        used = self._used.get(key.id)
        return key.last_used_at if used is None else datetime.fromtimestamp(used, UTC)

    async def note_use(self) -> None:
        """Store when keys were last used. Raises `StoreError`; the next call tries again."""
        used = {id: datetime.fromtimestamp(at, UTC) for id, at in self._used.items() if id != BOOTSTRAP}
        if used:
            await self._store.note_key_use(used)
            await self.load()
            self._used = {id: at for id, at in self._used.items() if datetime.fromtimestamp(at, UTC) != used.get(id)}

    async def run(self) -> None:
        """Store the use of keys now and then, until canceled."""
        while True:
            await asyncio.sleep(USE_NOTED_S)
            try:
                await self.note_use()
            except StoreError as error:
                log.warning("key_use_not_noted", error=str(error))


def _in_force(key: ApiKey, now: float) -> bool:
    return key.revoked_at is None and (key.expires_at is None or now < key.expires_at.timestamp())
