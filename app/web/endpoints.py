"""Endpoints: create with a generated secret, rotate, disable and enable."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from pydantic import Field, SecretStr

from app.config.endpoint_proof import unread
from app.config.faults import InvalidResourceError
from app.config.resolve import Body as ResourceDict
from app.config.resolve import Endpoint, Resolved
from app.config.rotation import OVERLAP_H, OVERLAP_H_MAX, make_webhook_secret, require_rotatable, rotated
from app.config.scope import Scope
from app.contract import Setup, SetupField
from app.kit.setup import KEPT_BY_SENDER, URL_UNKNOWN, issued_by_provider, setup_of
from app.kit.signing import signs_url
from app.node import Node
from app.store import StoredResponse
from app.web import examples, resources
from app.web.examples import example
from app.web.idempotency import KeyedRequest, respond_once
from app.web.lookup import missing, require_endpoint
from app.web.problems import Kind
from app.web.resource_states import shown_resources, webhook_url
from app.web.resources import (
    ResourceBody,
    create_resource,
    edit_resource,
    invalid_resource,
)
from app.web.routes import AccountCheck, Body, Call, JsonResponse, RouteTable

ROUTES = RouteTable(resources.TAGS["endpoints"], id=examples.ENDPOINT)
_MISSING = missing("endpoints", examples.ENDPOINT)
_ENDPOINT = "/v1/endpoints/{id}"
_SLUG_CHARS, _SUFFIX_BYTES = 63, 3


class RotateBody(Body):
    """How to rotate an endpoint's secret."""

    overlap_h: float = Field(
        OVERLAP_H, ge=0, le=OVERLAP_H_MAX, allow_inf_nan=False, description="How long the former secret stays valid."
    )
    secret: SecretStr | None = Field(
        None, min_length=1, max_length=4096, description="The new secret; by default one is generated."
    )


example(RotateBody(overlap_h=24))


class EndpointSetup(Struct, omit_defaults=True):
    """An endpoint, with what to enter at the provider. The secret is shown only in this response."""

    id: str
    account: str
    url: str
    """Where the provider sends its webhooks."""
    setup: Setup
    """What to paste into the provider's form."""
    verify: dict[str, Any]
    """How requests are verified, without secrets."""
    version: int
    secret: str | None = None
    """The new secret; absent where it was not generated here."""
    former_valid_until: datetime | None = None
    """Until when the former secret is accepted, after a rotation."""


_SETUP = EndpointSetup(
    id=examples.ENDPOINT,
    account=examples.ACCOUNT,
    url=f"https://rescind.example.com/webhooks/{examples.ENDPOINT}",
    setup=Setup(
        where="PlanOmatic sets webhooks up on request: send these to its support.",
        fields=(SetupField("URL", f"https://rescind.example.com/webhooks/{examples.ENDPOINT}"),),
    ),
    verify={"scheme": "token"},
    version=1,
    secret="d4c1f0a9b27e4e58a6c3",  # noqa: S106 - an example
)
example(_SETUP)


class Refusal(Struct):
    """A refused request, without its content."""

    at: datetime
    cause: str
    detail: str
    headers: tuple[str, ...]
    """Names of its headers."""
    address: str
    """Of the client, as far as trusted proxies tell."""


class Refusals(Struct):
    """The last refused requests of an endpoint, newest first."""

    data: list[Refusal]
    has_more: bool = False
    next_cursor: str | None = None


example(
    Refusals(
        [
            Refusal(
                at=examples.RECEIVED_AT,
                cause="missing_signature",
                detail="Not accepted: the header Stripe-Signature is missing.",
                headers=("Host", "Content-Type", "X-Stripe-Signature"),
                address="203.0.113.7",
            )
        ]
    )
)


@ROUTES.post(
    "/v1/endpoints",
    Scope.ADMIN,
    status=201,
    idempotency_key=True,
    problems=[Kind.INVALID, Kind.EXISTS],
    request_example=ResourceBody(id=examples.ENDPOINT, account=examples.ACCOUNT),
)
async def create_endpoint(call: Call, body: ResourceBody) -> JsonResponse[EndpointSetup]:
    """Create an endpoint; a secret that is generated for it is shown only once, in this response."""

    async def make(request: KeyedRequest | None) -> JsonResponse[EndpointSetup]:
        given = body.model_dump()
        spec, generated = _with_defaults(call.node, given)
        answer = _Answer(call, request, spec["id"], generated)
        await create_resource(call, "endpoints", spec, answer.respond)
        return JsonResponse(answer.body)

    return await respond_once(call, "endpoint", make)


@ROUTES.post(
    _ENDPOINT + "/rotate",
    Scope.ADMIN,
    idempotency_key=True,
    problems=[_MISSING, Kind.INVALID],
    response_example=replace(_SETUP, version=2, former_valid_until=examples.REQUESTED_AT),
)
async def rotate_endpoint(call: Call, id: str, body: RotateBody) -> JsonResponse[EndpointSetup]:
    """Give an endpoint a new secret; the former one stays valid for the overlap."""

    async def make(request: KeyedRequest | None) -> JsonResponse[EndpointSetup]:
        endpoint, now = require_endpoint(call.node, call.key, id), datetime.now(UTC)
        given = body.secret.get_secret_value() if body.secret else None
        if given is None:
            try:
                require_rotatable(endpoint)
            except InvalidResourceError as error:
                raise invalid_resource(error) from error
        secret = given or make_webhook_secret(endpoint.verify.scheme, endpoint.verify.key)

        def edit(stored: ResourceDict) -> ResourceDict:
            return rotated(call.node.config.endpoints[id], stored, secret, body.overlap_h, now)

        answer = _Answer(call, request, id, None if given else secret, rotated=True)
        await edit_resource(call, "endpoints", id, edit, answer.respond)
        return JsonResponse(answer.body)

    return await respond_once(call, "rotation", make)


