"""API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field, field_validator

from app.config.keys import BOOTSTRAP, digest
from app.config.models import Slug
from app.config.scope import Scope
from app.config.tokens import make_token
from app.core.pauses import BY_ITSELF
from app.kit.duration import shift_time
from app.runtime import ids
from app.store import ApiKey
from app.web import examples
from app.web.examples import example
from app.web.fields import Moment
from app.web.idempotency import KeyedRequest, respond_once
from app.web.pages import NamedPageQuery, named_page
from app.web.problems import Kind, Problem
from app.web.resources import Resources
from app.web.routes import ApiTag, Body, Call, JsonResponse, RouteTable

ROUTES = RouteTable(ApiTag("Keys", "API keys and their scopes."), id=examples.KEY)
_MISSING = Problem(Kind.NOT_FOUND, f"There is no API key {examples.KEY!r} in force; `rescind keys list` shows all.")
OVERLAP_H = 24.0


class KeyBody(Body):
    """A new API key."""

    name: str = Field(min_length=1, max_length=100)
    scope: Scope = Scope.READ
    accounts: tuple[Slug, ...] | None = Field(
        None, min_length=1, max_length=1000, description="Only for these accounts: those of others do not exist for it."
    )
    expires_at: Moment | None = Field(None, description="Refused from then on. Default: it does not expire.")

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        # Rescind pauses in this name, and such a pause is lifted and kept by other rules than a person's.
        if value.strip().casefold() == BY_ITSELF:
            raise ValueError("this name is reserved for Rescind's own actions: choose another")
        return value


example(KeyBody(name="dashboard", scope=Scope.READ))


class RotateKeyBody(Body):
    """How an API key is replaced."""

    overlap_h: float = Field(
        OVERLAP_H, ge=0, le=24 * 90, description="How long the key that is replaced stays valid, in hours."
    )
    expires_at: Moment | None = Field(
        None, description="When the new key expires. Default: after as long a time as the replaced one had, if it had."
    )


example(RotateKeyBody(overlap_h=24))


class Key(Struct, kw_only=True, omit_defaults=True):
    """An API key. The secret itself is shown once, in the response that creates it."""

    id: str
    name: str
    scope: str
    created_at: datetime
    created_by: str
    accounts: tuple[str, ...] | None = None
    """The accounts that it is restricted to."""
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    """Stored every minute."""
    rotated_from: str | None = None
    """The first key of the line, if this one replaced another."""
    revoked_at: datetime | None = None
    sessions: int = 0
    """Open sessions of the console that were begun with it."""
    key: str | None = None


_KEY = Key(id=examples.KEY, name="dashboard", scope="read", created_at=examples.REQUESTED_AT, created_by="bootstrap")
example(replace(_KEY, key="rk_tbCCy2E9ORnT6Q5ayg9qsLROWTnHBR_wqFyTDNXeP6c"))


@ROUTES.get("/v1/keys", Scope.ADMIN, response_example=Resources([msgspec.to_builtins(_KEY)]))
async def list_keys(call: Call, query: NamedPageQuery) -> Resources:
    """API keys, without their secrets."""
    keys = {key.id: key for key in await call.node.store.api_keys()}
    named = named_page(sorted(keys), query)
    sessions = await call.node.store.count_sessions(datetime.now(UTC))
    rows = [msgspec.to_builtins(replace(_shown(call, keys[id]), sessions=sessions.get(id, 0))) for id in named.ids]
    return Resources(rows, named.has_more, named.next_cursor, named.previous_cursor)


@ROUTES.post("/v1/keys", Scope.ADMIN, status=201, idempotency_key=True, problems=[Kind.INVALID])
async def create_key(call: Call, body: KeyBody) -> JsonResponse[Key]:
    """Create an API key; it is shown only once, in this response.

    Only a digest of it is stored.
    """

    async def make(request: KeyedRequest | None) -> JsonResponse[Key]:
        _check_expiry(body.expires_at)
        for account in body.accounts or ():
            if account not in call.node.config.accounts:
                detail = f"The field accounts: there is no account {account!r}; `rescind accounts list` shows all."
                raise Problem(Kind.INVALID, detail, field="accounts")
        accounts = body.accounts and tuple(dict.fromkeys(body.accounts))
        return await _save(
            call, request, name=body.name, scope=body.scope, accounts=accounts, expires_at=body.expires_at
        )

    return await respond_once(call, "key", make)


@ROUTES.post(
    "/v1/keys/{id}/rotate",
    Scope.ADMIN,
    status=201,
    idempotency_key=True,
    problems=[_MISSING, Kind.INVALID],
)
async def rotate_key(call: Call, id: str, body: RotateKeyBody) -> JsonResponse[Key]:
    """Replace an API key by a new one, shown only once; the old one stays valid for the overlap."""

    async def make(request: KeyedRequest | None) -> JsonResponse[Key]:
        now, old = datetime.now(UTC), call.node.keys.in_force(id)
        if old is None or old.id == BOOTSTRAP:
            hint = " Change RESCIND_BOOTSTRAP_KEY to replace that one." if old is not None else ""
            raise Problem(Kind.NOT_FOUND, f"There is no API key {id!r} in force; `rescind keys list` shows all.{hint}")
        _check_expiry(body.expires_at)
        lifetime = None if old.expires_at is None else old.expires_at - old.created_at
        return await _save(
            call,
            request,
            retire=(old.id, now + timedelta(hours=body.overlap_h)),
            name=old.name,
            scope=old.scope,
            accounts=old.accounts,
            expires_at=body.expires_at or (None if lifetime is None else shift_time(now, lifetime)),
            rotated_from=old.holder,
        )

    return await respond_once(call, "key", make)


@ROUTES.delete("/v1/keys/{id}", Scope.ADMIN, problems=[_MISSING])
async def revoke_key(call: Call, id: str) -> None:
    """Revoke an API key.

    Requests with it are refused from then on, and its streams and sessions of the console end.
    """
    if not await call.node.store.revoke_key(id, datetime.now(UTC)):
        raise Problem(Kind.NOT_FOUND, f"There is no API key {id!r} in force; `rescind keys list` shows all.")
    await call.node.keys.load()
    call.node.log_feed.announce()


@ROUTES.delete("/v1/keys/{id}/sessions", Scope.ADMIN, problems=[_MISSING])
async def end_sessions(call: Call, id: str) -> None:
    """End all sessions of the console that were begun with an API key, which stays valid.

    A cookie that somebody copied is worthless from then on. `bootstrap` is the key in RESCIND_BOOTSTRAP_KEY.
    """
    if call.node.keys.in_force(id) is None:
        raise Problem(Kind.NOT_FOUND, f"There is no API key {id!r} in force; `rescind keys list` shows all.")
    await call.node.sessions.end_all(id)


async def _save(
    call: Call, request: KeyedRequest | None, *, retire: tuple[str, datetime] | None = None, **given: Any
) -> JsonResponse[Key]:
    """Make a key, and the response that shows it."""
    node, token = call.node, make_token()
    id, now = ids.show(ids.KEY, node.ids.next()), datetime.now(UTC)
    key = ApiKey(id=id, hash=digest(token), created_at=now, created_by=call.key.name, **given)
    shown = _shown(call, key)
    shown.key = token
    response = msgspec.json.encode(shown)
    await node.store.save_key(key, None if request is None else request.stored(call, response), retire=retire)
    await node.keys.load()
    return JsonResponse(response)


def _check_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise Problem(Kind.INVALID, "The field expires_at: it is in the past.", field="expires_at")


def _shown(call: Call, key: ApiKey) -> Key:
    shown = msgspec.convert(key, Key, from_attributes=True)
    shown.last_used_at = call.node.keys.last_used_at(key)
    return shown
