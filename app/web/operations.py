"""What operators do: resources, API keys, pause and resume."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, Literal

import msgspec
from msgspec import Struct
from pydantic import ConfigDict, Field

from app import ids
from app.batch import ACCOUNT_SCOPE, EVERYTHING
from app.node import Node
from app.prepared import InvalidResourceError
from app.resources import Difference
from app.store import ApiKey, Pause, StoredAnswer
from app.web.auth import Scope, digest, make_token
from app.web.problems import Kind, Problem
from app.web.routes import IDEMPOTENCY_KEY, Answer, Body, Call, Query, Route, alone, encode

_KINDS = {"accounts": "account", "endpoints": "endpoint"}


class ResourceBody(Body):
    """A resource as it stands in a resource file; what is wrong with it is said by name."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ApplyBody(Body):
    """All resources of a file."""

    resources: dict[str, Any]
    dry_run: bool = Field(default=False, description="Only say what would change.")
    prune: bool = Field(default=False, description="Remove what the file does not name.")


class ChangesQuery(Query):
    """How far back."""

    limit: int = Field(50, ge=1, le=500, description="How many rows at the most.")


class KeyBody(Body):
    """A new API key."""

    name: str = Field(min_length=1, max_length=100)
    scope: Literal["read", "write", "admin"] = "read"


class PauseBody(Body):
    """What to stop, and why."""

    account: str | None = Field(None, description="Only this account; everything, if absent.")
    reason: str = Field("paused by hand", min_length=1, max_length=500)


class ResumeBody(Body):
    """What to start again."""

    account: str | None = Field(None, description="Only this account; the pause of everything, if absent.")


class Plan(Struct):
    """What applying changes, or changed."""

    dry_run: bool
    changes: list[Difference]


class Resources(Struct):
    """All resources of a kind."""

    data: list[dict[str, Any]]
    has_more: bool = False
    next_cursor: str | None = None


class KeyShape(Struct, kw_only=True, omit_defaults=True):
    """An API key. The key itself is shown once, when it is made."""

    id: str
    name: str
    scope: str
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None
    key: str | None = None


class PauseShape(Struct):
    """What is paused."""

    paused: list[dict[str, Any]]


async def list_resources(call: Call) -> Resources:
    """All resources of a kind, each with its lane if it is an account."""
    kind = _kind(call)
    known = call.node.directory.accounts if kind == "accounts" else call.node.directory.endpoints
    return Resources([_shown(call.node, kind, id) for id in sorted(known)])


async def get_resource(call: Call) -> dict[str, Any]:
    """One resource."""
    kind, id = _kind(call), call.path("id")
    if call.node.directory.shown(kind, id) is None:
        raise Problem(Kind.NOT_FOUND, f"There is no {_KINDS[kind]} {id!r}.")
    return _shown(call.node, kind, id)


async def put_resource(call: Call) -> Answer:
    """Make or change one resource."""
    kind, id = _kind(call), call.path("id")
    body = {**call.body.model_dump(), "id": id}
    body.pop("version", None)
    body.pop("lane", None)
    existed = call.node.directory.shown(kind, id) is not None
    await _apply(call, {kind: [body]}, dry_run=False, prune=False)
    return Answer(_shown(call.node, kind, id), 200 if existed else 201)


async def delete_resource(call: Call) -> Answer:
    """Remove one resource."""
    kind, id = _kind(call), call.path("id")
    try:
        await call.node.directory.remove(kind, id, by=call.key.name, now=datetime.now(UTC))
    except KeyError as error:
        raise Problem(Kind.NOT_FOUND, f"There is no {_KINDS[kind]} {id!r}.") from error
    except InvalidResourceError as error:
        raise Problem(Kind.IN_USE, f"{error}.") from error
    call.node.follow_directory()
    return Answer(None, 204)


async def apply(call: Call) -> Plan:
    """Bring all resources to what a file says."""
    asked: ApplyBody = call.body
    return Plan(asked.dry_run, await _apply(call, asked.resources, dry_run=asked.dry_run, prune=asked.prune))


async def list_changes(call: Call) -> Resources:
    """Who changed which resource when."""
    changes = await call.node.store.resource_changes(call.query.limit)
    return Resources([msgspec.to_builtins(each) for each in changes])


async def list_keys(call: Call) -> Resources:
    """All API keys, without the keys themselves."""
    return Resources([msgspec.to_builtins(_key_shape(key)) for key in await call.node.store.api_keys()])


