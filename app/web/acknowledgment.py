"""The response to a webhook that was recorded."""

from __future__ import annotations

import time
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import HttpVersion11, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.hdrs import CONTENT_LENGTH, CONTENT_TYPE, DATE, SERVER
from aiohttp.http import SERVER_SOFTWARE

_JSON = "application/json"


class Acknowledgment(web.StreamResponse):
    """A small JSON response. Its head, the same for all of a second, is composed once a second, not for each of them.

    It is the head that `web.Response` would have.
    """

    def __init__(self, content: bytes, status: int) -> None:
        super().__init__(status=status)
        self._content = content
        self._sent = False

    @property
    def keep_alive(self) -> bool | None:
        """Whether the connection stays open; None until that is decided."""
        return True if self._sent else super().keep_alive

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Send the response. Only where the connection ends with it, or in HTTP/1.0, has it a head of its own."""
        if self.keep_alive is None and request.keep_alive and request.version == HttpVersion11:
            writer, content = request.writer, self._content
            await writer.write_eof(_head(self.status, len(content), int(time.time())) + content)
            self._sent = True
            return writer
        self.content_type, self.content_length = _JSON, len(self._content)
        return await super().prepare(request)

    async def write_eof(self, data: bytes = b"") -> None:
        """Send what `prepare` has not sent."""
        if not self._sent:
            await super().write_eof(data or self._content)


@lru_cache(maxsize=32)
def _head(status: int, length: int, second: int) -> bytes:
    date = formatdate(second, usegmt=True)
    headers = {CONTENT_TYPE: _JSON, CONTENT_LENGTH: length, DATE: date, SERVER: SERVER_SOFTWARE}
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("ascii")
