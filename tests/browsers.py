"""A client of the console as a browser is: it keeps cookies, and sends the forms that pages show."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from html import unescape
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import aiohttp
import msgspec
from providers import WAIT_S
from servers import BOOTSTRAP_KEY
from yarl import URL

_TOKEN = re.compile(r'name="(form_token|request_id)" value="([^"]*)"')
Form = dict[str, str] | Sequence[tuple[str, str]]


class Browser:
    """Keeps cookies, follows no redirects, and says where its forms are from as a browser does."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies: SimpleCookie = SimpleCookie()

    async def ask(
        self, method: str, path: str, form: Form | None = None, **headers: str
    ) -> tuple[int, aiohttp.ClientResponse, str]:
        jar = aiohttp.DummyCookieJar()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in self.cookies.items() if morsel.value)
        async with aiohttp.ClientSession(cookie_jar=jar) as session:
            data = None if form is None else urlencode(form).encode()
            sent |= {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
            url = URL(self.url + path, encoded=True)
            async with session.request(
                method, url, data=data, headers={"Cookie": cookies, **sent}, allow_redirects=False
            ) as response:
                self.cookies.update(response.cookies)
                return response.status, response, await response.text(errors="replace")

    async def sign_in(self, key: str = BOOTSTRAP_KEY, **more: str) -> tuple[int, str]:
        status, response, _ = await self.ask("POST", "/sign-in", {"key": key, **more})
        return status, response.headers.get("Location", "")

    async def events(self, path: str) -> AsyncIterator[dict[str, Any]]:
        """The data of the events that the server sends."""
        cookies = "; ".join(f"{name}={morsel.value}" for name, morsel in self.cookies.items() if morsel.value)
        async with (
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(URL(self.url + path, encoded=True), headers={"Cookie": cookies}) as response,
        ):
            assert response.content_type == "text/event-stream", await response.text()
            clock = asyncio.get_running_loop().time
            end = clock() + WAIT_S  # of the wait for the next event: heartbeats do not count
            while line := await asyncio.wait_for(response.content.readline(), end - clock()):
                if line.startswith(b"data: "):
                    yield msgspec.json.decode(line.removeprefix(b"data: "))
                    end = clock() + WAIT_S

    async def get(self, path: str) -> str:
        """The page at `path`, which must be there."""
        status, _, text = await self.ask("GET", path)
        assert status == 200, (path, status, text)
        return text

    async def send(
        self, page: str, path: str, form: Form = (), **headers: str
    ) -> tuple[int, aiohttp.ClientResponse, str]:
        """Send a form to `path` with the hidden members that the text `page` shows."""
        hidden = dict(_TOKEN.findall(page))
        given = list(form.items()) if isinstance(form, dict) else list(form)
        return await self.ask("POST", path, [*hidden.items(), *given], **headers)


def text_of(page: str) -> str:
    """What a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", page)).split())
