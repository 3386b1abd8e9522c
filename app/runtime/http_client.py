"""Runs handlers' flows on aiohttp: the thin part between pure dialogues and the network."""

from __future__ import annotations

import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
from yarl import URL

from app import __version__
from app.contract import Flow, HttpRequest, HttpResponse
from app.core.lane.unreachable import Unreachable
from app.runtime.addresses import Network, PrivateAddressError, guarded_socket
from app.runtime.redaction import REDACTED
from app.runtime.validation_messages import without_tls

T = TypeVar("T")

ANSWER_MAX = 1_048_576
EXCERPT = 2000
"""How much of an answer is kept for people, in characters."""


class CallFailedError(Exception):
    """No complete answer came. `lost` says whether the request may have taken effect all the same."""

    def __init__(self, detail: str, *, lost: bool) -> None:
        super().__init__(detail)
        self.lost = lost


Permit = Callable[[HttpRequest], Awaitable[None]]
Fence = Callable[[HttpRequest, bool], Awaitable[None]]


async def no_fence(_request: HttpRequest, _waited: bool) -> None:
    """Let every call leave."""


@dataclass(slots=True)
class _Departure:
    """One request on its way to its first byte."""

    request: HttpRequest
    fence: Fence
    waited: bool = False
    """A connection had to be made for it, and that may have taken seconds."""
    left: bool = False
    """The fence let it pass: from here on the provider may have it."""


@dataclass(slots=True)
class Conversation:
    """The calls of one attempt, as they are shown to people."""

    exchanges: list[dict[str, Any]] = field(default_factory=list)
    unreachable: Unreachable | None = None
    """What kept the last call from the provider."""

    def note(self, request: HttpRequest, started: float, result: HttpResponse | None, error: str = "") -> None:
        """Remember one call, without the request's headers and body: they hold the credentials."""
        entry: dict[str, Any] = {"method": request.method, "url": request.url.partition("?")[0]}
        entry["took_ms"] = round((time.monotonic() - started) * 1000)
        if result is not None:
            entry["status"] = result.status
            entry["answer"] = _to_show(request, result)
        if error:
            entry["error"] = error
        self.exchanges.append(entry)


def _to_show(request: HttpRequest, result: HttpResponse) -> str:
    if request.confidential:
        return REDACTED
    text = result.body.decode("utf-8", "replace").replace("\0", "\ufffd")
    # A token that was fetched on the way is nobody's configured secret, and may be echoed all the same.
    given = request.headers.get("Authorization", "").partition(" ")[2]
    return text.replace(given, REDACTED) if given else text


def open_session(allow: tuple[Network, ...]) -> aiohttp.ClientSession:
    """The session for calls to providers: no cookies, no bound over all accounts together, no private networks."""
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60, socket_factory=guarded_socket(allow))
    session = aiohttp.ClientSession(
        connector=connector,
        trace_configs=[_departures()],
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"Rescind/{__version__}"},
        auto_decompress=True,
    )
    # Else a GET, PUT or DELETE whose connection breaks is sent again unseen: past the fence, the probe and the limit.
    session._retry_connection = False  # noqa: SLF001 - there is no public way; a test holds it to its effect
    return session


def _departures() -> aiohttp.TraceConfig:
    """Ask each request's fence when its connection stands, just before the first byte.

    aiohttp calls `on_request_headers_sent` before it writes the headers, and closes the connection if that raises.
    Nothing is awaited from there to the first byte; a test holds aiohttp to both.
    """

    async def connects(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        context.trace_request_ctx.waited = True

    async def leaves(_session: aiohttp.ClientSession, context: SimpleNamespace, _: object) -> None:
        departure: _Departure = context.trace_request_ctx
        await departure.fence(departure.request, departure.waited)
        departure.left = True

    config = aiohttp.TraceConfig()
    config.on_connection_create_start.append(connects)
    config.on_request_headers_sent.append(leaves)
    return config


async def converse(
    flow: Flow[T],
    session: aiohttp.ClientSession,
    conversation: Conversation,
    permit: Permit,
    fence: Fence = no_fence,
) -> T:
    """Carry a flow's requests out until it returns.

    Args:
        flow: the handler's generator.
        session: from `open_session`.
        conversation: takes a note of every call.
        permit: awaited before each call, before its connection; waits for the account's limit, or raises what
            forbids the call.
        fence: awaited when the connection of a call stands, with whether it had to be made; what it raises keeps
            the call from being made.

    Raises:
        CallFailedError: a call got no complete answer.
    """
    try:
        request = next(flow)
        while True:
            await permit(request)
            response = await _call(_Departure(request, fence), session, conversation)
            request = flow.send(response)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


async def _call(departure: _Departure, session: aiohttp.ClientSession, conversation: Conversation) -> HttpResponse:
    request, started = departure.request, time.monotonic()
    try:
        async with session.request(
            request.method,
            _exactly(request.url),
            data=request.body or None,
            headers=request.headers,
            # What is in a body, its sender says; of no body there is nothing to say.
            skip_auto_headers=("Content-Type",),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=min(10.0, request.timeout_s)),
            trace_request_ctx=departure,
        ) as answer:
            body = await _read(answer)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            response = HttpResponse(answer.status, headers, body)
    except (aiohttp.ClientError, PrivateAddressError, TimeoutError, OSError, ValueError) as error:
        detail, conversation.unreachable = _explain(error), _unreachable(error)
        conversation.note(request, started, None, detail)
        lost = departure.left and not request.repeatable
        raise CallFailedError(detail, lost=lost) from error
    conversation.note(request, started, response)
    return response


def _unreachable(error: BaseException) -> Unreachable | None:
    if isinstance(error, PrivateAddressError):
        return Unreachable.ADDRESS
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Unreachable.CERTIFICATE
    # A name server that fails says EAI_AGAIN; one that knows of no such name, EAI_NONAME.
    if isinstance(error, aiohttp.ClientConnectorDNSError) and error.os_error.errno == socket.EAI_NONAME:
        return Unreachable.NAME
    connecting = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
    return Unreachable.CONNECTION if isinstance(error, connecting) else None


def _exactly(url: str) -> URL:
    """The URL as the handler spelled it: unquoted and put in order again, it might name something else.

    Raises `aiohttp.InvalidURL` for a path that would be resolved on the way: an order may be called `..`, and then
    its cancel would go somewhere else.
    """
    if any(unquote(part) in (".", "..") for part in urlsplit(url).path.split("/")):
        raise aiohttp.InvalidURL(url, "an order of this name cannot be a part of a URL")
    return URL(url, encoded=url.isascii())


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for part in answer.content.iter_chunked(65536):
        body += part
        if len(body) > ANSWER_MAX:
            raise aiohttp.ClientPayloadError(f"the answer is larger than {ANSWER_MAX} bytes")
    return bytes(body)


def _explain(error: BaseException) -> str:
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, PrivateAddressError):
        return str(error)
    if isinstance(error, aiohttp.ClientConnectorError):
        why = without_tls(error.os_error) or error.os_error.strerror or error.os_error
        return f"no connection to {error.host}:{error.port}: {why}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the provider closed the connection without an answer"
    return f"{type(error).__name__}: {error}"
