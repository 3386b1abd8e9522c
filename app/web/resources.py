"""Resources: accounts, endpoints and policies, one by one or as a file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import ConfigDict, Field

from app.config.keys import Scope
from app.config.resolve import SINGULAR, InvalidResourceError
from app.config.store import Difference, UnprovenPolicyError
from app.core.event import Event
from app.engine.warnings import warnings
from app.node import Node
from app.web.fields import Flag
from app.web.pauses import policy_pause
from app.web.problems import Kind, Problem
from app.web.routes import Answer, Body, Call, Query, Route

_SHOWN_BESIDES = ("version", "lane", "paused", "failing", "warnings")
"""What a resource is shown with and is no part of it."""


class ResourceBody(Body):
    """A resource as it stands in a resource file; what is wrong with it is said by name."""

    model_config = ConfigDict(extra="allow", frozen=True)


class ApplyBody(Body):
    """All resources of a file."""

    resources: dict[str, Any]
    dry_run: bool = Field(default=False, description="Only say what would change.")
    prune: bool = Field(default=False, description="Remove what the file does not name.")
    confirm: bool = Field(default=False, description="Enforce also policies of which nobody has seen what they do.")


class PutQuery(Query):
    """What the caller takes upon himself."""

    confirm: Flag = Field(default=False, description="Enforce also a policy of which nobody has seen what it does.")


class ChangesQuery(Query):
    """How far back."""

    limit: int = Field(50, ge=1, le=500, description="How many rows at the most.")


class Plan(Struct):
    """What applying changes, or changed."""

    dry_run: bool
    changes: list[Difference]


class Resources(Struct):
    """All resources of a kind."""

    data: list[dict[str, Any]]
    has_more: bool = False
    next_cursor: str | None = None


async def list_resources(call: Call) -> Resources:
    """All resources of a kind, each with its lane if it is an account."""
    kind = _kind(call)
    return Resources(await _shown(call.node, kind, call.node.directory.ids(kind)))


async def get_resource(call: Call) -> dict[str, Any]:
    """One resource."""
    kind, id = _kind(call), call.path("id")
    if call.node.directory.shown(kind, id) is None:
        raise Problem(Kind.NOT_FOUND, f"There is no {SINGULAR[kind]} {id!r}.")
    [shown] = await _shown(call.node, kind, [id])
    return shown


async def put_resource(call: Call) -> Answer:
    """Make or change one resource."""
    kind, id = _kind(call), call.path("id")
    body = {**call.body.model_dump(), "id": id}
    for own in _SHOWN_BESIDES:
        body.pop(own, None)
    existed = call.node.directory.shown(kind, id) is not None
    await _apply(call, {kind: [body]}, confirm=call.query.confirm)
    [shown] = await _shown(call.node, kind, [id])
    return Answer(shown, 200 if existed else 201)


async def delete_resource(call: Call) -> Answer:
    """Remove one resource."""
    kind, id = _kind(call), call.path("id")
    try:
        await call.node.directory.remove(kind, id, by=call.key.name, now=datetime.now(UTC))
    except KeyError as error:
        raise Problem(Kind.NOT_FOUND, f"There is no {SINGULAR[kind]} {id!r}.") from error
    except InvalidResourceError as error:
        raise Problem(Kind.IN_USE, f"{error}.") from error
    call.node.follow_directory()
    return Answer(None, 204)


async def apply(call: Call) -> Plan:
    """Bring all resources to what a file says."""
    asked: ApplyBody = call.body
    options = {"dry_run": asked.dry_run, "prune": asked.prune, "confirm": asked.confirm}
    return Plan(asked.dry_run, await _apply(call, asked.resources, **options))


async def list_changes(call: Call) -> Resources:
    """Who changed which resource when."""
    changes = await call.node.store.resource_changes(call.query.limit)
    return Resources([msgspec.to_builtins(each) for each in changes])


async def _apply(call: Call, resources: dict[str, Any], **options: bool) -> list[Difference]:
    try:
        return await call.node.apply(resources, by=call.key.name, **options)
    except InvalidResourceError as error:
        raise invalid_resource(error) from error
    except UnprovenPolicyError as error:
        detail = f"{error}. Backtest it, or let it run in mode shadow first; or say confirm."
        raise Problem(Kind.UNCONFIRMED, detail, policies=list(error.policies)) from error


def invalid_resource(error: InvalidResourceError, **members: Any) -> Problem:
    """The problem with everything that is wrong, each with its place in the resource."""
    if error.faults:
        members["errors"] = [
            {"kind": each.kind, "id": each.id, "number": each.number, "path": each.path, "message": each.message}
            for each in error.faults
        ]
    return Problem(Kind.INVALID, f"{error}.", **members)


def _kind(call: Call) -> str:
    return call.request.path.split("/")[2]


async def _shown(node: Node, kind: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The resources of those ids, as answers show them."""
    said = await warnings(node.directory, node.store) if kind == "accounts" else {}
    failing = await node.store.failing_policies(ids) if kind == "policies" else {}
    return [_shown_one(node, kind, id, said.get(id, ()), failing.get(id)) for id in ids]


def _shown_one(node: Node, kind: str, id: str, said: Sequence[str], failed: Event | None) -> dict[str, Any]:
    """The resource; `said` is what should be changed of an account, `failed` the latest failure of a policy."""
    shown = node.directory.shown(kind, id) or {}
    lane = node.lane_status(id) if kind == "accounts" else None
    if lane is not None:
        shown["lane"] = lane
        shown["warnings"] = list(said)
    if kind == "policies" and shown:
        # With what was not written: how it is to be read is not for every reader to know.
        shown = {**node.directory.policies[id].model_dump(mode="json", exclude_none=True), **shown}
        paused = policy_pause(node, id)
        if paused is not None:
            shown["paused"] = paused
        if failed is not None:
            about = {"account": failed.account, "order": failed.order, "at": failed.received_at}
            shown["failing"] = {**about, "detail": failed.data.get("detail", "")}
    return shown


def _crud(kind: str) -> list[Route]:
    one, base = SINGULAR[kind], f"/v1/{kind}"
    named: dict[str, Any] = {"path": base + "/{id}", "answer": dict[str, Any]}
    title, article = one.capitalize(), "an" if one[0] in "ae" else "a"
    return [
        Route(
            method="GET",
            path=base,
            name=f"list{kind.capitalize()}",
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
            summary=f"Make or change {article} {one}.",
            scope=Scope.ADMIN,
            handler=put_resource,
            body=ResourceBody,
            query=PutQuery,
            problems=[Kind.INVALID, Kind.UNCONFIRMED],
        ),
        Route(
            **named,
            method="DELETE",
            name=f"delete{title}",
            summary=f"Remove {article} {one}.",
            scope=Scope.ADMIN,
            handler=delete_resource,
            status=204,
            problems=[Kind.NOT_FOUND, Kind.IN_USE],
        ),
    ]


ROUTES = [
    *_crud("accounts"),
    *_crud("endpoints"),
    *_crud("policies"),
    Route(
        method="POST",
        scope=Scope.ADMIN,
        path="/v1/apply",
        name="apply",
        summary="Bring resources to what a file says, or show the difference.",
        handler=apply,
        body=ApplyBody,
        answer=Plan,
        problems=[Kind.INVALID, Kind.UNCONFIRMED],
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
]
