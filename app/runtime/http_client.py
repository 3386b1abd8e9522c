"""Run handlers' flows on aiohttp: the thin layer between pure flows and the network."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
from yarl import URL

from app import __version__
from app.contract import Flow, HttpRequest, HttpResponse
from app.core.lane.unreachable import Unreachable
from app.kit.destinations import Network
from app.runtime import tracing
from app.runtime.guard import PrivateAddressError, guarded_connector
from app.runtime.redaction import REDACTED, Redactor
from app.runtime.single_flight import SingleFlight
from app.runtime.validation_messages import connection_fault

T = TypeVar("T")

RESPONSE_MAX = 1_048_576
EXCERPT = 2000
"""How much of an answer is kept for people, in characters."""


class CallFailedError(Exception):
    """A call got no complete response. `may_have_applied`: the request may have taken effect."""

    def __init__(self, detail: str, *, may_have_applied: bool) -> None:
        super().__init__(detail)
        self.may_have_applied = may_have_applied


Permit = Callable[[HttpRequest], Awaitable[None]]
Fence = Callable[[HttpRequest, bool], Awaitable[None]]
Save = Callable[[], Awaitable[None]]
SharedCalls = SingleFlight["HttpResponse | CallFailedError"]
"""The calls of one account that are made once for all who are about to make them (`HttpRequest.shared`)."""


async def no_fence(_request: HttpRequest, _waited: bool) -> None:
    """A fence that lets every call leave."""


async def nothing_to_save() -> None:
    """For flows that keep nothing durably."""


@dataclass(slots=True)
class _Departure:
    """A request whose first byte has not been written."""

    request: HttpRequest
    fence: Fence
    waited: bool = False
    """It needed a new connection, which may have taken seconds."""
    left: bool = False
    """The fence let it pass: the provider may receive it."""
    refusal: Exception | None = None
    """What the fence raised."""

    async def leave(self) -> None:
        """Ask the fence, unless it was asked already."""
        if self.left:
            return
        try:
            await self.fence(self.request, self.waited)
        except Exception as error:
            self.refusal = error
            raise
        self.left = True


@dataclass(slots=True)
class Conversation:
    """The calls of one attempt, as shown to people."""

    exchanges: list[dict[str, Any]] = field(default_factory=list)
    unreachable: Unreachable | None = None
    """Why the last call did not reach the provider's API."""
    joined: int = 0
    """Calls that another attempt made for this one, too. They are in that one's exchanges, and used its place."""
    concealed: AbstractSet[str] = frozenset()
    """Credentials that the flow came by (`Context.concealed`)."""

    @property
    def calls(self) -> int:
        """How many calls were made, at least: one that died may not have been noted."""
        return len(self.exchanges) or (0 if self.joined else 1)

    def note(self, request: HttpRequest, started: float, result: HttpResponse | None, error: str = "") -> None:
        """Record a call, without the request's headers and body: they contain credentials."""
        entry: dict[str, Any] = {"method": request.method, "url": request.url.partition("?")[0]}
        entry["took_ms"] = round((time.monotonic() - started) * 1000)
        if result is not None:
            entry["status"] = result.status
            entry["answer"] = _excerpt(request, result, self.concealed)
        if error:
            entry["error"] = error
        self.exchanges.append(entry)


def _excerpt(request: HttpRequest, result: HttpResponse, concealed: AbstractSet[str]) -> str:
    if request.confidential:
        return REDACTED
    text = result.body.decode("utf-8", "replace").replace("\0", "\ufffd")
    # A token that the flow fetched is not a configured secret, and the response may contain it.
    tokens = {request.headers.get("Authorization", "").partition(" ")[2], *concealed} - {""}
    if not tokens:
        return text
    for token in sorted(tokens, key=len, reverse=True):
        text = text.replace(token, REDACTED)
    return Redactor(tokens).clean(text)


def open_session(allow: tuple[Network, ...]) -> aiohttp.ClientSession:
    """The session for calls to providers: no cookies, no connection limit across accounts, no private networks."""
    return make_session(guarded_connector(allow), trace_configs=[_departures()])


