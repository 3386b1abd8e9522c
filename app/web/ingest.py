"""`POST /webhooks/{endpoint}`: verify, parse, record; answer when it is on disk and applied.

This is the hot path. Whatever arrives gets a clear answer: nothing authentic is turned away for what
it says (it is kept in quarantine and acknowledged), and nothing unauthentic leaves more than a count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec
import structlog
from aiohttp import web
from prometheus_client import Counter

from app.config.resolve import Account, Endpoint
from app.config.store import ConfigStore
from app.contract import (
    RESERVED_EVENT_PREFIXES,
    Ignored,
    InboundRequest,
    MalformedPayload,
    ParsedEvent,
    Source,
    Unrecognized,
    VerificationError,
)
from app.core.aggregate import OPENING_UNREADABLE, TIMES_WITHOUT_OFFSET
from app.core.commands import RecordEvents
from app.core.event import Event, has_naive_time, internal_event, to_event
from app.engine.ledger import Ledger, LedgerClosedError, LedgerFullError, Submission
from app.engine.linking import NameClashError
from app.engine.warnings import noticed
from app.kit.signing import verify_scheme
from app.runtime import ids, metrics
from app.runtime.log import LogLimiter
from app.store import Receipt, Store, StoreError, StoreUnavailable
from app.web.bodies import RETRY_AFTER, Bodies
from app.web.problems import Kind, Problem
from app.web.received import CONTENT_ENCODING, redacted, uncompressed

UNAUTHENTIC_LOG_S = 10.0
LARGE_BODY = 32_768
"""In bytes. Reading a body takes up to a microsecond a byte, by the paths that an account was configured with."""
_NO_QUERY: dict[str, str] = {}
_READER = ThreadPoolExecutor(1, thread_name_prefix="webhook-reader")
"""One thread for all: the default executor also looks up host names, which large webhooks must not hold up."""
log = structlog.get_logger()


class Read(msgspec.Struct):
    """What a request was read to be."""

    status: str
    """accepted, ignored or quarantined."""
    reason: str = ""
    entries: tuple[RecordEvents, ...] = ()
    notices: tuple[str, ...] = ()
    """Types of the events by which the log says of the account what its operator should change."""


class Ingest:
    """Takes webhooks in."""

    def __init__(
        self, directory: ConfigStore, store: Store, ledger: Ledger, ids: ids.Ids, bodies: Bodies, body_max: int
    ) -> None:
        self._directory, self._store, self._ledger = directory, store, ledger
        self._ids, self._bodies, self._body_max = ids, bodies, body_max
        self._unauthentic_log = LogLimiter(UNAUTHENTIC_LOG_S)
        self._noted: set[tuple[str, str, int]] = set()
        """What the log says already: of which account, the type of the notice, and the account's version."""

    async def receive(self, request: web.Request) -> web.Response:
        """Serve one webhook request."""
        endpoint = self._endpoint(request)
        query = request.query if request.query_string else _NO_QUERY
        early = endpoint.proof_in_headers
        if early:
            # Nothing is taken in from whoever cannot prove who he is.
            self._verify(endpoint, InboundRequest(request.headers, query, b""), datetime.now(UTC))
        body = await self._bodies.read(request)
        try:
            inbound = InboundRequest(request.headers, query, body)
            if not early:
                self._verify(endpoint, inbound, datetime.now(UTC))
            return await self._take(endpoint, request, inbound)
        finally:
            self._bodies.release(len(body))

    async def _take(self, endpoint: Endpoint, request: web.Request, inbound: InboundRequest) -> web.Response:
        """Record an authentic request."""
        now = datetime.now(UTC)
        kept = redacted(request.raw_headers, inbound, endpoint.redactor, self._body_max)
        receipt_id = self._ids.next()
        name = ids.show(ids.RECEIPT, receipt_id)
        read = await read_off_loop(endpoint.account, kept.inbound, now, name, self._body_max)
        receipt = Receipt(
            id=receipt_id,
            endpoint=endpoint.spec.id,
            account=endpoint.spec.account,
            received_at=now,
            status=read.status,
            reason=read.reason,
            query=kept.query,
            headers=kept.headers,
            body=kept.body,
        )
        try:
            await record_kept(self._ledger, Submission(read.entries, receipt), receipt)
        except (LedgerFullError, LedgerClosedError, StoreError) as error:
            raise busy(error) from error
        for notice in read.notices:
            await self._note(endpoint.account, notice, now)
        _counted(endpoint.spec.id, receipt.status).inc()
        if receipt.status == "quarantined":
            log.warning(
                "quarantined",
                endpoint=endpoint.spec.id,
                receipt=ids.show(ids.RECEIPT, receipt_id),
                reason=receipt.reason,
            )
        return web.Response(
            body=b'{"receipt":"%b","status":"%b"}'
            % (ids.show(ids.RECEIPT, receipt_id).encode(), receipt.status.encode()),
            status=endpoint.spec.quarantine_status if receipt.status == "quarantined" else 200,
            content_type="application/json",
        )

    async def greet(self, request: web.Request) -> web.Response:
        """Answer an OPTIONS request, by which some senders ask for leave to send."""
        endpoint = self._endpoint(request)
        handshake = endpoint.account.handler.handshake
        if handshake is None:
            raise web.HTTPMethodNotAllowed(request.method, ["POST"])
        asked = InboundRequest(request.headers, request.query, b"")
        return web.Response(headers={"Allow": "OPTIONS, POST", **handshake(asked, endpoint.account.config)})

    async def _note(self, account: Account, type: str, now: datetime) -> None:
        """Have the log say it, once; if that fails, the next such webhook does it."""
        id, said = account.spec.id, (account.spec.id, type, account.version)
        if said in self._noted:
            return
        self._noted.add(said)
        try:
            if not await noticed(self._store, type, {id: account}):
                # What is to be mended in the account's configuration holds until that changes.
                data = {"version": account.version} if type == OPENING_UNREADABLE else {}
                notice = internal_event(id, "", type, str(self._ids.next()), now, Source.WEBHOOK, data)
                await self._ledger.record(Submission(notice=notice), patient=False)
        except (LedgerFullError, LedgerClosedError, StoreError) as error:
            self._noted.discard(said)
            log.warning("not_noted", account=id, type=type, error=str(error))

    def _endpoint(self, request: web.Request) -> Endpoint:
        endpoint = self._directory.endpoints.get(request.match_info["endpoint"])
        if endpoint is None:
            raise Problem(Kind.NOT_FOUND, "There is no endpoint of that name; `rescind endpoints list` shows all.")
        return endpoint

    def _verify(self, endpoint: Endpoint, inbound: InboundRequest, now: datetime) -> None:
        options = endpoint.verify
        try:
            if options.scheme == "handler":
                endpoint.account.handler.verify(inbound, options, now)
            else:
                verify_scheme(inbound, options, now)
        except Exception as error:
            metrics.UNAUTHENTIC.labels(endpoint.spec.id).inc()
            if self._unauthentic_log.admit(endpoint.spec.id) is not None:
                # Limited for each endpoint: strangers must not fill the disk.
                log.warning("unauthentic", endpoint=endpoint.spec.id, error=str(error))
            # Said only for what the contract foresees: the text of any other error is not for strangers.
            detail = str(error) if isinstance(error, VerificationError) else "the request could not be verified"
            raise Problem(Kind.UNAUTHENTIC, f"Not accepted: {detail}.") from error


