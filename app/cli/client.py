"""The client of the server's API: every error is one sentence."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from app.cli import output
from app.cli.confirm import confirm
from app.cli.failure import MISUSED, AwayError, Failure, ProblemError, UnreachableError
from app.cli.paging import Paging

if TYPE_CHECKING:
    import aiohttp
    import yarl

T = TypeVar("T")

TIMEOUT_S = 120.0
CONNECT_TIMEOUT_S = 10.0
TRIES = 3
"""How often a call is made that may be repeated, until there is a response."""
RETRY_S = 0.5
PAGE_MAX = 500
"""The most rows in one page."""


class Api:
    """The API of one server."""

    def __init__(self, runner: asyncio.Runner, session: aiohttp.ClientSession, url: str, *, has_key: bool) -> None:
        self.url = url
        self._runner, self._session, self._has_key = runner, session, has_key

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """GET a resource. Raises `Failure`."""
        return self._runner.run(self._call("GET", path, query=query))

    async def fetch(self, path: str, query: Mapping[str, Any] | None = None) -> Any:
        """The same, in the event loop of `run`."""
        return await self._call("GET", path, query=query)

    async def ids(self, path: str, most: int) -> list[str]:
        """The ids of a list's rows, `most` or a page more, in the event loop of `run`."""
        ids: list[str] = []
        page: dict[str, Any] = {"has_more": True, "next_cursor": None}
        while page["has_more"] and len(ids) < most:
            page = await self._call("GET", path, query={"limit": PAGE_MAX, "cursor": page["next_cursor"]})
            ids += [row["id"] for row in page["data"]]
        return ids

    def get_all(self, paths: Sequence[str]) -> list[Any]:
        """GET several resources at once; None in place of one that cannot be fetched."""

        async def together() -> list[Any]:
            calls = (self._call("GET", path) for path in paths)
            return await asyncio.gather(*calls, return_exceptions=True)

        return [None if isinstance(result, Failure) else result for result in self._runner.run(together())]

    def post(self, path: str, body: Mapping[str, Any] | None = None, *, idempotency_key: str | None = None) -> Any:
        """POST; with an Idempotency-Key it is repeated if the response is lost. Raises `Failure`."""
        return self._runner.run(self._call("POST", path, body=body or {}, idempotency_key=idempotency_key))

    def put(self, path: str, body: Mapping[str, Any]) -> Any:
        """PUT a resource. Raises `Failure`."""
        return self._runner.run(self._call("PUT", path, body=body))

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine, which runs in the event loop of the calls."""
        return self._runner.run(work)

    def delete(self, path: str) -> None:
        """DELETE a resource. Raises `Failure`."""
        self._runner.run(self._call("DELETE", path))

    def pages(self, path: str, query: Mapping[str, Any], paging: Paging) -> Iterator[dict[str, Any]]:
        """The pages of a list, up to the limit of `paging`."""
        left, cursor = (None if paging.everything else paging.limit), paging.cursor
        while True:
            size = PAGE_MAX if left is None else min(PAGE_MAX, left)
            page: dict[str, Any] = self.get(path, {**query, "limit": size, "cursor": cursor})
            yield page
            left = None if left is None else left - len(page["data"])
            cursor = page["next_cursor"]
            if not page["has_more"] or left == 0:
                return

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Any:
        tries = TRIES if method == "GET" or idempotency_key is not None else 1
        while True:
            tries -= 1
            try:
                return await self._exchange(method, path, query, body, idempotency_key)
            except (_LostError, _BusyError):
                if not tries:
                    raise
            await asyncio.sleep(RETRY_S)

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, Any], headers: Mapping[str, str], quiet_s: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of a stream, which may be silent for `quiet_s`. Raises `Failure`, also while they are read."""
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=quiet_s)
        url, limit = _url(self.url + path, query), f"for {quiet_s:g} s"
        with self._lost_as_failure(limit):
            response = await self._session.get(url, headers=headers, timeout=timeout, allow_redirects=False)
        async with response:
            if response.content_type != "text/event-stream":
                with self._lost_as_failure(limit):
                    self._read(response.status, response.headers, await response.read())
            # Not around the caller's part: its own errors, such as a closed standard output, are not the server's.
            yield self._chunks(response, limit)

    async def _chunks(self, response: aiohttp.ClientResponse, limit: str) -> AsyncIterator[bytes]:
        with self._lost_as_failure(limit):
            async for chunk in response.content.iter_any():
                yield chunk

    @contextmanager
    def _lost_as_failure(self, limit: str) -> Iterator[None]:
        import aiohttp

        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._away(error, limit) from error

    async def _exchange(
        self,
        method: str,
        path: str,
        query: Mapping[str, Any] | None,
        body: Mapping[str, Any] | None,
        idempotency_key: str | None,
    ) -> Any:
        data = None if body is None else _encoded(body)
        headers = {} if idempotency_key is None else {"Idempotency-Key": idempotency_key}
        with self._lost_as_failure(f"within {TIMEOUT_S:g} s"):
            async with self._session.request(
                method,
                _url(self.url + path, query or {}),
                data=data,
                headers={"Content-Type": "application/json", **headers} if body is not None else headers,
                allow_redirects=False,
            ) as response:
                return self._read(response.status, response.headers, await response.read())

    def _away(self, error: Exception, limit: str) -> AwayError:
        import aiohttp

        from app.runtime.validation_messages import connection_fault

        if isinstance(error, aiohttp.ClientConnectorError):
            return UnreachableError(
                f"No server responds at {self.url} ({connection_fault(error.os_error)}). "
                "Start one with `rescind serve`, or set RESCIND_URL to its URL."
            )
        what = limit if isinstance(error, TimeoutError) else f"({type(error).__name__}: {error})"
        return _LostError(
            f"The server at {self.url} sent no response {what}; whether it did what was requested is not known."
        )

    def _read(self, status: int, headers: Mapping[str, str], raw: bytes) -> Any:
        kind = headers.get("Content-Type", "").partition(";")[0]
        if status == HTTPStatus.NO_CONTENT:
            return None
        if kind == "application/json" and status < HTTPStatus.BAD_REQUEST:
            return msgspec.json.decode(raw)
        if kind == "application/problem+json":
            raise self._problem(msgspec.json.decode(raw))
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise Failure(
                f"{self.url} redirects to {headers.get('Location', 'another URL')}: set RESCIND_URL to that server."
            )
        what = f"{status}, {kind or 'no content'}"
        raise Failure(f"The server at {self.url} is not Rescind ({what}): set RESCIND_URL to its URL.")

    def _problem(self, document: dict[str, Any]) -> Failure:
        detail, slug = str(document.get("detail", "")), str(document.get("type", "")).rpartition(":")[2]
        if slug in ("busy", "too-many-requests"):
            return _BusyError(detail)
        if slug == "unauthorized":
            detail = (
                f"The server at {self.url} refuses the key in RESCIND_API_KEY: {_lower_first(detail)}"
                if self._has_key
                else "The server requires an API key: set RESCIND_API_KEY (`rescind keys create` creates one)."
            )
        return ProblemError(detail, document)