@ROUTES.post(
    _ENDPOINT + "/disable",
    Scope.ADMIN,
    problems=[_MISSING],
    response_example={**resources.SHOWN["endpoints"], "enabled": False},
)
async def disable_endpoint(call: Call, id: str) -> dict[str, Any]:
    """Disable an endpoint: its URL returns 404, and nothing is recorded."""
    return await _set(call, id, enabled=False)


@ROUTES.post(_ENDPOINT + "/enable", Scope.ADMIN, problems=[_MISSING], response_example=resources.SHOWN["endpoints"])
async def enable_endpoint(call: Call, id: str) -> dict[str, Any]:
    """Enable an endpoint."""
    return await _set(call, id, enabled=True)


@ROUTES.get(
    "/v1/endpoints/{id}/refusals",
    problems=[missing("endpoints", examples.ENDPOINT)],
    account_check=AccountCheck.HANDLER,
)
async def list_refusals(call: Call, id: str) -> Refusals:
    """The last 20 refused requests of an endpoint: when, why, and which headers they had, without their content."""
    endpoint = require_endpoint(call.node, call.key, id)
    await call.node.traffic.flush()
    rows = await call.node.store.endpoint_refusals(endpoint.spec.account, id)
    return Refusals([Refusal(row.at, row.cause, row.detail, row.headers, row.address) for row in rows])


class _Answer:
    """Makes the response before the change is saved, so that both are saved together."""

    def __init__(
        self, call: Call, request: KeyedRequest | None, id: str, generated: str | None, *, rotated: bool = False
    ) -> None:
        self._call, self._request, self._id = call, request, id
        self._generated, self._rotated = generated, rotated
        self.body = b""

    def respond(self, resolved: Resolved) -> StoredResponse | None:
        endpoint = resolved.endpoints[self._id]
        issued = issued_by_provider(endpoint.account.handler, endpoint.verify)
        shown = self._generated if not issued else None
        url = webhook_url(self._call, self._id)
        answer = EndpointSetup(
            id=self._id,
            account=endpoint.spec.account,
            url=url,
            setup=_setup(self._call, endpoint, url, shown, is_unknown=self._generated is not None and issued),
            verify=endpoint.spec.verify.model_dump(mode="json", exclude_unset=True),
            version=endpoint.version,
            secret=shown,
        )
        if self._rotated:
            answer.former_valid_until = max((until for _, until in endpoint.retired), default=None)
        self.body = msgspec.json.encode(answer)
        return None if self._request is None else self._request.stored(self._call, self.body)


def _setup(call: Call, endpoint: Endpoint, url: str, secret: str | None, *, is_unknown: bool) -> Setup:
    """What to enter at the provider; a secret that was not generated here stands there as a hint where to find it."""
    handler, options = endpoint.account.handler, endpoint.verify
    stand_in = () if issued_by_provider(handler, options) else (SecretStr("<the secret>"),)
    options = options.model_copy(update={"secrets": (SecretStr(secret),) if secret else stand_in})
    setup = setup_of(handler, url, options, endpoint.account.config)
    if signs_url(options) and not call.node.settings.public_url:
        setup = msgspec.structs.replace(setup, notes=(*setup.notes, URL_UNKNOWN))
    header = endpoint.unread_header
    if header is not None:
        setup = msgspec.structs.replace(setup, notes=(*setup.notes, ". ".join(unread(header, endpoint.spec))))
    if not is_unknown:
        return setup
    note = (
        "Until the endpoint has the provider's secret it accepts nothing: "
        f"rescind endpoints rotate {endpoint.spec.id} --secret SECRET --overlap 0"
    )
    return msgspec.structs.replace(setup, notes=(*setup.notes, note))


def _with_defaults(node: Node, given: ResourceDict) -> tuple[ResourceDict, str | None]:
    """(the endpoint's body with an id and a secret, the secret if it was generated here)."""
    body = {**given}
    account = node.config.accounts.get(str(body.get("account")))
    if body.get("id") is None:
        suffix = secrets.token_hex(_SUFFIX_BYTES)
        body["id"] = f"{str(body.get('account'))[: _SLUG_CHARS - len(suffix) - 1]}-{suffix}"
    verify = body.get("verify") or {}
    if account is None or not isinstance(verify, dict) or verify.get("secrets"):
        return body, None
    scheme = str(verify.get("scheme", "handler"))
    name = account.config.webhooks_signed_by
    if scheme == "handler" and name is not None and getattr(account.config, name) is not None:
        return body, None
    if scheme in KEPT_BY_SENDER:
        return body, None
    generated = make_webhook_secret(scheme, str(verify.get("key", "text")))
    body["verify"] = {**verify, "secrets": [generated]}
    return body, generated


async def _set(call: Call, id: str, **members: Any) -> dict[str, Any]:
    require_endpoint(call.node, call.key, id)
    await edit_resource(call, "endpoints", id, lambda body: {**body, **members})
    [shown] = await shown_resources(call, "endpoints", [id])
    return shown
