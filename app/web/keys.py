"""API keys."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal

import msgspec
from msgspec import Struct
from pydantic import Field, field_validator

from app.config.keys import Scope, digest, make_token
from app.core.pauses import BY_ITSELF
from app.runtime import ids
from app.store import ApiKey, StoredResponse
from app.web.problems import Kind, Problem
from app.web.resources import Resources
from app.web.routes import Answer, Body, Call, Route, alone, encode


class KeyBody(Body):
    """A new API key."""

    name: str = Field(min_length=1, max_length=100)
    scope: Literal["read", "write", "admin"] = "read"

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        # What pauses itself does so in this name, and such a pause is lifted, and holds, otherwise than a person's.
        if value.strip().casefold() == BY_ITSELF:
            raise ValueError("Rescind acts in this name itself: choose another")
        return value


class KeyShape(Struct, kw_only=True, omit_defaults=True):
    """An API key. The key itself is shown once, when it is made."""

    id: str
    name: str
    scope: str
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None
    key: str | None = None


async def list_keys(call: Call) -> Resources:
    """All API keys, without the keys themselves."""
    return Resources([msgspec.to_builtins(_key_shape(key)) for key in await call.node.store.api_keys()])


async def create_key(call: Call) -> Answer:
    """Make an API key."""
    given = call.idempotency_key
    if given is None:
        return await _make_key(call, None)
    slot = blake2b(f"{call.key.id}\0{given}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    with alone(call.node, f"key {slot}"):
        first = await call.node.store.stored_response(slot)
        if first is None:
            return await _make_key(call, slot)
    if first.digest != _body_digest(call):
        raise Problem(Kind.KEY_REUSED, "This Idempotency-Key came with another request before; use a new one.")
    return Answer(call.node.vault.open(first.response), 201, {"Idempotent-Replayed": "true"})


async def _make_key(call: Call, slot: str | None) -> Answer:
    asked: KeyBody = call.body
    node, now, token = call.node, datetime.now(UTC), make_token()
    key = ApiKey(ids.show(ids.KEY, node.ids.next()), asked.name, asked.scope, digest(token), now, call.key.name)
    shape = _key_shape(key)
    shape.key = token
    body = encode(shape)
    stored = StoredResponse(slot, _body_digest(call), node.vault.seal(body), now) if slot is not None else None
    await node.store.save_key(key, stored)
    await node.keys.load()
    return Answer(body, 201)


def _body_digest(call: Call) -> bytes:
    return blake2b(call.raw_body, digest_size=16).digest()


async def revoke_key(call: Call) -> Answer:
    """Make an API key invalid."""
    if not await call.node.store.revoke_key(call.path("id"), datetime.now(UTC)):
        raise Problem(Kind.NOT_FOUND, f"There is no API key {call.path('id')!r} that is in force.")
    await call.node.keys.load()
    return Answer(None, 204)


def _key_shape(key: ApiKey) -> KeyShape:
    return msgspec.convert(key, KeyShape, from_attributes=True)


ROUTES = [
    Route(
        method="GET",
        scope=Scope.ADMIN,
        path="/v1/keys",
        name="listKeys",
        summary="API keys, without the keys themselves.",
        handler=list_keys,
        answer=Resources,
    ),
    Route(
        method="POST",
        scope=Scope.ADMIN,
        path="/v1/keys",
        name="createKey",
        summary="Make an API key; it is shown this once.",
        handler=create_key,
        body=KeyBody,
        answer=KeyShape,
        status=201,
        creates=True,
        problems=[Kind.KEY_REUSED],
    ),
    Route(
        method="DELETE",
        scope=Scope.ADMIN,
        path="/v1/keys/{id}",
        name="revokeKey",
        summary="Make an API key invalid.",
        handler=revoke_key,
        answer=dict[str, Any],
        status=204,
        problems=[Kind.NOT_FOUND],
    ),
]