class _LostError(AwayError):
    """There was no response."""


class _BusyError(AwayError):
    """The server is overloaded."""


@contextmanager
def connect(as_json: bool = False) -> Iterator[Api]:
    """The API at RESCIND_URL, with RESCIND_API_KEY. With `as_json` a problem is printed as JSON as well."""
    url, key = _settings()
    with asyncio.Runner() as runner:
        session = runner.run(_open(key))
        try:
            yield Api(runner, session, url, has_key=bool(key))
        except ProblemError as problem:
            if as_json:
                output.print_json(problem.document)
            raise
        finally:
            runner.run(session.close())


def get(
    path: str, show: Callable[[Api, Any], object], *, as_json: bool, query: Mapping[str, Any] | None = None
) -> None:
    """GET a resource and print it: as JSON, or by `show` for people."""
    _perform(lambda api: api.get(path, query), show, as_json=as_json)


def get_rows(path: str, show: Callable[[Api, Any], object], *, as_json: bool) -> None:
    """GET all pages of a list and print them together, as `get` does."""

    def all_rows(api: Api) -> dict[str, Any]:
        return {"data": get_all_rows(api, path), "has_more": False, "next_cursor": None}

    _perform(all_rows, show, as_json=as_json)


def get_all_rows(api: Api, path: str) -> list[dict[str, Any]]:
    """The rows of all pages of a list."""
    return [row for page in api.pages(path, {}, Paging(everything=True)) for row in page["data"]]


