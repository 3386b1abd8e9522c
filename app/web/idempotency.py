"""Idempotency: a POST repeated with the same Idempotency-Key gets the response of the first, and creates nothing.

A request is identified by its API key and its Idempotency-Key, and told from another one by a digest of what it asks
for. Responses are stored sealed, in the transaction that creates where the store can; the response to a single
cancellation is not stored at all, but read from the log (`find`), with which it cannot disagree.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

from aiohttp import web

from app.store import StoredResponse
from app.web.problems import Kind, Problem
from app.web.routes import Call, JsonResponse

HEADER = "Idempotency-Key"
KEY_MAX = 255
IN_FLIGHT: web.AppKey[set[str]] = web.AppKey("in_flight", set)
_SUFFIXES = {"batch": "\0batch"}
"""What a kind of request adds to its identity. They are stored: databases hold identities made so."""


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A request with an Idempotency-Key."""

    material: bytes
    """What identifies it: the holder of the API key, the Idempotency-Key and the kind of request."""
    digest: bytes
    """Of the path, where that has variables, and the body. A repetition has the same digest."""

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

    `make` gets None where the request has no Idempotency-Key; else it stores what `find` is to find. Raises `Problem`
    if the first request is still in flight, or asked for something else.
    """
    request = _identify(call, kind)
    if request is None:
        return await make(None)
    with _in_flight(call, f"{kind} {request.identity().hex()}"):
        first = await find(call, request)  # Within: the first request could end between a look and the claim.
        if first is None:
            return await make(request)
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


@contextmanager
def _in_flight(call: Call, name: str) -> Iterator[None]:
    """Claim a request until it is answered. Raises `Problem` if the same request is being served."""
    in_flight = call.request.app[IN_FLIGHT]
    if name in in_flight:
        raise Problem(Kind.IN_FLIGHT, "The first request with this Idempotency-Key is still in progress; retry later.")
    in_flight.add(name)
    try:
        yield
    finally:
        in_flight.discard(name)
