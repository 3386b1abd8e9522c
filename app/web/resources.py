"""Resources: accounts, endpoints, policies and subscriptions, one by one or as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct
from pydantic import ConfigDict, Field

from app.config.faults import SINGULAR, Fault, InvalidResourceError
from app.config.resolve import Body as ResourceDict
from app.config.scope import Scope
from app.config.store import Difference, ResourceExistsError, Respond, UnprovenPolicyError
from app.node import Node
from app.runtime.validation_messages import sentence
from app.web import examples, pauses
from app.web.examples import example
from app.web.fields import Flag
from app.web.lookup import missing, sees_resource
from app.web.pages import NamedPageQuery, Page, PageQuery, fitting, named_page, page
from app.web.problems import Kind, Problem
from app.web.resource_states import READ_ONLY, shown_resources
from app.web.routes import AccountCheck, ApiTag, Body, Call, JsonResponse, Query, RouteTable

_DESCRIPTIONS = {
    "accounts": "Merchants at providers: credentials, rules and limits.",
    "endpoints": "URLs for the providers' webhooks, their secrets and registrations.",
    "policies": "Standing rules for which orders to cancel, their decisions, tests and backtests.",
    "subscriptions": "Where Rescind sends its own webhooks and notices.",
}
TAGS = {kind: ApiTag(kind.capitalize(), description) for kind, description in _DESCRIPTIONS.items()}
"""The tag of each kind's operations."""
ROUTES = RouteTable(pauses.ROUTES.tag)
_VERSION = ("version",)


class ResourceBody(Body):
    """A resource as in a resource file; faults are reported with their place in it."""

    model_config = ConfigDict(extra="allow", frozen=True)


_BODIES = {
    "accounts": ResourceBody(
        provider="planomatic",
        config={"base_url": "https://planomatic.example", "api_key": "pk_live_1f0c"},
        limits={"requests": 100, "per_s": 60},
    ),
    "endpoints": ResourceBody(
        account=examples.ACCOUNT, verify={"scheme": "token", "secrets": ["d4c1f0a9b27e4e58a6c3"]}
    ),
    "policies": ResourceBody(
        accounts=[examples.ACCOUNT],
        when='order.phase == "open" && size(order.appointments) == 0',
        wait="48h since order.opened_at",
        cancel={"reason": "client_requested_cancelation", "note": "Not scheduled within 48 hours"},
        limits={"per_hour": 20, "per_day": 100},
    ),
    "subscriptions": ResourceBody(url="https://crm.example/hooks", events=["cancellation.*"]),
}
"""Examples of what a PUT declares."""
SHOWN: dict[str, dict[str, Any]] = {
    "accounts": {
        "id": examples.ACCOUNT,
        "provider": "planomatic",
        "config": {"base_url": "https://planomatic.example", "api_key": "**********"},
        "limits": {"requests": 100, "per_s": 60},
        "version": 1,
        "lane": {"state": "idle", "reason": "", "until": None, "running": 0, "limit": 100, "used": 0},
        "warnings": [],
    },
    "endpoints": {
        "id": examples.ENDPOINT,
        "account": examples.ACCOUNT,
        "verify": {"scheme": "token", "secrets": ["**********"]},
        "version": 1,
        "url": f"https://rescind.example.com/webhooks/{examples.ENDPOINT}",
        "traffic": {
            "last_received_at": examples.RECEIVED_AT,
            "counts": {"accepted": 1204, "duplicate": 3, "ignored": 0, "quarantined": 1, "refused": 2},
            "failures": {
                "unknown_event": {"count": 1, "last_at": examples.RECEIVED_AT},
                "bad_signature": {"count": 2, "last_at": examples.RECEIVED_AT},
            },
            "refused_since_last_received": 0,
            "failing_since": None,
            "silent_since": None,
            "retired_secrets": [],
        },
    },
    "policies": {
        "id": examples.POLICY,
        "description": "",
        "on": [],
        "duplicates_within": "24h",
        "mode": "shadow",
        "approve_within": "24h",
        **_BODIES["policies"].model_dump(),
        "version": 1,
        "usage": {"in_hour": 2, "in_day": 17},
    },
    "subscriptions": {"id": examples.SUBSCRIPTION, **_BODIES["subscriptions"].model_dump(), "version": 1},
}
"""Examples of shown resources."""


class ApplyBody(Body):
    """All resources of a file."""

    resources: dict[str, Any]
    dry_run: bool = Field(default=False, description="Only return what would change.")
    prune: bool = Field(default=False, description="Remove resources that the file does not name.")
    confirm: bool = Field(default=False, description="Also enforce policies that were never backtested or shadowed.")