def post(
    path: str,
    body: Mapping[str, Any],
    show: Callable[[Api, Any], object],
    *,
    as_json: bool,
    idempotency_key: str | None = None,
) -> None:
    """POST and print the result: as JSON, or by `show` for people."""
    _perform(lambda api: api.post(path, body, idempotency_key=idempotency_key), show, as_json=as_json)


def _perform(call: Callable[[Api], Any], show: Callable[[Api, Any], object], *, as_json: bool) -> None:
    with connect(as_json) as api:
        result = call(api)
        if as_json:
            output.print_json(result)
        else:
            show(api, result)


def delete(path: str, message: str, consequence: str = "", *, yes: bool = False) -> None:
    """DELETE a resource, and say so; what has a consequence only after a person confirmed it."""
    if consequence:
        confirm(consequence, "Go on?", yes=yes)
    with connect() as api:
        api.delete(path)
    output.say(message)


def segment(text: str) -> str:
    """`text` as one segment of a path."""
    # A proxy that normalizes URLs would take dots alone for a parent folder.
    return quote(text, safe="") if text.strip(".") else "%2E" * len(text)


def write_list(
    api: Api, path: str, query: Mapping[str, Any], paging: Paging, columns: Sequence[output.Column], *, as_json: bool
) -> None:
    """Print a list, page by page."""
    pages = api.pages(path, query, paging)
    if as_json:
        _write_json_list(pages)
        return
    is_first, last = True, dict[str, Any]()
    for last in pages:
        output.show_rows(columns, last["data"], is_continued=not is_first)
        is_first = False
    if last["has_more"]:
        output.say(f"There are more: continue with --cursor {last['next_cursor']}, or give --all.")


def _write_json_list(pages: Iterator[dict[str, Any]]) -> None:
    """Write rows page by page: the list may not fit into memory."""
    out, before, end = output.console().file, '{"data": [\n  ', ""
    for page in pages:
        for row in page["data"]:
            out.write(before + output.json_text(row, indent=0))
            before = ",\n  "
        rest = {name: value for name, value in page.items() if name != "data"}
        end = f"], {output.json_text(rest, indent=0)[1:]}\n"
    out.write(f"\n{end}" if before.startswith(",") else f'{{"data": [{end}')
    out.flush()


def _url(url: str, query: Mapping[str, Any]) -> yarl.URL:
    import yarl

    given = {name: str(value) for name, value in query.items() if value is not None}
    return yarl.URL(url, encoded=True).update_query(given)


def _encoded(body: Mapping[str, Any]) -> bytes:
    try:
        return msgspec.json.encode(body)
    except TypeError as error:
        # Bodies come from files, and YAML has keys that JSON does not have.
        raise Failure(f"The file contains a value that JSON cannot represent: {error}.") from error


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]


def _settings() -> tuple[str, str]:
    from app.cli.environment import read_settings
    from app.config.settings import ClientSettings

    settings = read_settings(ClientSettings)
    url, key = settings.url.strip().rstrip("/"), settings.api_key.get_secret_value().strip()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and not (parts.query or parts.fragment)
        valid = valid and (parts.port is None or parts.port > 0)
    except ValueError:
        valid = False
    if not valid:
        raise Failure(f"RESCIND_URL: {url!r} is not the URL of a server, such as http://127.0.0.1:8700.", MISUSED)
    if not (key.isascii() and key.isprintable()):
        raise Failure("RESCIND_API_KEY: it contains characters that no API key has.", MISUSED)
    return url, key


async def _open(key: str) -> aiohttp.ClientSession:
    import aiohttp

    from app import __version__

    headers = {"User-Agent": f"rescind/{__version__}", **({"Authorization": f"Bearer {key}"} if key else {})}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
    return aiohttp.ClientSession(headers=headers, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
