"""Sends requests over HTTP, for both clients: what to send, what to repeat and when, and what a response means."""

from __future__ import annotations

import time
from asyncio import sleep as sleep_async
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

import httpx
import msgspec

from rescind_client.pages import Page, SearchPage
from rescind_client.problem import ConnectionFailed, problem_of
from rescind_client.stream import QUIET_S, AsyncEventStream, Away, EventStream

T = TypeVar("T")
P = TypeVar("P")
Pages = Page[P] | SearchPage[P]
_RETRIED = (429, 503)
_SUCCESS = range(200, 300)
_FIRST_WAIT_S = 0.5
KEY_HEADER = "Idempotency-Key"


@dataclass(frozen=True, slots=True)
class Request(Generic[T]):
    """One call of an operation."""

    method: str
    path: str
    result: type[T]
    query: Mapping[str, object] = field(default_factory=dict)
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_be_repeated(self) -> bool:
        """Whether it may be sent again although the first one may have arrived."""
        return self.method != "POST" or KEY_HEADER in self.headers


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long a request is repeated that the server was too busy for, or that did not reach it."""

    count: int = 3
    wait_max_s: float = 30.0
    """A longer `Retry-After` is not waited for: the problem is raised."""

    def wait_s(self, attempt: int, response: httpx.Response | None) -> float | None:
        """Seconds to wait before the next attempt; None if there is none."""
        if attempt >= self.count or (response is not None and response.status_code not in _RETRIED):
            return None
        asked = retry_after_s(response.headers.get("Retry-After")) if response is not None else None
        wait = _FIRST_WAIT_S * 2.0**attempt if asked is None else asked
        return wait if wait <= self.wait_max_s else None


def retry_after_s(header: str | None) -> float | None:
    """The seconds that a Retry-After asks for, as a number or a date."""
    try:
        return max(0.0, float(header or ""))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header or "") - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError):
        return None


def segment(value: str) -> str:
    """A variable of a path, percent-encoded."""
    return quote(value, safe="")


def once(key: str | None) -> dict[str, str]:
    """The header by which the server recognizes a repetition; without a key, one is made."""
    return {KEY_HEADER: key if key is not None else str(uuid4())}


def given(**fields: object) -> dict[str, object]:
    """The fields that are not None; what is left out has the server's default."""
    return {name.rstrip("_"): value for name, value in fields.items() if value is not None}


class SyncTransport:
    """Sends and waits."""

    def __init__(self, http: httpx.Client, retries: Retries) -> None:
        self.http, self.retries = http, retries

    def send(self, request: Request[T]) -> T:
        """The result. Raises `Problem` or `ConnectionFailed`."""
        for attempt in range(self.retries.count + 1):
            response = None
            try:
                response = self.http.request(request.method, request.path, **_arguments(request))
            except httpx.TransportError as error:
                wait = self.retries.wait_s(attempt, None) if _is_repeatable(request, error) else None
                if wait is None:
                    raise ConnectionFailed(request.method, request.path, error) from error
            else:
                wait = self.retries.wait_s(attempt, response)
                if wait is None:
                    return _result(request, response)
            time.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def iterate(self, request: Request[Page[P]] | Request[SearchPage[P]]) -> Iterator[P]:
        """The rows of all pages."""
        following: Request[Any] | None = request
        while following is not None:
            page: Pages[P] = self.send(following)
            yield from page.data
            following = _next(following, page)

    def stream(self, request: Request[T]) -> EventStream[T]:
        """The events of a stream."""
        http, arguments = self.http, _arguments(request)

        @contextmanager
        def connect(headers: Mapping[str, str]) -> Iterator[httpx.Response]:
            more = {**arguments, "headers": headers, "timeout": _stream_timeout(http.timeout)}
            with http.stream(request.method, request.path, **more) as response:
                if response.status_code not in _SUCCESS:
                    response.read()
                    raise _refusal(response)
                yield response

        return EventStream(connect, request.result, follow=request.query.get("follow") is not False)


class AsyncTransport:
    """Sends and awaits."""

    def __init__(self, http: httpx.AsyncClient, retries: Retries) -> None:
        self.http, self.retries = http, retries

    async def send(self, request: Request[T]) -> T:
        """The result. Raises `Problem` or `ConnectionFailed`."""
        for attempt in range(self.retries.count + 1):
            response = None
            try:
                response = await self.http.request(request.method, request.path, **_arguments(request))
            except httpx.TransportError as error:
                wait = self.retries.wait_s(attempt, None) if _is_repeatable(request, error) else None
                if wait is None:
                    raise ConnectionFailed(request.method, request.path, error) from error
            else:
                wait = self.retries.wait_s(attempt, response)
                if wait is None:
                    return _result(request, response)
            await sleep_async(wait)
        raise AssertionError("the last attempt returns or raises")

    async def iterate(self, request: Request[Page[P]] | Request[SearchPage[P]]) -> AsyncIterator[P]:
        """The rows of all pages."""
        following: Request[Any] | None = request
        while following is not None:
            page: Pages[P] = await self.send(following)
            for row in page.data:
                yield row
            following = _next(following, page)

    def stream(self, request: Request[T]) -> AsyncEventStream[T]:
        """The events of a stream."""
        http, arguments = self.http, _arguments(request)

        @asynccontextmanager
        async def connect(headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
            more = {**arguments, "headers": headers, "timeout": _stream_timeout(http.timeout)}
            async with http.stream(request.method, request.path, **more) as response:
                if response.status_code not in _SUCCESS:
                    await response.aread()
                    raise _refusal(response)
                yield response

        return AsyncEventStream(connect, request.result, follow=request.query.get("follow") is not False)


def _stream_timeout(timeout: httpx.Timeout) -> httpx.Timeout:
    """A stream is silent between heartbeats."""
    return httpx.Timeout(connect=timeout.connect, read=QUIET_S, write=timeout.write, pool=timeout.pool)


def _refusal(response: httpx.Response) -> Exception:
    """What to raise for a response that is no stream: `Away` if a later one may be."""
    problem = problem_of(response.status_code, response.content, response.headers)
    if response.status_code in _RETRIED:
        return Away(problem, retry_after_s(response.headers.get("Retry-After")))
    return problem


def _arguments(request: Request[Any]) -> dict[str, Any]:
    headers = dict(request.headers)
    content = None
    if request.body is not None:
        headers["Content-Type"] = "application/json"
        content = msgspec.json.encode(request.body)
    return {
        "params": {name: _text(value) for name, value in request.query.items()},
        "content": content,
        "headers": headers,
    }


def _text(value: object) -> str:
    """A value in a query: times in RFC 3339, `true` and `false`."""
    return (
        value
        if isinstance(value, str)
        else str(msgspec.to_builtins(value)).lower()
        if isinstance(value, bool)
        else str(msgspec.to_builtins(value))
    )


def _is_repeatable(request: Request[Any], error: httpx.TransportError) -> bool:
    """A request that never reached the server can be sent again; else only one that has no further effect."""
    return isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout)) or request.may_be_repeated


def _result(request: Request[T], response: httpx.Response) -> T:
    if response.status_code not in _SUCCESS:
        raise problem_of(response.status_code, response.content, response.headers)
    if not response.content:
        return msgspec.convert(None, request.result)
    return msgspec.json.decode(response.content, type=request.result)


def _next(request: Request[Any], page: Pages[Any]) -> Request[Any] | None:
    if page.next_cursor is None:
        return None
    return replace(request, query={**request.query, "cursor": page.next_cursor})
