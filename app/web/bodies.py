"""Request bodies: read within a maximum size, a time limit, and one memory budget for all requests in progress."""

from __future__ import annotations

import asyncio

from aiohttp import web

from app.web.problems import Kind, Problem, busy


class Bodies:
    """Reads bodies and counts their bytes until their requests are answered: each is in memory until then."""

    def __init__(self, total_max: int, body_max: int, timeout_s: float) -> None:
        self._total_max, self._body_max, self._timeout_s = total_max, body_max, timeout_s
        self.held = 0
        """Bytes received so far; bytes that are only announced take no room from others."""

    async def read(self, request: web.Request) -> bytes:
        """The body, counted until `release` is called with its length.

        Raises `Problem` if it is too large (413), too slow or broken off (400), or exceeds the budget (503).
        """
        if request.content.is_eof():
            body = request.content.read_nowait()  # It came with its headers.
            self._require_size(len(body))
            self._take(len(body))
            return body
        self._require_size(request.content_length or 0)
        return await self._gather(request)

    def release(self, size: int) -> None:
        """Stop counting a body of that length."""
        self.held -= size

    async def _gather(self, request: web.Request) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._timeout_s):
                while chunk := await request.content.readany():
                    self._take(len(chunk))
                    body += chunk
                    self._require_size(len(body))
                return bytes(body)
        except BaseException as error:
            self.release(len(body))
            if isinstance(error, TimeoutError):
                detail = f"The body did not arrive within {self._timeout_s:g} s (RESCIND_BODY_TIMEOUT_S)."
                raise Problem(Kind.BAD_REQUEST, detail) from error
            if isinstance(error, ConnectionError):
                raise Problem(Kind.BAD_REQUEST, "The connection ended before the body did.") from error
            raise

    def _take(self, size: int) -> None:
        if self.held + size > self._total_max:
            raise busy(f"Requests in progress hold {self.held} bytes already (RESCIND_BODIES_MAX); retry in a moment.")
        self.held += size

    def _require_size(self, size: int) -> None:
        if size > self._body_max:
            raise Problem(Kind.TOO_LARGE, f"The body is larger than {self._body_max} bytes (RESCIND_BODY_MAX).")


BODIES: web.AppKey[Bodies] = web.AppKey("bodies", Bodies)
