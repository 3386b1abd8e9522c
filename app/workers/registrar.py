"""The registrar: sees to it that providers keep sending their webhooks.

Some providers drop a registration after too many failed deliveries, and nobody notices but by silence. Where
a provider has an API for it, the registrar asks every hour which webhooks are registered, and registers anew
what is missing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog
from msgspec import Struct

from app.contract import Registration, RegistrationFailed
from app.http_client import CallFailedError
from app.ledger import LedgerClosedError
from app.resources import Directory, Endpoint
from app.store import StoreError
from app.workers.lane import Lane

CHECK_S = 3600.0
RETRY_S = 60.0

log = structlog.get_logger()


class RegistrationStatus(Struct, frozen=True):
    """What the provider sends to an endpoint, as of the last time it was asked."""

    checked_at: datetime
    url: str
    registered: tuple[Registration, ...] = ()
    missing: tuple[str, ...] = ()
    """Topics that are not registered."""
    restored: tuple[str, ...] = ()
    """Topics that were missing, and were registered then."""
    error: str = ""


class Registrar:
    """Checks and restores the registrations of endpoints with `keep_registered`."""

    def __init__(self, directory: Directory, lanes: Mapping[str, Lane], public_url: str) -> None:
        self._directory, self._lanes, self._public_url = directory, lanes, public_url.rstrip("/")
        self._woken = asyncio.Event()
        self._turns: dict[str, asyncio.Lock] = {}
        """Endpoint → whose turn it is: two who restore the same would both be told that it is there already."""
        self.status: dict[str, RegistrationStatus] = {}
        """Endpoint → how it stood when last looked at."""

    def wake(self) -> None:
        """An endpoint may be new."""
        self._woken.set()

    async def run(self) -> None:
        """Check until canceled."""
        while True:
            self._woken.clear()
            kept = [each for each in self._directory.endpoints.values() if each.spec.keep_registered]
            found = [await self.check(each, restore=True) for each in kept]
            wait_s = (RETRY_S if any(each.error for each in found) else CHECK_S) if kept else None
            try:
                async with asyncio.timeout(wait_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def check(self, endpoint: Endpoint, *, restore: bool) -> RegistrationStatus:
        """Ask the provider which webhooks it sends; with `restore`, register what is missing. Never raises."""
        async with self._turns.setdefault(endpoint.spec.id, asyncio.Lock()):
            return await self._check(endpoint, restore=restore)

    async def _check(self, endpoint: Endpoint, *, restore: bool) -> RegistrationStatus:
        url, id = f"{self._public_url}/webhooks/{endpoint.spec.id}", endpoint.spec.id
        registered: Sequence[Registration] = ()
        restored: tuple[str, ...] = ()
        error = ""
        try:
            self._require_public_url()
            registered = await self._registered(endpoint, url)
            missing = _missing(endpoint, registered)
            if missing and restore:
                made = await self._register(endpoint, url, missing)
                registered, restored = [*registered, *made], tuple(each.topic for each in made)
                log.warning("registrations_restored", endpoint=id, topics=list(restored))
        except (RegistrationFailed, CallFailedError, StoreError, LedgerClosedError) as failure:
            error = str(failure).rstrip(".")
            log.warning("registrations_unchecked", endpoint=id, error=error)
        missing = _missing(endpoint, registered)
        found = RegistrationStatus(datetime.now(UTC), url, tuple(registered), missing, restored, error)
        self.status[id] = found
        return found

    async def remove(self, endpoint: Endpoint) -> tuple[Registration, ...]:
        """Have the provider send nothing more to the endpoint. Raises `RegistrationFailed`, `CallFailedError`."""
        self._require_public_url()
        async with self._turns.setdefault(endpoint.spec.id, asyncio.Lock()):
            return await self._remove(endpoint)

    async def _remove(self, endpoint: Endpoint) -> tuple[Registration, ...]:
        handler = endpoint.account.handler
        registered = await self._registered(endpoint, f"{self._public_url}/webhooks/{endpoint.spec.id}")
        unregister = handler.unregister
        if unregister is None:
            raise RegistrationFailed(f"{handler.title} has no API to register webhooks with")
        await self._lane(endpoint).converse(lambda config, context: unregister(registered, config, context))
        self.status.pop(endpoint.spec.id, None)
        return registered

    async def _registered(self, endpoint: Endpoint, url: str) -> tuple[Registration, ...]:
        handler = endpoint.account.handler
        if handler.registrations is None:
            raise RegistrationFailed(f"{handler.title} has no API to register webhooks with")
        found = await self._lane(endpoint).converse(handler.registrations)
        return tuple(each for each in found if each.url == url)

    async def _register(self, endpoint: Endpoint, url: str, topics: Sequence[str]) -> list[Registration]:
        register = endpoint.account.handler.register
        if register is None:
            return []
        return await self._lane(endpoint).converse(lambda config, context: register(url, topics, config, context))

    def _lane(self, endpoint: Endpoint) -> Lane:
        return self._lanes[endpoint.spec.account]

    def _require_public_url(self) -> None:
        if not self._public_url:
            raise RegistrationFailed("set RESCIND_PUBLIC_URL to where providers reach this server, and start it again")


def _missing(endpoint: Endpoint, registered: Sequence[Registration]) -> tuple[str, ...]:
    known = {each.topic for each in registered}
    return tuple(topic for topic in endpoint.account.handler.topics if topic not in known)