def make_session(connector: aiohttp.TCPConnector, **options: Any) -> aiohttp.ClientSession:
    """A session that repeats no request by itself, keeps no cookies and reads no proxy from the environment."""
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"Rescind/{__version__}"},
        auto_decompress=True,
        trust_env=False,
        **options,
    )
    # Else aiohttp repeats a GET, PUT or DELETE whose connection breaks: past the fence, the probe and the limit.
    session._retry_connection = False  # noqa: SLF001 - there is no public option; a test checks the effect
    return session


def _departures() -> aiohttp.TraceConfig:
    """Check each request's fence once it has a connection, right before the first byte.

    aiohttp writes the headers together with the first chunk of the body, with Python 3.11 in a later iteration of the
    event loop. Right before that it calls `on_request_chunk_sent`, or without a body `on_request_headers_sent`, and it
    closes the connection if that raises. It awaits nothing between that and the write; tests check all of this. uvloop
    passes what was written to the operating system at the end of the iteration.
    """

    async def connects(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        context.trace_request_ctx.waited = True

    async def headers_are_ready(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        if not context.trace_request_ctx.request.body:
            await context.trace_request_ctx.leave()

    async def body_is_ready(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        await context.trace_request_ctx.leave()

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(connects)
    config.on_request_headers_sent.append(headers_are_ready)
    config.on_request_chunk_sent.append(body_is_ready)
    return config


async def converse(
    flow: Flow[T],
    session: aiohttp.ClientSession,
    conversation: Conversation,
    permit: Permit,
    fence: Fence = no_fence,
    *,
    shared: SharedCalls | None = None,
    save: Save = nothing_to_save,
) -> T:
    """Carry out a flow's requests until it returns.

    Args:
        flow: the handler's generator.
        session: from `open_session`.
        conversation: records every call.
        permit: awaited before each call and its connection; waits for the account's limit, or raises to forbid the
            call.
        fence: awaited once a call has a connection, with whether that is new; raises to forbid the call.
        shared: the account's, for requests that name a call that they share; None: each is made for itself.
        save: awaited after each response, before each call leaves, and at the end; writes what the flow keeps durably.
            Raises `CallFailedError` if that fails.

    Raises:
        CallFailedError: a call got no complete response.
    """
    caller = _Caller(session, conversation, permit, fence, shared, save)
    try:
        request = next(flow)
        while True:
            # At once: the next call may wait for its place for minutes, or be forbidden.
            await save()
            response = await (caller.share(request) if request.shared else caller.call(request))
            request = flow.send(response)
    except StopIteration as end:
        result: T = end.value
    finally:
        flow.close()
    # What the flow says stands, whatever comes of this: the account's next call does not leave before it is saved.
    with suppress(CallFailedError):
        await save()
    return result


@dataclass(slots=True)
class _Caller:
    """Makes the calls of one flow."""

    session: aiohttp.ClientSession
    conversation: Conversation
    permit: Permit
    fence: Fence
    shared: SharedCalls | None
    save: Save
    has_place: bool = False
    """A call was permitted and not made, as another attempt made it: the permission is for the next one."""

    async def call(self, request: HttpRequest) -> HttpResponse:
        await self._take_place(request)
        await self.save()
        self.has_place = False
        return await _call(_Departure(request, self.fence), self.session, self.conversation)

    async def share(self, request: HttpRequest) -> HttpResponse:
        """The response of the one call that is made for all who wait for it.

        Each has a place in the limit before it leads or waits: a leader never waits for a place that is held by those
        who wait for it, and they go on with theirs.
        """
        if self.shared is None:
            return await self.call(request)
        with self.shared.join(request.shared) as flight:
            await self._take_place(request)
            outcome, led = await flight.outcome(lambda: self._outcome(request))
        if not led:
            self.conversation.joined += 1
        if isinstance(outcome, CallFailedError):
            # Each its own: a traceback belongs to one task.
            raise outcome if led else CallFailedError(str(outcome), may_have_applied=outcome.may_have_applied)
        return outcome

    async def _outcome(self, request: HttpRequest) -> HttpResponse | CallFailedError:
        try:
            return await self.call(request)
        except CallFailedError as error:
            return error

    async def _take_place(self, request: HttpRequest) -> None:
        if not self.has_place:
            await self.permit(request)
            self.has_place = True


async def _call(departure: _Departure, session: aiohttp.ClientSession, conversation: Conversation) -> HttpResponse:
    if not tracing.on:
        return await _exchange(departure, session, conversation, departure.request.headers)
    request = departure.request
    # Without path and query: they may hold what is private.
    about = {"http.request.method": request.method, "server.address": urlsplit(request.url).hostname}
    with tracing.span(f"call {request.method}", kind=tracing.CLIENT, attributes=about):
        context = tracing.headers() if tracing.to_providers else {}
        response = await _exchange(departure, session, conversation, {**request.headers, **context})
        tracing.annotate(status_code=response.status)
        return response


async def _exchange(
    departure: _Departure, session: aiohttp.ClientSession, conversation: Conversation, headers: Mapping[str, str]
) -> HttpResponse:
    request, started = departure.request, time.monotonic()
    try:
        async with session.request(
            request.method,
            _literal_url(request.url),
            data=request.body or None,
            headers=headers,
            # The handler sets the content type of a body.
            skip_auto_headers=("Content-Type",),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=min(10.0, request.timeout_s)),
            trace_request_ctx=departure,
        ) as reply:
            body = await _read(reply)
            received = {name.lower(): value for name, value in reply.headers.items()}
            response = HttpResponse(reply.status, received, body)
    except (aiohttp.ClientError, PrivateAddressError, TimeoutError, OSError, ValueError) as error:
        if departure.refusal is not None:
            raise departure.refusal from error
        detail, conversation.unreachable = explain(error), unreachable(error)
        conversation.note(request, started, None, detail)
        may_have_applied = departure.left and not request.repeatable
        raise CallFailedError(detail, may_have_applied=may_have_applied) from error
    conversation.note(request, started, response)
    return response


def unreachable(error: BaseException) -> Unreachable | None:
    """Why a call did not reach a server; None if it did, or may have."""
    if isinstance(error, PrivateAddressError):
        return Unreachable.ADDRESS
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Unreachable.CERTIFICATE
    # EAI_NONAME: the name does not exist; EAI_AGAIN: the name server failed.
    if isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno == socket.EAI_NONAME:
        return Unreachable.NAME
    connecting = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
    return Unreachable.CONNECTION if isinstance(error, connecting) else None


def _literal_url(url: str) -> URL:
    """The URL exactly as the handler spelled it: normalized, it might name something else.

    Raises `aiohttp.InvalidURL` for a path with `.` or `..`: a server would resolve it, and a cancel of an order called
    `..` would go elsewhere.
    """
    if any(unquote(part) in (".", "..") for part in urlsplit(url).path.split("/")):
        raise aiohttp.InvalidURL(url, "an order of this name cannot be a part of a URL")
    literal = URL(url, encoded=url.isascii())
    if literal.scheme not in ("http", "https") or literal.raw_user is not None:
        raise aiohttp.InvalidURL(url.partition("?")[0], "only http and https URLs without a user are called")
    return literal


async def _read(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in response.content.iter_chunked(65536):
        body += part
        if len(body) > RESPONSE_MAX:
            raise aiohttp.ClientPayloadError(f"the response is larger than {RESPONSE_MAX} bytes")
    return bytes(body)


def explain(error: BaseException) -> str:
    """Why a call got no complete response, in words."""
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, TimeoutError):
        return "no response in time"
    if isinstance(error, PrivateAddressError):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection to {error.host}:{error.port}: {connection_fault(error.os_error)}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection without a response"
    return _faulty_response(error) or f"{type(error).__name__}: {error}"


def _faulty_response(error: BaseException) -> str | None:
    """What the library says of a response, without the bytes at which it failed: they may be a token."""
    if isinstance(error, aiohttp.ClientResponseError):
        what, message = "is no valid HTTP", error.message
    elif isinstance(error, aiohttp.ClientPayloadError):
        what, message = "cannot be read", str(error)
    else:
        return None
    return f"the response {what}: {message.partition(chr(10))[0].partition(':')[0]}"
