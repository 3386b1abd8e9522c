"""Runs handlers' flows on aiohttp: the thin part between pure dialogues and the network."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
from yarl import URL

from app import __version__
from app.addresses import Network, PrivateAddressError, guarded_socket
from app.contract import Flow, HttpRequest, HttpResponse
from app.redaction import REDACTED

T = TypeVar("T")

ANSWER_MAX = 1_048_576
EXCERPT = 2000
"""How much of an answer is kept for people, in characters."""


class CallFailedError(Exception):
    """No complete answer came. `lost` says whether the request may have taken effect all the same."""

    def __init__(self, detail: str, *, lost: bool) -> None:
        super().__init__(detail)
        self.lost = lost


_NOT_SENT = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.InvalidURL,
    PrivateAddressError,
)


Permit = Callable[[HttpRequest], Awaitable[None]]


@dataclass(slots=True)
class Conversation:
    """The calls of one attempt, as they are shown to people."""

    exchanges: list[dict[str, Any]] = field(default_factory=list)

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
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": f"Rescind/{__version__}"},
        auto_decompress=True,
    )
    # Else a GET, PUT or DELETE whose connection breaks is sent again unseen: past the fence, the probe and the limit.
    session._retry_connection = False  # noqa: SLF001 - there is no public way; a test holds it to its effect
    return session


async def converse(flow: Flow[T], session: aiohttp.ClientSession, conversation: Conversation, permit: Permit) -> T:
    """Carry a flow's requests out until it returns.

    Args:
        flow: the handler's generator.
        session: from `open_session`.
        conversation: takes a note of every call.
        permit: awaited before each call; waits for the account's limit, or raises what forbids the call.

    Raises:
        CallFailedError: a call got no complete answer.
    """
    try:
        request = next(flow)
        while True:
            await permit(request)
            response = await _call(request, session, conversation)
            request = flow.send(response)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        flow.close()


async def _call(request: HttpRequest, session: aiohttp.ClientSession, conversation: Conversation) -> HttpResponse:
    started = time.monotonic()
    try:
        async with session.request(
            request.method,
            _exactly(request.url),
            data=request.body or None,
            headers=request.headers,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=min(10.0, request.timeout_s)),
        ) as answer:
            body = await _read(answer)
            headers = {name.lower(): value for name, value in answer.headers.items()}
            response = HttpResponse(answer.status, headers, body)
    except (aiohttp.ClientError, PrivateAddressError, TimeoutError, OSError, ValueError) as error:
        detail = _explain(error)
        conversation.note(request, started, None, detail)
        lost = not isinstance(error, _NOT_SENT) and not request.repeatable
        raise CallFailedError(detail, lost=lost) from error
    conversation.note(request, started, response)
    return response


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
        return f"no connection to {error.host}:{error.port}: {error.os_error.strerror or error.os_error}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the provider closed the connection without an answer"
    return f"{type(error).__name__}: {error}"