example(ApplyBody(resources={"policies": [{"id": examples.POLICY, **_BODIES["policies"].model_dump()}]}, dry_run=True))


class PutQuery(Query):
    """What the caller confirms."""

    confirm: Flag = Field(default=False, description="Also enforce a policy that was never backtested or shadowed.")


class Plan(Struct):
    """What applying would change, or changed."""

    dry_run: bool
    changes: list[Difference]


example(
    Plan(
        dry_run=True,
        changes=[
            Difference(
                kind="policies",
                id=examples.POLICY,
                action="create",
                before=None,
                after={"id": examples.POLICY, **_BODIES["policies"].model_dump()},
            )
        ],
    )
)


class Resources(Struct):
    """A page of resources."""

    data: list[dict[str, Any]]
    has_more: bool = False
    next_cursor: str | None = None
    previous_cursor: str | None = None


_CHANGE = {
    "kind": "endpoints",
    "id": examples.ENDPOINT,
    "version": 1,
    "at": examples.REQUESTED_AT,
    "by": "bootstrap",
    "action": "create",
    "body": {"id": examples.ENDPOINT, "account": examples.ACCOUNT},
}


class ResourcesQuery(NamedPageQuery):
    """Which resources."""

    account: str | None = Field(None, description="Only those of this account.")


async def list_resources(call: Call, query: NamedPageQuery) -> Resources:
    """All resources of a kind, by id."""
    kind = _kind(call)
    return await _listed(call, kind, call.node.config.ids(kind), query)


async def list_of_account(call: Call, query: ResourcesQuery) -> Resources:
    """The endpoints or policies of an account, or all, by id."""
    kind, account = _kind(call), query.account
    ids = call.node.config.ids(kind)
    if account is not None:
        ids = [id for id in ids if account in _accounts_of(call.node, kind, id)]
    return await _listed(call, kind, ids, query)


async def _listed(call: Call, kind: str, ids: Sequence[str], query: NamedPageQuery) -> Resources:
    seen = [id for id in ids if sees_resource(call.node, call.key, kind, id)]
    named = named_page(seen, query)
    shown = await shown_resources(call, kind, named.ids)
    return Resources(shown, named.has_more, named.next_cursor, named.previous_cursor)


def _accounts_of(node: Node, kind: str, id: str) -> Sequence[str]:
    if kind == "endpoints":
        return (node.config.endpoints[id].spec.account,)
    return node.config.policies[id].accounts


async def get_resource(call: Call, id: str) -> dict[str, Any]:
    """One resource."""
    kind = _kind(call)
    if not sees_resource(call.node, call.key, kind, id):
        raise missing(kind, id)
    return await _shown_one_of(call, kind, id)


async def put_resource(call: Call, id: str, query: PutQuery, body: ResourceBody) -> JsonResponse[dict[str, Any]]:
    """Create or change one resource."""
    kind = _kind(call)
    existed = call.node.config.shown(kind, id) is not None
    given = {key: value for key, value in body.model_dump().items() if key not in READ_ONLY.get(kind, _VERSION)}
    [change] = await _apply(call, {kind: [{**given, "id": id}]}, confirm=query.confirm)
    shown = await _shown_one_of(call, kind, id)
    if change.secret is not None:
        shown["secret"] = change.secret
    return JsonResponse(shown, 200 if existed else 201)


async def delete_resource(call: Call, id: str) -> None:
    """Remove one resource."""
    kind = _kind(call)
    try:
        await call.node.config.remove(kind, id, by=call.key.name, now=datetime.now(UTC))
    except KeyError as error:
        raise missing(kind, id) from error
    except InvalidResourceError as error:
        raise Problem(Kind.IN_USE, f"{error}.") from error
    await call.node.follow_config()


def _declare(kind: str, one: str) -> None:
    path, title, article = f"/v1/{kind}", one.capitalize(), "an" if one[0] in "ae" else "a"
    # A policy and a subscription may be about several accounts.
    check = AccountCheck.HANDLER if kind in ("accounts", "endpoints") else AccountCheck.REFUSED
    shown = SHOWN[kind]
    in_path: dict[str, Any] = {"tag": TAGS[kind], "variables": {"id": shown["id"]}}
    absent = missing(kind, shown["id"])
    ROUTES.get(
        path,
        name=f"list{kind.capitalize()}",
        summary=f"All {kind}.",
        tag=TAGS[kind],
        response_example=Resources([shown]),
        account_check=check,
    )(list_of_account if kind in ("endpoints", "policies") else list_resources)
    path += "/{id}"
    ROUTES.get(
        path,
        name=f"get{title}",
        summary=f"One {one}.",
        problems=[absent],
        response_example=shown,
        account_check=check,
        **in_path,
    )(get_resource)
    ROUTES.put(
        path,
        Scope.ADMIN,
        also={201: dict[str, Any]},
        name=f"put{title}",
        summary=f"Create or change {article} {one}.",
        description="The body is the whole resource, as in a resource file. What only responses have is ignored.",
        problems=[Kind.INVALID, Kind.UNCONFIRMED] if kind == "policies" else [Kind.INVALID],
        request_example=_BODIES[kind],
        response_example=shown,
        **in_path,
    )(put_resource)
    ROUTES.delete(
        path,
        Scope.ADMIN,
        name=f"delete{title}",
        summary=f"Remove {article} {one}.",
        problems=[absent, Kind.IN_USE],
        **in_path,
    )(delete_resource)


