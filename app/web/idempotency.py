"""Idempotency: a POST repeated with the same Idempotency-Key gets the response of the first, and creates nothing.

A request is identified by its API key and its Idempotency-Key, and told from another one by a digest of what it asks
for. Responses are stored sealed, in the transaction that creates where the store can; the response to a single
cancellation is not stored at all, but read from the log (`find`), with which it cannot disagree.

Of two that come at once the second waits for the first: on one node for its turn, on two nodes for the other's
transaction, as both write the same row. So nothing is reserved, and a node that dies leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any
from weakref import WeakValueDictionary

from aiohttp import web

from app.store import StoreConflict, StoredResponse
from app.web.problems import Kind, Problem, busy
from app.web.routes import Call, JsonResponse

HEADER = "Idempotency-Key"
KEY_MAX = 255
WAIT_S = 10.0
"""How long a request waits at most for the first one with its Idempotency-Key."""
TRIES = 3
"""How often a request is tried while another node serves the same."""
Turns = WeakValueDictionary[str, asyncio.Lock]
TURNS: web.AppKey[Turns] = web.AppKey("turns", WeakValueDictionary)
"""What identifies a request → the lock that those who serve it, or wait for it, hold."""
_SUFFIXES = {"batch": "\0batch"}
"""What a kind of request adds to its identity. They are stored: databases hold identities made so."""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with an Idempotency-Key."""

    material: bytes
    """What identifies it: the holder of the API key, the Idempotency-Key and the kind of request."""
    digest: bytes
    """The digest of the path, where that has variables, and of the body. A repetition has the same digest."""

    def identity(self, size: int = 16) -> bytes:
        """A digest of what identifies the request, of `size` bytes."""
        return blake2b(self.material, digest_size=size).digest()

    def stored(self, call: Call, body: bytes) -> StoredResponse:
        """`body` as the response to store for repetitions."""
        return StoredResponse(self.identity().hex(), self.digest, call.node.vault.seal(body), datetime.now(UTC))


First = tuple[bytes, JsonResponse[Any]]
"""The digest of the first request, and the response to it."""
Make = Callable[[KeyedRequest | None], Awaitable[JsonResponse[Any]]]
Find = Callable[[Call, KeyedRequest], Awaitable[First | None]]


async def find_stored(call: Call, request: KeyedRequest) -> First | None:
    """The stored response; None if there is none yet."""
    stored = await call.node.store.stored_response(request.identity().hex())
    return None if stored is None else (stored.digest, JsonResponse(call.node.vault.open(stored.response)))


async def respond_once(call: Call, kind: str, make: Make, find: Find = find_stored) -> JsonResponse[Any]:
    """The response of the first request with this Idempotency-Key, or that of `make` if this is the first.

    `make` gets None where the request has no Idempotency-Key; else it stores what `find` is to find, and may be called
    again after a `StoreConflict`. Raises `Problem` if the first request is in flight for too long, or asked for
    something else.
    """
    request = _identify(call, kind)
    if request is None:
        return await make(None)
    async with _turn(call, f"{kind} {request.identity().hex()}"):
        for _ in range(TRIES):
            first = await find(call, request)
            if first is not None:
                break
            try:
                return await make(request)
            except StoreConflict as error:
                fault = error  # most likely, another node has answered it meanwhile
            except Problem:
                # What refuses it may be what the first one made on another node.
                first = await find(call, request)
                if first is None:
                    raise
                break
        else:
            raise busy(f"{fault}.")
    digest, response = first
    if digest != request.digest:
        raise key_reused()
    return replace(response, headers={"Idempotent-Replayed": "true"})


def key_reused() -> Problem:
    """The problem of an Idempotency-Key that came with another request before."""
    return Problem(Kind.KEY_REUSED, "This Idempotency-Key was used for a different request; use a new one.")


def _identify(call: Call, kind: str) -> KeyedRequest | None:
    """The request's identity; None without the header. Raises `Problem` if the header is empty or too long."""
    key = call.idempotency_key
    if key is None:
        return None
    if not 0 < len(key) <= KEY_MAX:
        raise Problem(Kind.INVALID, f"The {HEADER} must have 1 to {KEY_MAX} characters.", field=HEADER)
    material = f"{call.key.holder}\0{key}{_SUFFIXES.get(kind, '')}".encode("utf-8", "surrogateescape")
    path = call.path.encode("utf-8", "surrogateescape") + b"\0" if "{" in call.route.path else b""
    return KeyedRequest(material, blake2b(path + call.raw_body, digest_size=16).digest())


@asynccontextmanager
async def _turn(call: Call, name: str) -> AsyncIterator[None]:
    """Wait until no other is serving the same request here. Raises `Problem` if that takes too long."""
    lock = call.request.app[TURNS].setdefault(name, asyncio.Lock())
    try:
        async with asyncio.timeout(WAIT_S):
            await lock.acquire()
    except TimeoutError as error:
        detail = "The first request with this Idempotency-Key is still in progress; retry later."
        raise Problem(Kind.IN_FLIGHT, detail) from error
    try:
        yield
    finally:
        lock.release()
