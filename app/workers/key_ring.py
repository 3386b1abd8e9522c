"""The key ring: public keys that sources publish, fetched before they are needed, or when a webhook names a new one.

Ingest looks keys up and never waits for them: a webhook whose key is not here is told to come again (503), and the ring
fetches it. Each node has its own ring, which is only a cache. What is fetched when is decided by `app.core.key_scope`;
each scope fetches one document at a time, so that a flood of one endpoint delays no other.

| what a fetch brings | a request that names the key |
|---|---|
| the key | is verified by it, until it is no longer published, or its life is over |
| a set without the key, no such document, a certificate not to be believed | 401 for a minute; then it is asked again |
| no response, another status, something unreadable | 503, until a fetch succeeds |
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from contextvars import Context
from datetime import UTC, datetime
from typing import Any

import structlog
from msgspec import Struct

from app.config.resolve import Account, Endpoint
from app.contract import MalformedPayload
from app.contract.published_keys import KeyRef, KeySource
from app.core.key_scope import KeyScope, host_of, is_shared
from app.kit.signing.key_material import UnusableKey
from app.kit.signing.sns import SNS_KEYS
from app.runtime import metrics
from app.runtime.log import LogLimiter
from app.runtime.outgoing import OutgoingHttp, Reply, SendFailedError
from app.workers.key_credentials import KeyCredentials
from app.workers.key_documents import DOCUMENT_BYTES_MAX, read_keys

FETCH_S = 5.0
FETCHES_MAX = 32
"""Documents that are fetched at once, of all scopes."""
LOG_S = 60.0
OK = 200
NO_SUCH_DOCUMENT = (400, 404, 410)

log = structlog.get_logger()

_HEADERS = {"Accept": "application/json, application/x-pem-file, */*"}


class KeyFault(Struct, frozen=True):
    """Why the last fetch for these endpoints brought no key."""

    endpoint: str
    """"" where it is for all endpoints with this source."""
    source: KeySource
    host: str
    error: str
    outage: bool
    """Whether no key is at hand, and it was no single key that a request may have named without reason."""


class EndpointKeys:
    """The keys that requests to one endpoint may name."""

    __slots__ = ("_endpoint", "_ring")

    def __init__(self, ring: KeyRing, endpoint: str) -> None:
        self._ring, self._endpoint = ring, endpoint

    def find(self, ref: KeyRef) -> tuple[Any, ...]:
        """See `PublishedKeys.find`."""
        return self._ring.find(self._endpoint, ref)


class KeyRing:
    """Keeps public keys at hand."""

    def __init__(self, open_http: Callable[[], OutgoingHttp]) -> None:
        """Make a ring.

        Args:
            open_http: opens connections of the ring's own: a name server that does not know a key's host delays no
                delivery. Nothing is followed to another URL or reaches a private network.
        """
        self._open_http = open_http
        self._http: OutgoingHttp | None = None
        self._scopes: dict[tuple[KeySource, str], _Worker] = {}
        self._endpoints: dict[str, EndpointKeys] = {}
        self._credentials: dict[str, KeyCredentials] = {}
        """By account, for the endpoints in `_accounts`."""
        self._accounts: dict[str, str] = {}
        """Endpoint whose keys are fetched with credentials → account."""
        self._slots = asyncio.Semaphore(FETCHES_MAX)
        self._log = LogLimiter(LOG_S)
        self._ended = False

    def of(self, endpoint: str) -> EndpointKeys:
        """The keys that requests to an endpoint may name."""
        keys = self._endpoints.get(endpoint)
        if keys is None:
            keys = self._endpoints[endpoint] = EndpointKeys(self, endpoint)
        return keys

    def find(self, endpoint: str, ref: KeyRef) -> tuple[Any, ...]:
        """See `PublishedKeys.find`."""
        return self._worker(endpoint, ref.source).scope.find(ref, time.monotonic())

    def want(self, endpoint: str, ref: KeyRef) -> None:
        """Have a key fetched that a request to this endpoint names."""
        worker = self._worker(endpoint, ref.source)
        if worker.scope.want(ref, time.monotonic()):
            self._wake(worker)

    def follow(self, endpoints: Iterable[Endpoint]) -> None:
        """Keep the keys of these endpoints, and drop those of others. Key sets are fetched at once."""
        endpoints = list(endpoints)
        by_id = {endpoint.spec.id: endpoint for endpoint in endpoints}
        sources = {
            source for endpoint in endpoints if (source := endpoint.verify.keys) is not None and is_shared(source)
        }
        self._follow_accounts(endpoints)
        for key, worker in list(self._scopes.items()):
            source, owner = key
            is_used = _may_use(by_id.get(owner), source) if owner else source in sources or not worker.scope.is_kept
            if not is_used:
                del self._scopes[key]
                worker.end()
        for id in self._endpoints.keys() - by_id.keys():
            del self._endpoints[id]
        for source in sources:
            worker = self._worker("", source)
            worker.scope.is_kept = True
            self._wake(worker)

    def _follow_accounts(self, endpoints: Iterable[Endpoint]) -> None:
        """Use the credentials of these endpoints' accounts as they are now: with new ones, fetch anew what failed."""
        authorized = [one for one in endpoints if one.verify.keys is not None and one.verify.keys.authorized]
        accounts: dict[str, Account] = {one.account.spec.id: one.account for one in authorized}
        former, self._credentials = self._credentials, {}
        for id, account in accounts.items():
            known = former.get(id)
            self._credentials[id] = known if known is not None and known.is_for(account) else KeyCredentials(account)
        changed = {id for id, credentials in self._credentials.items() if credentials is not former.get(id)}
        self._accounts = {one.spec.id: one.account.spec.id for one in authorized}
        for (_, endpoint), worker in self._scopes.items():
            if self._accounts.get(endpoint) in changed:
                worker.scope.retry()

    async def run(self, endpoints: Iterable[Endpoint] = ()) -> None:
        """Keep the keys of these endpoints, until canceled."""
        metrics.KEY_DOCUMENTS.set_function(lambda: self.documents)
        self.follow(endpoints)
        try:
            await asyncio.Event().wait()
        finally:
            self._ended = True
            tasks = [task for worker in self._scopes.values() if (task := worker.end()) is not None]
            await asyncio.gather(*tasks, return_exceptions=True)
            if self._http is not None:
                await self._http.close()

    @property
    def faults(self) -> Iterator[KeyFault]:
        """What an operator should know of the last fetches."""
        for (source, endpoint), worker in self._scopes.items():
            if worker.fault is not None:
                host, outcome, error = worker.fault
                outage = not worker.scope.documents and (outcome == "failed" or is_shared(source))
                yield KeyFault(endpoint, source, host, error, outage)

    @property
    def documents(self) -> int:
        """How many documents are at hand."""
        return sum(len(worker.scope.documents) for worker in self._scopes.values())

    def _worker(self, endpoint: str, source: KeySource) -> _Worker:
        key = (source, "" if is_shared(source) else endpoint)
        worker = self._scopes.get(key)
        if worker is None:
            # Log lines are limited for each: one that fails all the time must not hide another.
            worker = self._scopes[key] = _Worker(KeyScope(source), key[1], endpoint or host_of(source.location))
        return worker

    def _wake(self, worker: _Worker) -> None:
        worker.woken.set()
        if worker.task is None and not self._ended:
            # In a context of its own: it began with a request, and is not a part of it.
            worker.task = asyncio.create_task(self._work(worker), name="keys", context=Context())

    async def _work(self, worker: _Worker) -> None:
        while True:
            worker.woken.clear()
            now = time.monotonic()
            due = worker.scope.next_fetch(now)
            if due is None or due[0] > now:
                with suppress(TimeoutError):
                    async with asyncio.timeout(None if due is None else due[0] - now):
                        await worker.woken.wait()
                continue
            async with self._slots:
                await self._refresh(worker, due[1])

    async def _refresh(self, worker: _Worker, url: str) -> None:
        """Fetch one document. Never raises."""
        scope = worker.scope
        scope.begin(url, time.monotonic())
        try:
            reply = await self._get(worker, url)
            if reply.status in NO_SUCH_DOCUMENT and scope.source.jwks_url is None:
                raise UnusableKey(f"no such key is published at {host_of(url)}")  # noqa: TRY301 - see below
            if reply.status != OK or reply.truncated:
                large = f"more than {DOCUMENT_BYTES_MAX // 1024} KiB"
                raise MalformedPayload(f"the response was {reply.status if reply.status != OK else large}")  # noqa: TRY301
            # In a thread: a hostile document may take milliseconds to be read.
            keys = await asyncio.to_thread(read_keys, scope.source, reply.body, reply.headers, datetime.now(UTC))
        except UnusableKey as error:
            scope.refused(url, f"the source's key is not accepted: {error}", time.monotonic())
            self._note(worker, url, "refused", str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next fetch may succeed
            scope.failed(url, time.monotonic())
            known = isinstance(error, (SendFailedError, MalformedPayload))
            self._note(worker, url, "failed", str(error) if known else f"{type(error).__name__}: {error}")
        else:
            scope.fetched(url, keys, time.monotonic())
            worker.fault = None
            metrics.KEY_FETCHES.labels("fetched").inc()

    async def _get(self, worker: _Worker, url: str) -> Reply:
        if self._http is None:
            self._http = self._open_http()
        if worker.scope.source.authorized:
            credentials = self._credentials.get(self._accounts.get(worker.endpoint, ""))
            if credentials is None:
                raise SendFailedError("the endpoint is not there any more", None)
            return await credentials.get(self._http, url, _HEADERS, timeout_s=FETCH_S, keep=DOCUMENT_BYTES_MAX)
        return await self._http.send("GET", url, _HEADERS, b"", timeout_s=FETCH_S, keep=DOCUMENT_BYTES_MAX)

    def _note(self, worker: _Worker, url: str, outcome: str, error: str) -> None:
        metrics.KEY_FETCHES.labels(outcome).inc()
        worker.fault = host_of(url), outcome, error
        suppressed = self._log.admit(worker.label)
        if suppressed is not None:
            about = {"source": worker.label, "host": host_of(url), "outcome": outcome}
            log.warning("keys_not_fetched", **about, error=error, suppressed=suppressed)


def _may_use(endpoint: Endpoint | None, source: KeySource) -> bool:
    """Whether requests to this endpoint may name keys of this source."""
    if endpoint is None:
        return False
    scheme = endpoint.verify.scheme
    # A handler may have a source of its own, which no configuration names.
    return scheme == "handler" or source == (SNS_KEYS if scheme == "sns" else endpoint.verify.keys)


class _Worker:
    """A scope, and the task that fetches for it."""

    __slots__ = ("endpoint", "fault", "label", "scope", "task", "woken")

    def __init__(self, scope: KeyScope, endpoint: str, label: str) -> None:
        self.scope, self.label, self.woken = scope, label, asyncio.Event()
        self.endpoint = endpoint
        """"" where it is all endpoints'."""
        self.fault: tuple[str, str, str] | None = None
        """(host, outcome, error) of the last fetch, if it brought nothing."""
        self.task: asyncio.Task[None] | None = None

    def end(self) -> asyncio.Task[None] | None:
        """Fetch nothing more. Returns what is under way."""
        if self.task is not None:
            self.task.cancel()
        return self.task
