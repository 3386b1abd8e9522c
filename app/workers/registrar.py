"""The registrar: keeps webhooks registered at providers.

Some providers drop a registration after too many failed deliveries, which shows only as silence. If the provider has an
API for it, the registrar checks every hour which webhooks are registered, and registers missing ones again. Some make a
secret for each registration and show it once: it becomes the endpoint's, before anything is signed with it arrives.

A registration that leads to the same endpoint at another server's URL is replaced only when a person registers: two
servers with the same resources (one for tests, say) would otherwise take the provider's webhooks from each other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
import structlog
from msgspec import Struct

from app.config.faults import InvalidResourceError
from app.config.resolve import Endpoint
from app.config.store import ConfigStore
from app.contract import Registration, RegistrationFailed, RegistrationWithSecret
from app.engine.request import LedgerClosedError
from app.runtime import metrics
from app.runtime.http_client import CallFailedError
from app.store import StoreError
from app.store.node_protocol import ACCOUNT
from app.workers.errands import ErrandFailedError, Errands
from app.workers.lane import Lane
from app.workers.rate_gate import WAIT_MAX_S, HeldBackError

CHECK_S = 3600.0
RETRY_S = 60.0
RESERVE_S = 5.0
"""Another node has so much longer to answer than its calls may wait for the account's limit."""
CHECK, REMOVE = "check-registrations", "remove-registrations"
"""Errands of the node that has the account's lane."""

T = TypeVar("T")
KeepSecret = Callable[[str, str], Awaitable[None]]
"""Makes a secret that the provider made the endpoint's: (endpoint's id, secret)."""
log = structlog.get_logger()


class RegistrationStatus(Struct, frozen=True):
    """The registrations for an endpoint at the last check."""

    checked_at: datetime
    url: str
    registered: tuple[Registration, ...] = ()
    missing: tuple[str, ...] = ()
    """Topics that are not registered."""
    foreign: tuple[Registration, ...] = ()
    """Registrations of this account that lead to none of this server's endpoints."""
    replaced: tuple[Registration, ...] = ()
    """Registrations of this endpoint at another server's URL, which were removed."""
    restored: tuple[str, ...] = ()
    """Missing topics that the check registered."""
    error: str = ""