for _plural, _one in SINGULAR.items():
    _declare(_plural, _one)


@ROUTES.post("/v1/apply", Scope.ADMIN, problems=[Kind.INVALID, Kind.UNCONFIRMED])
async def apply(call: Call, body: ApplyBody) -> Plan:
    """Apply the resources of a file, or show the difference.

    All of it is applied, or nothing. A policy that would cancel for real, and was never backtested or in mode `shadow`,
    needs `confirm`.
    """
    options = {"dry_run": body.dry_run, "prune": body.prune, "confirm": body.confirm}
    return Plan(body.dry_run, await _apply(call, body.resources, **options))


class ChangesQuery(PageQuery):
    """Filters for the audit trail."""

    kind: Literal["accounts", "endpoints", "policies", "subscriptions"] | None = None
    id: str | None = Field(None, description="Only changes of this resource; requires `kind`.")
    by: str | None = Field(None, description="Only changes made with the API key of this name.")


@ROUTES.get("/v1/changes", Scope.ADMIN, response_example=Resources([_CHANGE]))
async def list_changes(call: Call, query: ChangesQuery) -> Resources:
    """The audit trail: who changed which resource, and to what (without secrets), newest first."""
    if query.id is not None and query.kind is None:
        raise Problem(Kind.INVALID, "The query parameter id requires kind.", field="kind")
    window = query.window()
    found = await call.node.store.resource_changes(window, kind=query.kind, id=query.id, by=query.by)
    changes: Page[Any] = page(*await fitting(found, window))
    return Resources(changes.data, changes.has_more, changes.next_cursor, changes.previous_cursor)


async def _apply(call: Call, resources: dict[str, Any], **options: bool) -> list[Difference]:
    try:
        return await call.node.apply(resources, by=call.key.name, **options)
    except InvalidResourceError as error:
        raise invalid_resource(error) from error
    except UnprovenPolicyError as error:
        detail = f"{error}. Backtest it, run it in mode shadow first, or set confirm."
        raise Problem(Kind.UNCONFIRMED, detail, policies=list(error.policies)) from error


def invalid_resource(error: InvalidResourceError, **members: Any) -> Problem:
    """The problem with every fault and its place in the resource."""
    if error.faults:
        members["errors"] = [_shown_fault(fault) for fault in error.faults]
    return Problem(Kind.INVALID, sentence(error), **members)


def _shown_fault(fault: Fault) -> dict[str, Any]:
    shown = {"kind": fault.kind, "id": fault.id, "number": fault.number, "path": fault.path, "message": fault.message}
    if fault.line is not None:
        shown |= {"line": fault.line, "column": fault.column}  # in the text of an expression
    return shown


async def create_resource(call: Call, kind: str, body: ResourceDict, respond: Respond) -> None:
    """Put a new resource in force. Raises `Problem` if there is one of its id, or it is invalid."""
    try:
        await call.node.create(kind, body, by=call.key.name, respond=respond)
    except ResourceExistsError as error:
        detail = f"{error}: change it by PUT or `rescind apply`, or choose another id."
        raise Problem(Kind.EXISTS, detail) from error
    except InvalidResourceError as error:
        raise invalid_resource(error) from error


async def edit_resource(
    call: Call, kind: str, id: str, edit: Callable[[ResourceDict], ResourceDict], respond: Respond | None = None
) -> None:
    """Change a resource. Raises `Problem` if there is none, or it would be invalid."""
    try:
        await call.node.edit(kind, id, edit, by=call.key.name, respond=respond)
    except KeyError as error:
        raise missing(kind, id) from error
    except InvalidResourceError as error:
        raise invalid_resource(error) from error


def _kind(call: Call) -> str:
    return call.route.path.split("/")[2]


async def _shown_one_of(call: Call, kind: str, id: str) -> dict[str, Any]:
    """The resource with its state. Raises `Problem` if it was removed meanwhile."""
    for shown in await shown_resources(call, kind, [id]):
        return shown
    raise missing(kind, id)
