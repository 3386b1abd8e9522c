"""Which webhooks a provider sends to an endpoint, where it has an API to ask and to change that."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from app.config.keys import Scope
from app.config.resolve import Endpoint
from app.contract import Registration, RegistrationFailed
from app.runtime.http_client import CallFailedError
from app.web.problems import Kind, Problem
from app.web.routes import Call, Route
from app.workers.registrar import RegistrationStatus


class Removed(Struct):
    """What the provider sends no more."""

    removed: tuple[Registration, ...]


async def show_registrations(call: Call) -> RegistrationStatus:
    """Ask the provider now."""
    return await call.node.registrar.check(_endpoint(call), restore=False)


async def register(call: Call) -> RegistrationStatus:
    """Register what is missing."""
    found = await call.node.registrar.check(_capable(call), restore=True)
    if found.error:
        raise Problem(Kind.PROVIDER_FAILED, f"{found.error}.")
    return found


async def unregister(call: Call) -> Removed:
    """Have the provider send nothing more to the endpoint."""
    endpoint = _capable(call)
    if endpoint.spec.keep_registered:
        text = "The endpoint has keep_registered, and would be registered again: take that out first."
        raise Problem(Kind.INVALID, text)
    try:
        return Removed(await call.node.registrar.remove(endpoint))
    except (RegistrationFailed, CallFailedError) as error:
        raise Problem(Kind.PROVIDER_FAILED, f"{str(error).rstrip('.')}.") from error


def _capable(call: Call) -> Endpoint:
    """The endpoint, whose provider has an API to register webhooks with. Raises `Problem`."""
    endpoint = _endpoint(call)
    handler = endpoint.account.handler
    if handler.registrations is None:
        text = f"{handler.title} has no API to register webhooks with: register the endpoint's URL there by hand."
        raise Problem(Kind.INVALID, text)
    return endpoint


def _endpoint(call: Call) -> Endpoint:
    id = call.path("id")
    endpoint = call.node.directory.endpoints.get(id)
    if endpoint is None:
        raise Problem(Kind.NOT_FOUND, f"There is no endpoint {id!r}.")
    return endpoint


_ENDPOINT = "/v1/endpoints/{id}"
_POST: dict[str, Any] = {
    "method": "POST",
    "scope": Scope.ADMIN,
    "problems": [Kind.NOT_FOUND, Kind.INVALID, Kind.PROVIDER_FAILED],
}

ROUTES = [
    Route(
        method="GET",
        path=_ENDPOINT + "/registrations",
        name="showRegistrations",
        summary="Ask the provider which webhooks it sends to the endpoint.",
        scope=Scope.READ,
        handler=show_registrations,
        answer=RegistrationStatus,
        problems=[Kind.NOT_FOUND],
    ),
    Route(
        **_POST,
        path=_ENDPOINT + "/register",
        name="register",
        summary="Register the endpoint at the provider: what is missing.",
        handler=register,
        answer=RegistrationStatus,
    ),
    Route(
        **_POST,
        path=_ENDPOINT + "/unregister",
        name="unregister",
        summary="Have the provider send nothing more to the endpoint.",
        handler=unregister,
        answer=Removed,
    ),
]