class Registrar:
    """Checks and restores the registrations of endpoints with `keep_registered`."""

    def __init__(
        self,
        config: ConfigStore,
        lanes: Mapping[str, Lane],
        public_url: str,
        keep_secret: KeepSecret,
        errands: Errands,
    ) -> None:
        """Make a registrar of the accounts that have `lanes`; what is asked of others goes by `errands`."""
        self._config, self._lanes, self._public_url = config, lanes, public_url.rstrip("/")
        self._keep_secret, self._errands = keep_secret, errands
        errands.kinds[CHECK], errands.kinds[REMOVE] = self._check_for_another, self._remove_for_another
        self._woken = asyncio.Event()
        self._due: dict[str, tuple[tuple[int, int] | None, float]] = {}
        """Endpoint → (versions at the last check, when the next is due)."""
        self._locks: dict[str, asyncio.Lock] = {}
        """Endpoint → lock: of two that restore the same topic, one would fail because it exists already."""
        self._under_way: set[asyncio.Task[Any]] = set()
        self.status: dict[str, RegistrationStatus] = {}
        """Endpoint → status at the last check."""

    def wake(self) -> None:
        """Endpoints may have changed."""
        self._woken.set()

    async def run(self) -> None:
        """Check until canceled. Endpoints are checked independently: an account that must wait delays no other.

        Checks that are under way then end by themselves; see `drain`.
        """
        checks: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._woken.clear()
                now = time.monotonic()
                endpoints = {
                    id: endpoint
                    for id, endpoint in self._config.endpoints.items()
                    if endpoint.spec.keep_registered and not self._is_elsewhere(endpoint)
                }
                for id in set(self.status) - set(self._config.endpoints):
                    self._forget(id)
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

    async def check(
        self, endpoint: Endpoint, *, restore: bool, requested: bool = True, renew: bool = False
    ) -> RegistrationStatus:
        """Ask the provider which webhooks are registered; with `restore`, register missing ones. Never raises.

        While the account is paused, only a check that a person `requested` is made. With `renew` all are registered
        anew, as if they were missing: a secret that the provider showed once and that was lost is replaced so.
        """
        if self._is_elsewhere(endpoint):
            return await self._ask_to_check(endpoint, {"restore": restore, "renew": renew})
        check = partial(self._check, endpoint, restore=restore, requested=requested, renew=renew)
        return await self._complete(endpoint, check)

    async def _complete(self, endpoint: Endpoint, work: Callable[[], Awaitable[T]]) -> T:
        """Do this alone for the endpoint, and to its end, though the caller is canceled.

        What a provider shows once, such as a secret, would be lost else.
        """

        async def alone() -> T:
            async with self._locks.setdefault(endpoint.spec.id, asyncio.Lock()):
                return await work()

        task = asyncio.create_task(alone(), name=f"registrations of {endpoint.spec.id}")
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def drain(self, timeout_s: float) -> None:
        """Let what is under way end, once the lanes let no further call leave; cancel it after `timeout_s`."""
        tasks = list(self._under_way)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=timeout_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _check(self, endpoint: Endpoint, *, restore: bool, requested: bool, renew: bool) -> RegistrationStatus:
        url, id = f"{self._public_url}/webhooks/{endpoint.spec.id}", endpoint.spec.id
        registered: Sequence[Registration] = ()
        foreign: Sequence[Registration] = ()
        replaced: tuple[Registration, ...] = ()
        restored: tuple[str, ...] = ()
        error = ""
        try:
            _require_capable(endpoint)
            self._require_public_url()
            lane = self._lane(endpoint)
            if lane.paused and not requested:
                raise RegistrationFailed("the account is paused")  # noqa: TRY301 - reported as any failure
            with lane.conversing():
                everything = await self._list(endpoint)
                registered = [registration for registration in everything if registration.url == url]
                foreign = self._foreign(everything)
                if restore and requested:
                    replaced = await self._remove_moved(endpoint, foreign)
                    foreign = [registration for registration in foreign if registration not in replaced]
                if renew:
                    await self._unregister(endpoint, registered)
                    registered = []
                missing = _missing(endpoint, registered)
                if missing and restore:
                    added = await self._register(endpoint, url, missing)
                    topics = {registration.topic for registration in added}
                    registered = [*(kept for kept in registered if kept.topic not in topics), *added]
                    restored = tuple(topic for topic in missing if topic in {new.topic for new in added})
                    log.warning("registrations_restored", endpoint=id, topics=list(restored))
        except (RegistrationFailed, CallFailedError, HeldBackError, StoreError, LedgerClosedError) as failure:
            error = str(failure).rstrip(".")
        except Exception as failure:
            log.exception("handler_failed", endpoint=id, flow="registrations")
            error = f"the handler failed: {type(failure).__name__}: {failure}"
        if error:
            log.warning("registrations_unchecked", endpoint=id, error=error)
        missing = _missing(endpoint, registered)
        status = RegistrationStatus(
            checked_at=datetime.now(UTC),
            url=url,
            registered=tuple(registered),
            missing=missing,
            foreign=tuple(foreign),
            replaced=replaced,
            restored=restored,
            error=error,
        )
        self.status[id] = status
        if not error:
            metrics.REGISTRATIONS_MISSING.labels(id).set(len(missing))
        return status

    async def remove(self, endpoint: Endpoint) -> tuple[Registration, ...]:
        """Unregister the endpoint at the provider. Raises `RegistrationFailed`, `CallFailedError`."""
        _require_capable(endpoint)
        self._require_public_url()
        if self._is_elsewhere(endpoint):
            try:
                answer = await self._ask(endpoint, REMOVE, {})
            except (ErrandFailedError, StoreError) as error:
                raise RegistrationFailed(str(error)) from error
            return msgspec.convert(answer, tuple[Registration, ...])
        return await self._complete(endpoint, partial(self._remove, endpoint))

    async def _remove(self, endpoint: Endpoint) -> tuple[Registration, ...]:
        try:
            with self._lane(endpoint).conversing():
                registered = await self._registered(endpoint, f"{self._public_url}/webhooks/{endpoint.spec.id}")
                await self._unregister(endpoint, registered)
        except HeldBackError as error:
            raise RegistrationFailed(str(error)) from error
        self._forget(endpoint.spec.id)
        return registered

    async def _unregister(self, endpoint: Endpoint, registrations: Sequence[Registration]) -> None:
        unregister = endpoint.account.handler.unregister
        if unregister is None:
            return
        await self._lane(endpoint).converse(lambda config, context: unregister(registrations, config, context))

    async def _list(self, endpoint: Endpoint) -> list[Registration]:
        registrations = endpoint.account.handler.registrations
        return [] if registrations is None else await self._lane(endpoint).converse(registrations)

    async def _registered(self, endpoint: Endpoint, url: str) -> tuple[Registration, ...]:
        registrations = await self._list(endpoint)
        return tuple(registration for registration in registrations if registration.url == url)

    async def _register(self, endpoint: Endpoint, url: str, topics: Sequence[str]) -> list[Registration]:
        register = endpoint.account.handler.register
        if register is None:
            return []
        made = await self._lane(endpoint).converse(lambda config, context: register(url, topics, config, context))
        await self._keep_secret_of(endpoint, made)
        # Without the secret: what is returned here is shown.
        return [Registration(registration.id, registration.url, registration.topic) for registration in made]

    async def _keep_secret_of(self, endpoint: Endpoint, made: Sequence[Registration]) -> None:
        """Store the secret that the provider made; if that fails, take the registration back."""
        secret = next((new.secret for new in made if isinstance(new, RegistrationWithSecret)), None)
        if secret is None:
            return
        try:
            await self._keep_secret(endpoint.spec.id, secret)
        except (StoreError, InvalidResourceError, KeyError) as error:
            await self._unregister(endpoint, made)
            raise RegistrationFailed(f"the secret of the new registration could not be stored: {error}") from error

    def _is_elsewhere(self, endpoint: Endpoint) -> bool:
        """Whether another node has the account's lane."""
        return endpoint.spec.account not in self._lanes and not self._errands.alone

    async def _ask(self, endpoint: Endpoint, kind: str, request: dict[str, Any]) -> Any:
        asked = {**request, "endpoint": endpoint.spec.id}
        return await self._errands.ask(ACCOUNT + endpoint.spec.account, kind, asked, WAIT_MAX_S + RESERVE_S)

    async def _ask_to_check(self, endpoint: Endpoint, request: dict[str, Any]) -> RegistrationStatus:
        try:
            answer = await self._ask(endpoint, CHECK, request)
        except (ErrandFailedError, StoreError) as error:
            url = f"{self._public_url}/webhooks/{endpoint.spec.id}"
            status = RegistrationStatus(datetime.now(UTC), url, missing=_missing(endpoint, ()), error=str(error))
        else:
            status = msgspec.convert(answer, RegistrationStatus)
        self.status[endpoint.spec.id] = status
        return status

    async def _check_for_another(self, _account: str, request: Any) -> Any:
        endpoint = await self._its_endpoint(request)
        status = await self.check(endpoint, restore=request["restore"], renew=request["renew"])
        return msgspec.to_builtins(status)

    async def _remove_for_another(self, _account: str, request: Any) -> Any:
        return msgspec.to_builtins(await self.remove(await self._its_endpoint(request)))

    async def _its_endpoint(self, request: Any) -> Endpoint:
        endpoint = await self._config.endpoint(request["endpoint"])
        if endpoint is None or self._is_elsewhere(endpoint):
            raise RegistrationFailed("its account has just gone to another node, or was removed; try again")
        return endpoint

    def _foreign(self, registrations: Sequence[Registration]) -> list[Registration]:
        urls = {f"{self._public_url}/webhooks/{id}" for id in self._config.endpoints}
        return [registration for registration in registrations if registration.url not in urls]

    async def _remove_moved(self, endpoint: Endpoint, foreign: Sequence[Registration]) -> tuple[Registration, ...]:
        """Remove this endpoint's registrations at another URL, such as that before RESCIND_PUBLIC_URL was changed."""
        path = f"/webhooks/{endpoint.spec.id}"
        moved = tuple(registration for registration in foreign if urlsplit(registration.url).path.endswith(path))
        if moved:
            await self._unregister(endpoint, moved)
            urls = sorted({registration.url for registration in moved})
            log.warning("registrations_replaced", endpoint=endpoint.spec.id, urls=urls)
        return moved

    def _forget(self, id: str) -> None:
        """Forget the status of an endpoint that is not registered any more."""
        self.status.pop(id, None)
        with suppress(KeyError):
            metrics.REGISTRATIONS_MISSING.remove(id)

    def _lane(self, endpoint: Endpoint) -> Lane:
        lane = self._lanes.get(endpoint.spec.account)
        if lane is None:
            raise RegistrationFailed("its account was removed")
        return lane

    def _require_public_url(self) -> None:
        if not self._public_url:
            raise RegistrationFailed("set RESCIND_PUBLIC_URL to where providers reach this server, and start it again")


def _require_capable(endpoint: Endpoint) -> None:
    """Checked first: no setting of the server helps if the provider has no API for registrations."""
    reason = endpoint.account.no_registration
    if reason is not None:
        raise RegistrationFailed(reason)


def _versions(endpoint: Endpoint) -> tuple[int, int]:
    return endpoint.version, endpoint.account.version


def _missing(endpoint: Endpoint, registered: Sequence[Registration]) -> tuple[str, ...]:
    topics = {registration.topic for registration in registered}
    return tuple(topic for topic in endpoint.account.topics if topic not in topics)