async def create_key(call: Call) -> Answer:
    """Make an API key."""
    given = call.request.headers.get(IDEMPOTENCY_KEY)
    if given is None:
        return await _make_key(call, None)
    slot = blake2b(f"{call.key.id}\0{given}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    with alone(call.node, f"key {slot}"):
        first = await call.node.store.answer(slot)
        if first is None:
            return await _make_key(call, slot)
    if first.digest != _body_digest(call):
        raise Problem(Kind.KEY_REUSED, "This Idempotency-Key came with another request before; use a new one.")
    return Answer(call.node.vault.open(first.answer), 201, {"Idempotent-Replayed": "true"})


async def _make_key(call: Call, slot: str | None) -> Answer:
    asked: KeyBody = call.body
    node, now, token = call.node, datetime.now(UTC), make_token()
    key = ApiKey(ids.show(ids.KEY, node.ids.next()), asked.name, asked.scope, digest(token), now, call.key.name)
    shape = _key_shape(key)
    shape.key = token
    body = encode(shape)
    stored = StoredAnswer(slot, _body_digest(call), node.vault.seal(body), now) if slot is not None else None
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


async def pause(call: Call) -> PauseShape:
    """Stop sending; ingest goes on."""
    asked: PauseBody = call.body
    await call.node.pause(_scope(call.node, asked.account), asked.reason, call.key.name)
    return _pauses(call.node)


async def resume(call: Call) -> PauseShape:
    """Send again."""
    asked: ResumeBody = call.body
    await call.node.resume(_scope(call.node, asked.account), call.key.name)
    return _pauses(call.node)


async def _apply(call: Call, resources: dict[str, Any], *, dry_run: bool, prune: bool) -> list[Difference]:
    try:
        return await call.node.apply(resources, by=call.key.name, dry_run=dry_run, prune=prune)
    except InvalidResourceError as error:
        raise Problem(Kind.INVALID, f"{error}.") from error


def _kind(call: Call) -> str:
    return call.request.path.split("/")[2]


def _scope(node: Node, account: str | None) -> str:
    if account is None:
        return EVERYTHING
    if account not in node.directory.accounts:
        raise Problem(Kind.NOT_FOUND, f"There is no account {account!r}; `rescind accounts list` shows all.")
    return ACCOUNT_SCOPE + account


def _pauses(node: Node) -> PauseShape:
    return PauseShape([_pause_shape(each) for each in node.ledger.pauses.values()])


def _pause_shape(pause: Pause) -> dict[str, Any]:
    return {"scope": pause.scope, "reason": pause.reason, "since": pause.since, "by": pause.by}


def _shown(node: Node, kind: str, id: str) -> dict[str, Any]:
    shown = node.directory.shown(kind, id) or {}
    lane = node.lane_status(id) if kind == "accounts" else None
    if lane is not None:
        shown["lane"] = lane
    return shown


def _key_shape(key: ApiKey) -> KeyShape:
    return msgspec.convert(key, KeyShape, from_attributes=True)


def _crud(kind: str) -> list[Route]:
    one, base = _KINDS[kind], f"/v1/{kind}"
    named: dict[str, Any] = {"path": base + "/{id}", "answer": dict[str, Any]}
    title = one.capitalize()
    return [
        Route(
            method="GET",
            path=base,
            name=f"list{title}s",
            summary=f"All {kind}.",
            scope=Scope.READ,
            handler=list_resources,
            answer=Resources,
        ),
        Route(
            **named,
            method="GET",
            name=f"get{title}",
            summary=f"One {one}.",
            scope=Scope.READ,
            handler=get_resource,
            problems=[Kind.NOT_FOUND],
        ),
        Route(
            **named,
            method="PUT",
            name=f"put{title}",
            summary=f"Make or change an {one}.",
            scope=Scope.ADMIN,
            handler=put_resource,
            body=ResourceBody,
            problems=[Kind.INVALID],
        ),
        Route(
            **named,
            method="DELETE",
            name=f"delete{title}",
            summary=f"Remove an {one}.",
            scope=Scope.ADMIN,
            handler=delete_resource,
            status=204,
            problems=[Kind.NOT_FOUND, Kind.IN_USE],
        ),
    ]


_POST: dict[str, Any] = {"method": "POST", "scope": Scope.ADMIN}

ROUTES = [
    *_crud("accounts"),
    *_crud("endpoints"),
    Route(
        **_POST,
        path="/v1/apply",
        name="apply",
        summary="Bring resources to what a file says, or show the difference.",
        handler=apply,
        body=ApplyBody,
        answer=Plan,
        problems=[Kind.INVALID],
    ),
    Route(
        method="GET",
        scope=Scope.ADMIN,
        path="/v1/changes",
        name="listChanges",
        summary="The audit trail: who changed which resource, and to what (without secrets), the newest first.",
        handler=list_changes,
        query=ChangesQuery,
        answer=Resources,
    ),
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
        **_POST,
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
    Route(
        method="POST",
        scope=Scope.WRITE,
        path="/v1/pause",
        name="pause",
        summary="Stop sending for everything or one account; ingest goes on.",
        handler=pause,
        body=PauseBody,
        answer=PauseShape,
    ),
    Route(
        method="POST",
        scope=Scope.WRITE,
        path="/v1/resume",
        name="resume",
        summary="Send again.",
        handler=resume,
        body=ResumeBody,
        answer=PauseShape,
    ),
]
