"""Subscriptions: create with a generated secret, rotate, disable and enable."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from app.config.resolve import Body as ResourceDict
from app.config.resolve import Resolved
from app.config.scope import Scope
from app.config.subscriptions import SubscriptionSpec, is_signed, make_secret, rotated
from app.runtime import ids
from app.store import StoredResponse
from app.web import examples, resources
from app.web.delivery_states import shown_spec
from app.web.endpoints import RotateBody
from app.web.idempotency import KeyedRequest, respond_once
from app.web.lookup import missing
from app.web.problems import Kind, Problem
from app.web.resources import ResourceBody, create_resource, edit_resource, get_resource
from app.web.routes import Call, JsonResponse, RouteTable

ROUTES = RouteTable(resources.TAGS["subscriptions"], id=examples.SUBSCRIPTION)
SUBSCRIPTION = "/v1/subscriptions/{id}"
_KIND = "subscriptions"
_MISSING = missing(_KIND, examples.SUBSCRIPTION)
_SHOWN = resources.SHOWN[_KIND]
_CREATED = {**_SHOWN, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}


@ROUTES.post(
    "/v1/subscriptions",
    Scope.ADMIN,
    status=201,
    idempotency_key=True,
    problems=[Kind.INVALID, Kind.EXISTS],
    request_example=ResourceBody(id=examples.SUBSCRIPTION, url="https://crm.example/hooks", events=["cancellation.*"]),
    response_example=_CREATED,
)
async def create_subscription(call: Call, body: ResourceBody) -> JsonResponse[dict[str, Any]]:
    """Create a subscription; a generated `secret` is shown only once, in this response."""

    async def make(request: KeyedRequest | None) -> JsonResponse[dict[str, Any]]:
        given = body.model_dump()
        if given.get("id") is None:
            given["id"] = ids.show(ids.SUBSCRIPTION, call.node.ids.next())
        generated = None
        if given.get("secret") is None and is_signed(given):
            given["secret"] = generated = make_secret()
        answer = _Answer(call, request, str(given["id"]), generated)
        await create_resource(call, _KIND, given, answer.respond)
        return JsonResponse(answer.body)

    return await respond_once(call, "subscription", make)


@ROUTES.post(
    SUBSCRIPTION + "/rotate",
    Scope.ADMIN,
    idempotency_key=True,
    problems=[_MISSING, Kind.INVALID],
    response_example={**_CREATED, "version": 2},
)
async def rotate_subscription(call: Call, id: str, body: RotateBody) -> JsonResponse[dict[str, Any]]:
    """Give a subscription a new `secret`; for the overlap, deliveries are signed with the former one too."""

    async def make(request: KeyedRequest | None) -> JsonResponse[dict[str, Any]]:
        former = require_subscription(call, id).secret
        if former is None:
            raise Problem(Kind.INVALID, f"Messages of subscription {id} are not signed: its format has no signature.")
        given = None if body.secret is None else body.secret.get_secret_value()
        generated = make_secret(like=former.get_secret_value()) if given is None else None

        def edit(stored: ResourceDict) -> ResourceDict:
            return rotated(stored, given or generated or "", body.overlap_h, datetime.now(UTC))

        answer = _Answer(call, request, id, generated)
        await edit_resource(call, _KIND, id, edit, answer.respond)
        return JsonResponse(answer.body)

    return await respond_once(call, "rotation", make)


@ROUTES.post(SUBSCRIPTION + "/enable", Scope.ADMIN, problems=[_MISSING], response_example=_SHOWN)
async def enable_subscription(call: Call, id: str) -> dict[str, Any]:
    """Enable a subscription, also one that failed or was disabled automatically; what was held is sent."""
    await edit_resource(call, _KIND, id, lambda stored: {**stored, "enabled": True})
    await call.node.duties.enable(id)
    return await get_resource(call, id)


@ROUTES.post(SUBSCRIPTION + "/disable", Scope.ADMIN, problems=[_MISSING], response_example={**_SHOWN, "enabled": False})
async def disable_subscription(call: Call, id: str) -> dict[str, Any]:
    """Disable a subscription; its deliveries are held until it is enabled."""
    await edit_resource(call, _KIND, id, lambda stored: {**stored, "enabled": False})
    return await get_resource(call, id)


def require_subscription(call: Call, id: str) -> SubscriptionSpec:
    """The subscription of that id. Raises `Problem` if there is none."""
    subscription = call.node.config.subscriptions.get(id)
    if subscription is None:
        raise missing(_KIND, id)
    return subscription


class _Answer:
    """Makes the response before the change is saved, so that both are saved together."""

    def __init__(self, call: Call, request: KeyedRequest | None, id: str, generated: str | None) -> None:
        self._call, self._request, self._id, self._generated = call, request, id, generated
        self.body = b""

    def respond(self, resolved: Resolved) -> StoredResponse | None:
        spec = resolved.subscriptions[self._id]
        config = self._call.node.config
        version = config.version(_KIND, self._id) + (config.subscriptions.get(self._id) != spec)
        shown = {**shown_spec(spec), "version": version}
        if self._generated is not None:
            shown["secret"] = self._generated
        self.body = msgspec.json.encode(shown)
        return None if self._request is None else self._request.stored(self._call, self.body)
