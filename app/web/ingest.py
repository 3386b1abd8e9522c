"""`POST /webhooks/{endpoint}`: verify, parse, record; respond when the events are on disk and applied.

This is the hot path. An authentic webhook is never refused for its content: what cannot be parsed is quarantined and
acknowledged. A request that is not authentic leaves nothing but a count.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

import structlog
from aiohttp import web
from aiohttp.hdrs import EXPECT, METH_POST
from prometheus_client import Counter

from app.config.resolve import Account, Endpoint
from app.config.secrets import Vault
from app.config.settings import Settings
from app.config.store import ConfigStore
from app.contract import InboundRequest, KeyUnavailable, Source, VerificationError
from app.core.commands import RecordEvents
from app.core.event import internal_event
from app.core.event_types import OPENING_UNREADABLE, OpeningUnreadable, TimesWithoutOffset
from app.engine.identity import NameClashError
from app.engine.ledger import Ledger
from app.engine.request import LedgerClosedError, LedgerFullError
from app.engine.warnings import noticed
from app.kit.storable import storable
from app.runtime import ids, metrics, tracing
from app.runtime.log import LogLimiter
from app.store import Receipt, Store, StoreError, StoreUnavailable
from app.web.acknowledgment import Acknowledgment
from app.web.bodies import Bodies
from app.web.client_address import client_addresses, is_allowed, shown
from app.web.endpoint_tests import report_of
from app.web.handshakes import Handshakes
from app.web.parsing import parse_off_loop
from app.web.problems import Kind, Problem, busy
from app.web.rate_limits import RateLimits
from app.web.received import redacted
from app.web.requests import with_problems
from app.web.verification import verify
from app.workers.key_ring import KeyRing
from app.workers.sample_sender import TEST_HEADER, is_mark
from app.workers.traffic import Traffic

WEBHOOKS = "/webhooks/"
"""What the path of every endpoint begins with; its id follows."""
UNAUTHENTIC_LOG_S = 10.0
KEY_RETRY_AFTER = {"Retry-After": "10"}
_CAUSES = {
    Kind.NOT_FOUND: "disabled",
    Kind.WRONG_ADDRESS: "wrong_address",
    Kind.TOO_LARGE: "too_large",
    Kind.BAD_REQUEST: "incomplete",
    Kind.TOO_MANY: "rate_limited",
    Kind.BUSY: "overloaded",
}
"""Problem → the cause of the refusal, in a word."""
_NO_QUERY: dict[str, str] = {}
RequestHandler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
log = structlog.get_logger()


class Ingest:
    """Receives webhooks."""

    def __init__(
        self,
        config: ConfigStore,
        store: Store,
        ledger: Ledger,
        vault: Vault,
        traffic: Traffic,
        ids: ids.Ids,
        bodies: Bodies,
        limits: RateLimits,
        handshakes: Handshakes,
        settings: Settings,
        key_ring: KeyRing,
    ) -> None:
        self._config, self._store, self._ledger, self._vault = config, store, ledger, vault
        self._traffic, self._ids, self._bodies, self._limits = traffic, ids, bodies, limits
        self._handshakes = handshakes
        self._body_max, self._trusted, self._public_url = (
            settings.body_max,
            settings.trusted_proxies,
            settings.public_url.rstrip("/"),
        )
        self._key_ring = key_ring
        self._unauthentic_log = LogLimiter(UNAUTHENTIC_LOG_S)
        self._noted: set[tuple[str, str, int]] = set()
        """Notices that the log has already: (account, type of the notice, version of the account)."""

    def before(self, application: RequestHandler) -> RequestHandler:
        """The handler of all requests: those to `POST /webhooks/{endpoint}` pass by the application and its routes.

        Finding one of its many routes takes the application as long as verifying and redacting a webhook takes. What
        is spelled in another way, names no endpoint, or waits for `100 Continue` goes to `application` as ever.
        """
        receive, config, start = with_problems(self.receive), self._config, len(WEBHOOKS)

        def handle(request: web.BaseRequest) -> Awaitable[web.StreamResponse]:
            path = request.rel_url.raw_path
            if path.startswith(WEBHOOKS) and request.method == METH_POST and isinstance(request, web.Request):
                endpoint = config.endpoints.get(path[start:])
                if endpoint is not None and EXPECT not in request.headers:
                    return receive(request, endpoint)
            return application(request)

        return handle

    async def receive_at(self, request: web.Request) -> web.StreamResponse:
        """Serve one webhook request whose path the application has read."""
        return await self.receive(request, await self._endpoint(request))

    async def receive(self, request: web.Request, endpoint: Endpoint) -> web.StreamResponse:
        """Serve one webhook request."""
        if not tracing.on:
            return await self._serve(endpoint, request)
        # Its own trace, whatever the sender says: a stranger must not choose where it is found.
        about = tracing.named({"endpoint": endpoint.spec.id, "account": endpoint.spec.account})
        with tracing.span("POST /webhooks/{endpoint}", kind=tracing.SERVER, attributes=about):
            return await self._serve(endpoint, request)

    async def _serve(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        if TEST_HEADER in request.headers:
            mark = request.headers[TEST_HEADER]
            if is_mark(self._vault, mark, endpoint.spec.id, datetime.now(UTC)):
                return await self._receive_test(endpoint, request)
        try:
            if not endpoint.spec.enabled or endpoint.networks:
                self._admit(endpoint, request)
            return await self._receive(endpoint, request, self._record)
        except Problem as problem:
            self._note_refusal(endpoint, request, problem)
            raise

    def _admit(self, endpoint: Endpoint, request: web.Request) -> None:
        """Raise `Problem` if the endpoint takes no requests now, or none from this client."""
        if not endpoint.spec.enabled:
            # 404, as 410 tells a sender that the URL is gone for good: many then drop the webhook.
            raise Problem(Kind.NOT_FOUND, "The endpoint is disabled; `rescind endpoints enable` enables it.")
        addresses = client_addresses(request, self._trusted) if endpoint.networks else ()
        if not is_allowed(addresses, endpoint.networks):
            raise Problem(Kind.WRONG_ADDRESS, f"{shown(addresses)} is not in the endpoint's allow_from.")

    def _note_refusal(self, endpoint: Endpoint, request: web.Request, problem: Problem) -> None:
        """Remember why a request was refused, without its content."""
        cause = str(problem.members.get("cause") or _CAUSES.get(problem.kind, problem.kind.slug))
        metrics.REFUSED.labels(endpoint.spec.id, cause).inc()
        address, now = shown(client_addresses(request, self._trusted)), datetime.now(UTC)
        self._traffic.refused(endpoint, cause, problem.detail, request.headers.keys(), address, now)

    async def _receive(
        self,
        endpoint: Endpoint,
        request: web.Request,
        proceed: Callable[[Endpoint, web.Request, InboundRequest], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        """Read a request and verify it, then `proceed`."""
        query = request.query if request.query_string else _NO_QUERY
        unproven = endpoint.post_handshakes == "any" and proceed == self._record
        # Some senders prove nothing by their handshake, which is in the body.
        url, early = self._url_of(request), endpoint.proof_in_headers and not unproven
        if early:
            # No body is read from a sender that is not authenticated.
            self._verify(endpoint, InboundRequest(request.headers, query, b"", url=url), datetime.now(UTC))
        body = await self._bodies.read(request)
        try:
            keys = self._key_ring.of(endpoint.spec.id)
            inbound = InboundRequest(
                request.headers,
                query,
                body,
                url=url,
                keys=keys,
                proven_headers=endpoint.proven_headers,
                proven_body=endpoint.proven_body,
            )
            if unproven:
                handshake = await self._handshakes.try_post(endpoint, request, inbound, proven=False)
                if handshake is not None:
                    return handshake
            if not early:
                self._verify(endpoint, inbound, datetime.now(UTC))
            return await proceed(endpoint, request, inbound)
        finally:
            self._bodies.release(len(body))

    async def _receive_test(self, endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
        """Serve a request that this server sent itself as a test: all but the record."""
        try:
            return await self._receive(endpoint, request, self._try)
        except Problem as problem:
            return report_of(endpoint, None, problem.detail)

    async def _try(self, endpoint: Endpoint, request: web.Request, inbound: InboundRequest) -> web.StreamResponse:
        """Parse an authentic request without recording it."""
        received = redacted(request.raw_headers, inbound, endpoint.redactor, self._body_max)
        parsed = await parse_off_loop(endpoint.account, received.inbound, datetime.now(UTC), "test", self._body_max)
        return report_of(endpoint, parsed)

    async def _record(self, endpoint: Endpoint, request: web.Request, inbound: InboundRequest) -> web.StreamResponse:
        """Record an authentic request."""
        self._limits.admit_webhook(endpoint.spec.id)
        if endpoint.post_handshakes:
            handshake = await self._handshakes.try_post(endpoint, request, inbound, proven=True)
            if handshake is not None:
                return handshake
        now = datetime.now(UTC)
        received = redacted(request.raw_headers, inbound, endpoint.redactor, self._body_max)
        receipt_id = self._ids.next()
        name = ids.show(ids.RECEIPT, receipt_id)
        if tracing.on:
            tracing.annotate(receipt=name)
        parsed = await parse_off_loop(endpoint.account, received.inbound, now, name, self._body_max)
        receipt = Receipt(
            id=receipt_id,
            endpoint=endpoint.spec.id,
            account=endpoint.spec.account,
            received_at=now,
            status=parsed.status,
            reason=parsed.reason,
            query=received.query,
            headers=received.headers,
            body=received.body,
        )
        try:
            await record_or_quarantine(self._ledger, receipt, parsed.commands)
        except (LedgerFullError, LedgerClosedError, StoreError) as error:
            raise busy(f"{error}.") from error
        for notice in parsed.notices:
            await self._note(endpoint.account, notice, now)
        _counter(endpoint.spec.id, receipt.status).inc()
        cause = "" if receipt.status != "quarantined" else parsed.cause or "not_recorded"
        self._traffic.received(endpoint, receipt.status, cause, now)
        if receipt.status == "quarantined":
            log.warning("quarantined", endpoint=endpoint.spec.id, receipt=name, reason=receipt.reason)
        return Acknowledgment(
            b'{"receipt":"%b","status":"%b"}' % (name.encode(), receipt.status.encode()),
            endpoint.spec.quarantine_status if receipt.status == "quarantined" else 200,
        )

    async def handshake(self, request: web.Request) -> web.Response:
        """Serve a GET, HEAD or OPTIONS request, by which some providers ask for permission to send webhooks."""
        endpoint = await self._endpoint(request)
        self._admit(endpoint, request)
        inbound = InboundRequest(request.headers, request.query, b"", request.method, self._url_of(request))
        return await self._handshakes.greet(endpoint, request, inbound)

    async def _note(self, account: Account, type: str, now: datetime) -> None:
        """Record the notice once; if that fails, the next such webhook retries."""
        id, key = account.spec.id, (account.spec.id, type, account.version)
        if key in self._noted:
            return
        self._noted.add(key)
        try:
            if not await noticed(self._store, type, {id: account}):
                # A fault of the account's configuration holds until the configuration changes.
                data = OpeningUnreadable(account.version) if type == OPENING_UNREADABLE else TimesWithoutOffset()
                notice = internal_event(id, "", type, str(self._ids.next()), now, Source.WEBHOOK, data)
                await self._ledger.record_notice(notice)
        except (LedgerFullError, LedgerClosedError, StoreError) as error:
            self._noted.discard(key)
            log.warning("not_noted", account=id, type=type, error=str(error))

    async def _endpoint(self, request: web.Request) -> Endpoint:
        try:
            endpoint = await self._config.endpoint(request.match_info["endpoint"])
        except StoreError as error:
            raise busy(f"{error}.") from error
        if endpoint is None:
            raise Problem(Kind.NOT_FOUND, "There is no such endpoint; `rescind endpoints list` shows all.")
        return endpoint

    def _url_of(self, request: web.Request) -> str:
        """The URL that the sender called: proxies change scheme and host, so RESCIND_PUBLIC_URL states them."""
        return self._public_url + request.raw_path

    def _verify(self, endpoint: Endpoint, inbound: InboundRequest, now: datetime) -> None:
        try:
            retired_until = verify(endpoint, inbound, now)
        except KeyUnavailable as missing:
            self._key_ring.want(endpoint.spec.id, missing.ref)
            # 503, and no refusal: nobody knows yet whether the request is authentic.
            raise Problem(Kind.BUSY, f"{missing}.", headers=KEY_RETRY_AFTER, cause="key_unavailable") from missing
        except Exception as error:
            metrics.UNAUTHENTIC.labels(endpoint.spec.id).inc()
            if self._unauthentic_log.admit(endpoint.spec.id) is not None:
                # Limited per endpoint: strangers must not fill the disk.
                log.warning("unauthentic", endpoint=endpoint.spec.id, error=str(error))
            # The text of an unexpected error is not for strangers.
            detail = str(error) if isinstance(error, VerificationError) else "the request could not be verified"
            cause = error.cause if isinstance(error, VerificationError) else "handler_failed"
            raise Problem(Kind.UNAUTHENTIC, f"Not accepted: {detail}.", cause=cause) from error
        if retired_until is not None:
            self._traffic.used_retired(endpoint, retired_until, now)


async def record_or_quarantine(
    ledger: Ledger, receipt: Receipt, commands: Sequence[RecordEvents], *, stored: bool = False
) -> None:
    """Record a webhook; if a rule, the fold or the store fails on its content, quarantine it (I10).

    Raises `LedgerFullError`, `LedgerClosedError` or `StoreError` where nothing was stored.
    """
    try:
        await ledger.record_webhook(receipt, commands, stored=stored)
    except (LedgerFullError, LedgerClosedError, StoreUnavailable):
        raise
    except Exception as error:
        if isinstance(error, NameClashError):
            reason = str(error)
        else:
            log.exception("unexpected", receipt=ids.show(ids.RECEIPT, receipt.id))
            reason = f"{type(error).__name__}: {error}"
        receipt.status, receipt.reason = "quarantined", storable(reason)
        await ledger.record_webhook(receipt, stored=stored)


@lru_cache(maxsize=1024)
def _counter(endpoint: str, status: str) -> Counter:
    return metrics.WEBHOOKS.labels(endpoint, status)


INGEST: web.AppKey[Ingest] = web.AppKey("ingest", Ingest)
