"""API keys."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
from msgspec import Struct
from pydantic import Field, field_validator

from app.config.keys import digest, make_token
from app.config.scope import Scope
from app.core.pauses import BY_ITSELF
from app.runtime import ids
from app.store import ApiKey
from app.web.idempotency import KeyedRequest, respond_once
from app.web.problems import Kind, Problem
from app.web.resources import Resources
from app.web.routes import Body, Call, JsonResponse, RouteTable

ROUTES = RouteTable()


class KeyBody(Body):
    """A new API key."""

    name: str = Field(min_length=1, max_length=100)
    scope: Scope = Scope.READ

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        # Rescind pauses in this name, and such a pause is lifted and kept by other rules than a person's.
        if value.strip().casefold() == BY_ITSELF:
            raise ValueError("this name is reserved for Rescind's own actions: choose another")
        return value


class Key(Struct, kw_only=True, omit_defaults=True):
    """An API key. The secret itself is shown once, in the response that creates it."""

    id: str
    name: str
    scope: str
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None
    key: str | None = None


@ROUTES.get("/v1/keys", Scope.ADMIN)
async def list_keys(call: Call) -> Resources:
    """API keys, without their secrets."""
    return Resources([msgspec.to_builtins(_shown(key)) for key in await call.node.store.api_keys()])


@ROUTES.post("/v1/keys", Scope.ADMIN, status=201, idempotency_key=True, problems=[Kind.KEY_REUSED])
async def create_key(call: Call, body: KeyBody) -> JsonResponse[Key]:
    """Create an API key; it is shown only once, in this response."""

    async def make(request: KeyedRequest | None) -> JsonResponse[Key]:
        node, now, token = call.node, datetime.now(UTC), make_token()
        key = ApiKey(ids.show(ids.KEY, node.ids.next()), body.name, body.scope, digest(token), now, call.key.name)
        shown = _shown(key)
        shown.key = token
        response = msgspec.json.encode(shown)
        await node.store.save_key(key, None if request is None else request.stored(call, response))
        await node.keys.load()
        return JsonResponse(response)

    return await respond_once(call, "key", make)


@ROUTES.delete("/v1/keys/{id}", Scope.ADMIN, problems=[Kind.NOT_FOUND])
async def revoke_key(call: Call, id: str) -> None:
    """Revoke an API key."""
    if not await call.node.store.revoke_key(id, datetime.now(UTC)):
        raise Problem(Kind.NOT_FOUND, f"There is no API key {id!r} in force.")
    await call.node.keys.load()


def _shown(key: ApiKey) -> Key:
    return msgspec.convert(key, Key, from_attributes=True)
