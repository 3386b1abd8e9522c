"""The registrar: sees to it that providers keep sending their webhooks.

Some providers drop a registration after too many failed deliveries, and nobody notices but by silence. Where
a provider has an API for it, the registrar asks every hour which webhooks are registered, and registers anew
what is missing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from msgspec import Struct

from app.config.resolve import Endpoint
from app.config.store import ConfigStore
from app.contract import Registration, RegistrationFailed
from app.engine.ledger import LedgerClosedError
from app.runtime.http_client import CallFailedError
from app.store import StoreError
from app.workers.lane import Lane

CHECK_S = 3600.0
RETRY_S = 60.0
CHECK_MAX_S = 60.0
"""So long a check waits for the account's limit, and for the provider."""

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

    def __init__(self, directory: ConfigStore, lanes: Mapping[str, Lane], public_url: str) -> None:
        self._directory, self._lanes, self._public_url = directory, lanes, public_url.rstrip("/")
        self._woken = asyncio.Event()
        self._due: dict[str, tuple[tuple[int, int] | None, float]] = {}
        """Endpoint → (the versions that were checked, when it is checked again)."""
        self._turns: dict[str, asyncio.Lock] = {}
        """Endpoint → whose turn it is: two who restore the same would both be told that it is there already."""
        self.status: dict[str, RegistrationStatus] = {}
        """Endpoint → how it stood when last looked at."""

    def wake(self) -> None:
        """An endpoint may be new."""
        self._woken.set()

    async def run(self) -> None:
        """Check until canceled. Each endpoint goes its own way: one whose account must wait holds up no other."""
        checks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._woken.clear()
                now = time.monotonic()
                kept = {id: each for id, each in self._directory.endpoints.items() if each.spec.keep_registered}
                for id, endpoint in kept.items():
                    if self._next(endpoint) <= now and (id not in checks or checks[id].done()):
                        checks[id] = asyncio.create_task(self._look_after(endpoint), name=f"registrations of {id}")
                nexts = [self._next(each) for id, each in kept.items() if checks[id].done()]
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(nexts) - now) if nexts else None):
                        await self._woken.wait()
        finally:
            for check in checks.values():
                check.cancel()
            await asyncio.gather(*checks.values(), return_exceptions=True)

    def _next(self, endpoint: Endpoint) -> float:
        """When the endpoint is to be looked at, on the monotonic clock; at once, if it or its account is new."""
        versions, due = self._due.get(endpoint.spec.id, (None, 0.0))
        return due if versions == _versions(endpoint) else 0.0

    async def _look_after(self, endpoint: Endpoint) -> None:
        found = await self.check(endpoint, restore=True, wanted=False)
        due = time.monotonic() + (RETRY_S if found.error else CHECK_S)
        self._due[endpoint.spec.id] = (_versions(endpoint), due)
        self.wake()

    async def check(self, endpoint: Endpoint, *, restore: bool, wanted: bool = True) -> RegistrationStatus:
        """Ask the provider which webhooks it sends; with `restore`, register what is missing. Never raises.

        While the account is paused only a person who wants it gets it (`wanted`).
        """
        async with self._turns.setdefault(endpoint.spec.id, asyncio.Lock()):
            return await self._check(endpoint, restore=restore, wanted=wanted)

    async def _check(self, endpoint: Endpoint, *, restore: bool, wanted: bool) -> RegistrationStatus:
        url, id = f"{self._public_url}/webhooks/{endpoint.spec.id}", endpoint.spec.id
        registered: Sequence[Registration] = ()
        restored: tuple[str, ...] = ()
        error = ""
        try:
            _require_capable(endpoint)
            self._require_public_url()
            if self._lane(endpoint).paused and not wanted:
                raise RegistrationFailed("the account is paused")  # noqa: TRY301 - as any failure
            async with asyncio.timeout(CHECK_MAX_S):
                registered = await self._registered(endpoint, url)
                missing = _missing(endpoint, registered)
                if missing and restore:
                    made = await self._register(endpoint, url, missing)
                    registered, restored = [*registered, *made], tuple(each.topic for each in made)
                    log.warning("registrations_restored", endpoint=id, topics=list(restored))
        except TimeoutError:
            error = f"the account may not call its provider now, and did not within {CHECK_MAX_S:g} s"
        except (RegistrationFailed, CallFailedError, StoreError, LedgerClosedError) as failure:
            error = str(failure).rstrip(".")
        except Exception as failure:
            log.exception("handler_failed", endpoint=id, flow="registrations")
            error = f"the handler failed: {type(failure).__name__}: {failure}"
        if error:
            log.warning("registrations_unchecked", endpoint=id, error=error)
        missing = _missing(endpoint, registered)
        found = RegistrationStatus(datetime.now(UTC), url, tuple(registered), missing, restored, error)
        self.status[id] = found
        return found

    async def remove(self, endpoint: Endpoint) -> tuple[Registration, ...]:
        """Have the provider send nothing more to the endpoint. Raises `RegistrationFailed`, `CallFailedError`."""
        _require_capable(endpoint)
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
        lane = self._lanes.get(endpoint.spec.account)
        if lane is None:
            raise RegistrationFailed("its account was removed")
        return lane

    def _require_public_url(self) -> None:
        if not self._public_url:
            raise RegistrationFailed("set RESCIND_PUBLIC_URL to where providers reach this server, and start it again")


def _require_capable(endpoint: Endpoint) -> None:
    """First of all: no setting helps where the provider has no API for it."""
    if endpoint.account.handler.registrations is None:
        raise RegistrationFailed(f"{endpoint.account.handler.title} has no API to register webhooks with")


def _versions(endpoint: Endpoint) -> tuple[int, int]:
    return endpoint.version, endpoint.account.version


def _missing(endpoint: Endpoint, registered: Sequence[Registration]) -> tuple[str, ...]:
    known = {each.topic for each in registered}
    return tuple(topic for topic in endpoint.account.handler.topics if topic not in known)
