"""The operations of endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from rescind_client.models.accounts import Resources
from rescind_client.models.endpoints import EndpointSetup, Refusals, RegistrationStatus, Removed, SampleResult
from rescind_client.transport import AsyncTransport, Request, given, once, segment


class AsyncEndpoints:
    """The operations of endpoints."""

    def __init__(self, transport: AsyncTransport) -> None:
        self._transport = transport

    async def list(
        self, *, limit: int | None = None, cursor: str | None = None, account: str | None = None
    ) -> Resources:
        """All endpoints.

        Args:
            limit: Maximum number of rows.
            cursor: `next_cursor` or `previous_cursor` of another page, or an id to begin after.
            account: Only those of this account.

        Raises:
            Problem: invalid-request.
        """
        return await self._transport.send(
            Request("GET", "/v1/endpoints", Resources, query=given(limit=limit, cursor=cursor, account=account))
        )

    async def create(self, resource: Mapping[str, Any], *, idempotency_key: str | None = None) -> EndpointSetup:
        """Create an endpoint; a secret that is generated for it is shown only once, in this response.

        Args:
            resource: A resource as in a resource file; faults are reported with their place in it.
            idempotency_key: Made if it is not given; a retry has the same.

        Raises:
            Problem: already-exists, request-in-flight, invalid-request, idempotency-key-reused.
        """
        return await self._transport.send(
            Request("POST", "/v1/endpoints", EndpointSetup, body=resource, headers=once(idempotency_key))
        )

    async def get(self, id: str) -> dict[str, Any]:
        """One endpoint.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("GET", f"/v1/endpoints/{segment(id)}", dict[str, Any]))

    async def put(self, id: str, resource: Mapping[str, Any], *, confirm: bool | None = None) -> dict[str, Any]:
        """Create or change an endpoint.

        Args:
            id: Id of the resource.
            resource: A resource as in a resource file; faults are reported with their place in it.
            confirm: Also enforce a policy that was never backtested or shadowed.

        Raises:
            Problem: invalid-request.
        """
        return await self._transport.send(
            Request("PUT", f"/v1/endpoints/{segment(id)}", dict[str, Any], query=given(confirm=confirm), body=resource)
        )

    async def delete(self, id: str) -> None:
        """Remove an endpoint.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found, resource-in-use.
        """
        return await self._transport.send(Request("DELETE", f"/v1/endpoints/{segment(id)}", type(None)))

    async def rotate(
        self, id: str, *, overlap_h: float | None = None, secret: str | None = None, idempotency_key: str | None = None
    ) -> EndpointSetup:
        """Give an endpoint a new secret; the former one stays valid for the overlap.

        Args:
            id: Id of the resource.
            overlap_h: How long the former secret stays valid.
            secret: The new secret; by default one is generated.
            idempotency_key: Made if it is not given; a retry has the same.

        Raises:
            Problem: not-found, request-in-flight, invalid-request, idempotency-key-reused.
        """
        return await self._transport.send(
            Request(
                "POST",
                f"/v1/endpoints/{segment(id)}/rotate",
                EndpointSetup,
                body=given(overlap_h=overlap_h, secret=secret),
                headers=once(idempotency_key),
            )
        )

    async def disable(self, id: str) -> dict[str, Any]:
        """Disable an endpoint: its URL returns 404, and nothing is recorded.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("POST", f"/v1/endpoints/{segment(id)}/disable", dict[str, Any]))

    async def enable(self, id: str) -> dict[str, Any]:
        """Enable an endpoint.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("POST", f"/v1/endpoints/{segment(id)}/enable", dict[str, Any]))

    async def list_refusals(self, id: str) -> Refusals:
        """The last 20 refused requests of an endpoint: when, why, and which headers they had, without their content.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(Request("GET", f"/v1/endpoints/{segment(id)}/refusals", Refusals))

    async def test(
        self,
        id: str,
        *,
        via: Literal["server", "public_url"] | None = None,
        body: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> SampleResult:
        """Send a signed sample webhook to an endpoint through the real path, and record nothing of it.

        Args:
            id: Id of the resource.
            via: `server`: to the very server that serves this request. `public_url`: to RESCIND_PUBLIC_URL, through
                every proxy in between.
            body: A body to send instead of the provider's sample.
            headers: Headers to send besides, such as a topic.

        Raises:
            Problem: not-found, invalid-request.
        """
        return await self._transport.send(
            Request(
                "POST",
                f"/v1/endpoints/{segment(id)}/test",
                SampleResult,
                body=given(via=via, body=body, headers=headers),
            )
        )

    async def show_registrations(self, id: str) -> RegistrationStatus:
        """The webhooks registered at the provider for the endpoint, queried now.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found.
        """
        return await self._transport.send(
            Request("GET", f"/v1/endpoints/{segment(id)}/registrations", RegistrationStatus)
        )

    async def register(self, id: str, *, renew: bool | None = None) -> RegistrationStatus:
        """Register the endpoint's missing webhooks at the provider.

        Args:
            id: Id of the resource.
            renew: Register all anew, not only what is missing: where the provider makes a secret for each
                registration, the endpoint gets a new one.

        Raises:
            Problem: not-found, invalid-request, provider-failed.
        """
        return await self._transport.send(
            Request("POST", f"/v1/endpoints/{segment(id)}/register", RegistrationStatus, body=given(renew=renew))
        )

    async def unregister(self, id: str) -> Removed:
        """Remove the endpoint's webhooks at the provider.

        Args:
            id: Id of the resource.

        Raises:
            Problem: not-found, invalid-request, provider-failed.
        """
        return await self._transport.send(Request("POST", f"/v1/endpoints/{segment(id)}/unregister", Removed))