async def record_kept(ledger: Ledger, submission: Submission, receipt: Receipt) -> None:
    """Record a webhook; if a rule, the fold or the store stumbles over what it says, keep it in quarantine (I10).

    Raises what means that nothing was kept, for whatever reason: `LedgerFullError`, `LedgerClosedError`, `StoreError`.
    """
    try:
        await ledger.record(submission, patient=False)
    except (LedgerFullError, LedgerClosedError, StoreUnavailable):
        raise
    except Exception as error:
        if isinstance(error, NameClashError):
            reason = str(error)
        else:
            log.exception("unexpected", receipt=ids.show(ids.RECEIPT, receipt.id))
            reason = f"{type(error).__name__}: {error}"
        receipt.status, receipt.reason = "quarantined", reason
        kept = Submission(receipt=submission.receipt, reprocessed=submission.reprocessed)
        await ledger.record(kept, patient=False)


@lru_cache(maxsize=1024)
def _counted(endpoint: str, status: str) -> Counter:
    return metrics.WEBHOOKS.labels(endpoint, status)


def busy(error: Exception) -> Problem:
    """Nothing was kept; the sender must come again."""
    return Problem(Kind.BUSY, f"{error}.", headers=RETRY_AFTER)


async def read_off_loop(
    account: Account, inbound: InboundRequest, received_at: datetime, receipt: str, body_max: int
) -> Read:
    """`read_webhook`; on a thread of its own where the body is large, as the event loop must not wait for it."""
    if len(inbound.body) <= LARGE_BODY and CONTENT_ENCODING not in inbound.headers:
        return read_webhook(account, inbound, received_at, receipt, body_max)
    given = (account, inbound, received_at, receipt, body_max)
    return await asyncio.get_running_loop().run_in_executor(_READER, read_webhook, *given)


def read_webhook(account: Account, inbound: InboundRequest, received_at: datetime, receipt: str, body_max: int) -> Read:
    """Make entries of a webhook that is authentic. Never raises: what cannot be read goes to quarantine."""
    try:
        if CONTENT_ENCODING in inbound.headers:
            inbound = uncompressed(inbound, body_max)
        parsed = account.handler.parse(inbound, account.config)
        if isinstance(parsed, Ignored):
            return Read("ignored", parsed.reason)
        if isinstance(parsed, Unrecognized):
            return Read("quarantined", parsed.reason)
        if not parsed:
            return Read("ignored", "it holds no events")
        entries = _entries(account.spec.id, parsed, received_at, receipt)
        return Read("accepted", "", entries, _notices(parsed))
    except MalformedPayload as error:
        return Read("quarantined", str(error))
    except Exception as error:
        log.exception("handler_failed", account=account.spec.id, receipt=receipt)
        return Read("quarantined", f"handler {account.handler.name} failed: {type(error).__name__}: {error}")


def _notices(parsed: Sequence[ParsedEvent]) -> tuple[str, ...]:
    naive, unreadable = any(map(has_naive_time, parsed)), any(each.facts.unreadable for each in parsed)
    if not (naive or unreadable):
        return ()
    return (TIMES_WITHOUT_OFFSET,) * naive + (OPENING_UNREADABLE,) * unreadable


def _entries(account: str, parsed: Any, received_at: datetime, receipt: str) -> tuple[RecordEvents, ...]:
    by_order: dict[str, list[Event]] = {}
    seen: ParsedEvent
    for seen in parsed:
        if seen.type.startswith(RESERVED_EVENT_PREFIXES):
            raise MalformedPayload(f"events of type {seen.type!r} are Rescind's own: give this one another name")
        event = to_event(seen, account, received_at, Source.WEBHOOK, receipt)
        by_order.setdefault(seen.order, []).append(event)
    return tuple(RecordEvents(account, order, received_at, tuple(events)) for order, events in by_order.items())
