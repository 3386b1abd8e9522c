"""API keys: `rk_…`, stored as hashes, with scopes that include one another."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from enum import IntEnum
from hashlib import sha256

from aiohttp import web

from app.store import ApiKey, Store
from app.web.problems import Kind, Problem

PREFIX = "rk_"
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="rescind"'}


class Scope(IntEnum):
    """What a key may do; each scope includes those before it."""

    READ = 1
    WRITE = 2
    ADMIN = 3


_SCOPES = {each.name.lower(): each for each in Scope}


def make_token() -> str:
    """A new API key, as its holder sees it."""
    return PREFIX + secrets.token_urlsafe(32)


def digest(token: str) -> bytes:
    """What is stored of a key. A key is 256 random bits, so no slow hash is needed."""
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


class Keys:
    """The keys in force, in memory."""

    def __init__(self, store: Store, bootstrap: str) -> None:
        self._store, self._bootstrap = store, bootstrap
        self._by_hash: dict[bytes, ApiKey] = {}

    async def load(self) -> None:
        """Read the keys from the store."""
        keys = {each.hash: each for each in await self._store.api_keys() if each.revoked_at is None}
        if self._bootstrap:
            hash = digest(self._bootstrap)
            keys[hash] = ApiKey("bootstrap", "bootstrap", "admin", hash, datetime.now(UTC), "the environment")
        self._by_hash = keys

    @property
    def none(self) -> bool:
        """There is no key at all: nobody can use the API."""
        return not self._by_hash

    def require(self, request: web.Request, scope: Scope) -> ApiKey:
        """The key that the request shows. Raises `Problem` if there is none, or it may not do this."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        key = self._by_hash.get(digest(token.strip())) if scheme.lower() == "bearer" else None
        if key is None:
            detail = "Send an API key as `Authorization: Bearer rk_…`; `rescind keys create` makes one."
            raise Problem(Kind.UNAUTHORIZED, detail, headers=_CHALLENGE)
        if _SCOPES[key.scope] < scope:
            detail = f"This needs scope {scope.name.lower()}; the key {key.name!r} has {key.scope}."
            raise Problem(Kind.FORBIDDEN, detail)
        return key
