"""Webhook registrations at providers that have an API for them."""

from __future__ import annotations

from msgspec import Struct
from pydantic import Field

from app.config.resolve import Endpoint
from app.config.scope import Scope
from app.contract import Registration, RegistrationFailed
from app.runtime.http_client import CallFailedError
from app.web import examples, resources
from app.web.examples import example
from app.web.lookup import missing
from app.web.problems import Kind, Problem
from app.web.routes import Body, Call, RouteTable
from app.workers.registrar import RegistrationStatus

ROUTES = RouteTable(resources.TAGS["endpoints"], id=examples.ENDPOINT)
_ENDPOINT = "/v1/endpoints/{id}"
_MISSING = missing("endpoints", examples.ENDPOINT)
_URL = f"https://rescind.example.com/webhooks/{examples.ENDPOINT}"
_REGISTERED = Registration("9001", _URL, "orders/update")
example(RegistrationStatus(examples.REQUESTED_AT, _URL, registered=(_REGISTERED,)))
_PROBLEMS = (_MISSING, Kind.INVALID, Kind.PROVIDER_FAILED)


class RegisterBody(Body):
    """What to register."""

    renew: bool = Field(
        default=False,
        description="Register all anew, not only what is missing: where the provider makes a secret for each "
        "registration, the endpoint gets a new one.",
    )


example(RegisterBody(renew=True))


class Removed(Struct):
    """The registrations that were removed."""

    removed: tuple[Registration, ...]


example(Removed((_REGISTERED,)))


@ROUTES.get(_ENDPOINT + "/registrations", problems=[_MISSING])
async def show_registrations(call: Call, id: str) -> RegistrationStatus:
    """The webhooks registered at the provider for the endpoint, queried now."""
    return await call.node.registrar.check(_find(call, id), restore=False)


@ROUTES.post(_ENDPOINT + "/register", Scope.ADMIN, problems=_PROBLEMS)
async def register(call: Call, id: str, body: RegisterBody) -> RegistrationStatus:
    """Register the endpoint's missing webhooks at the provider."""
    status = await call.node.registrar.check(_find_registrable(call, id), restore=True, renew=body.renew)
    if status.error:
        raise Problem(Kind.PROVIDER_FAILED, f"{status.error}.")
    return status


@ROUTES.post(_ENDPOINT + "/unregister", Scope.ADMIN, problems=_PROBLEMS)
async def unregister(call: Call, id: str) -> Removed:
    """Remove the endpoint's webhooks at the provider."""
    endpoint = _find_registrable(call, id)
    if endpoint.spec.keep_registered:
        detail = "The endpoint has keep_registered and would be registered again: remove keep_registered first."
        raise Problem(Kind.INVALID, detail)
    try:
        return Removed(await call.node.registrar.remove(endpoint))
    except (RegistrationFailed, CallFailedError) as error:
        raise Problem(Kind.PROVIDER_FAILED, f"{str(error).rstrip('.')}.") from error


def _find_registrable(call: Call, id: str) -> Endpoint:
    """The endpoint. Raises `Problem` if there is none, or its provider has no registration API."""
    endpoint = _find(call, id)
    reason = endpoint.account.no_registration
    if reason is not None:
        detail = f"{reason[0].upper()}{reason[1:]}: register the endpoint's URL there by hand."
        raise Problem(Kind.INVALID, detail)
    return endpoint


def _find(call: Call, id: str) -> Endpoint:
    endpoint = call.node.config.endpoints.get(id)
    if endpoint is None:
        raise missing("endpoints", id)
    return endpoint
