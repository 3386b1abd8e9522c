"""API keys: `rk_…`, stored as hashes, with scopes of which each includes the ones before."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from hashlib import sha256

from app.store import ApiKey, Store

PREFIX = "rk_"


def make_token() -> str:
    """A new API key, in plain text."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """The stored hash of a key. A key has 256 random bits, so that no slow hash is needed."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


class Keys:
    """The keys in force, in memory."""

    def __init__(self, store: Store, bootstrap: str) -> None:
        self._store, self._bootstrap = store, bootstrap
        self._by_hash: dict[bytes, ApiKey] = {}

    async def load(self) -> None:
        """Read the keys from the store."""
        keys = {key.hash: key for key in await self._store.api_keys() if key.revoked_at is None}
        if self._bootstrap:
            hash = digest(self._bootstrap)
            keys[hash] = ApiKey("bootstrap", "bootstrap", "admin", hash, datetime.now(UTC), "the environment")
        self._by_hash = keys

    @property
    def none(self) -> bool:
        """Whether there is no key, so that nobody can use the API."""
        return not self._by_hash

    def find(self, token: str) -> ApiKey | None:
        """The key in force with this token."""
        return self._by_hash.get(digest(token))
