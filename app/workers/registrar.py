"""The registrar: keeps webhooks registered at providers.

Some providers drop a registration after too many failed deliveries, which shows only as silence. If the provider has an
API for it, the registrar checks every hour which webhooks are registered, and registers missing ones again.
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
"""Time limit of a check, including the wait for the account's limit."""

log = structlog.get_logger()


class RegistrationStatus(Struct, frozen=True):
    """The registrations for an endpoint at the last check."""

    checked_at: datetime
    url: str
    registered: tuple[Registration, ...] = ()
    missing: tuple[str, ...] = ()
    """Topics that are not registered."""
    restored: tuple[str, ...] = ()
    """Missing topics that the check registered."""
    error: str = ""


class Registrar:
    """Checks and restores the registrations of endpoints with `keep_registered`."""

    def __init__(self, config: ConfigStore, lanes: Mapping[str, Lane], public_url: str) -> None:
        self._config, self._lanes, self._public_url = config, lanes, public_url.rstrip("/")
        self._woken = asyncio.Event()
        self._due: dict[str, tuple[tuple[int, int] | None, float]] = {}
        """Endpoint → (versions at the last check, when the next is due)."""
        self._locks: dict[str, asyncio.Lock] = {}
        """Endpoint → lock: of two that restore the same topic, one would fail because it exists already."""
        self.status: dict[str, RegistrationStatus] = {}
        """Endpoint → status at the last check."""

    def wake(self) -> None:
        """Endpoints may have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Check until canceled. Endpoints are checked independently: an account that must wait delays no other."""
        checks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._woken.clear()
                now = time.monotonic()
                endpoints = {id: end for id, end in self._config.endpoints.items() if end.spec.keep_registered}
                for id, endpoint in endpoints.items():
                    if self._next(endpoint) <= now and (id not in checks or checks[id].done()):
                        checks[id] = asyncio.create_task(self._keep_registered(endpoint), name=f"registrations of {id}")
                due = [self._next(endpoint) for id, endpoint in endpoints.items() if checks[id].done()]
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, min(due) - now) if due else None):
                        await self._woken.wait()
        finally:
            for check in checks.values():
                check.cancel()
            await asyncio.gather(*checks.values(), return_exceptions=True)

    def _next(self, endpoint: Endpoint) -> float:
        """When to check the endpoint next, on the monotonic clock; now if it or its account has changed."""
        versions, due = self._due.get(endpoint.spec.id, (None, 0.0))
        return due if versions == _versions(endpoint) else 0.0

    async def _keep_registered(self, endpoint: Endpoint) -> None:
        status = await self.check(endpoint, restore=True, requested=False)
        due = time.monotonic() + (RETRY_S if status.error else CHECK_S)
        self._due[endpoint.spec.id] = (_versions(endpoint), due)
        self.wake()

    async def check(self, endpoint: Endpoint, *, restore: bool, requested: bool = True) -> RegistrationStatus:
        """Ask the provider which webhooks are registered; with `restore`, register missing ones. Never raises.

        While the account is paused, only a check that a person `requested` is made.
        """
        async with self._locks.setdefault(endpoint.spec.id, asyncio.Lock()):
            return await self._check(endpoint, restore=restore, requested=requested)

    async def _check(self, endpoint: Endpoint, *, restore: bool, requested: bool) -> RegistrationStatus:
        url, id = f"{self._public_url}/webhooks/{endpoint.spec.id}", endpoint.spec.id
        registered: Sequence[Registration] = ()
        restored: tuple[str, ...] = ()
        error = ""
        try:
            _require_capable(endpoint)
            self._require_public_url()
            if self._lane(endpoint).paused and not requested:
                raise RegistrationFailed("the account is paused")  # noqa: TRY301 - reported as any failure
            async with asyncio.timeout(CHECK_MAX_S):
                registered = await self._registered(endpoint, url)
                missing = _missing(endpoint, registered)
                if missing and restore:
                    added = await self._register(endpoint, url, missing)
                    registered, restored = [*registered, *added], tuple(registration.topic for registration in added)
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
        status = RegistrationStatus(datetime.now(UTC), url, tuple(registered), missing, restored, error)
        self.status[id] = status
        return status

    async def remove(self, endpoint: Endpoint) -> tuple[Registration, ...]:
        """Unregister the endpoint at the provider. Raises `RegistrationFailed`, `CallFailedError`."""
        _require_capable(endpoint)
        self._require_public_url()
        async with self._locks.setdefault(endpoint.spec.id, asyncio.Lock()):
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
        registrations = await self._lane(endpoint).converse(handler.registrations)
        return tuple(registration for registration in registrations if registration.url == url)

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
    """Checked first: no setting helps if the provider has no API for registrations."""
    if endpoint.account.handler.registrations is None:
        raise RegistrationFailed(f"{endpoint.account.handler.title} has no API to register webhooks with")


def _versions(endpoint: Endpoint) -> tuple[int, int]:
    return endpoint.version, endpoint.account.version


def _missing(endpoint: Endpoint, registered: Sequence[Registration]) -> tuple[str, ...]:
    topics = {registration.topic for registration in registered}
    return tuple(topic for topic in endpoint.account.handler.topics if topic not in topics)
