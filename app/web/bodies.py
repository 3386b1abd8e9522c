"""The bodies of requests: read within a size, a time, and one budget for all that are held in memory at once."""

from __future__ import annotations

import asyncio

from aiohttp import web

from app.web.problems import Kind, Problem

RETRY_AFTER_S = 2
RETRY_AFTER = {"Retry-After": str(RETRY_AFTER_S)}


class Bodies:
    """Reads bodies, and counts them until their requests are answered: each is held while it waits for the disk."""

    def __init__(self, most: int, body_max: int, timeout_s: float) -> None:
        self._most, self._body_max, self._timeout_s = most, body_max, timeout_s
        self.held = 0
        """In bytes, as much as has come; what was only announced takes no room from others."""

    async def read(self, request: web.Request) -> bytes:
        """The body, which counts until `release` is called with its length.

        Raises `Problem` if it is too large (413), too slow (400), or there is no room for it (503).
        """
        self._require_size(request.content_length or 0)
        if request.content.is_eof():
            body = await request.read()  # it came with its headers
            self._take(len(body))
            return body
        return await self._gather(request)

    def release(self, size: int) -> None:
        """A body of that length is held no more."""
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
            raise

    def _take(self, size: int) -> None:
        if self.held + size > self._most:
            detail = f"{self.held} bytes of requests are held already (RESCIND_BODIES_MAX); come back in a moment."
            raise Problem(Kind.BUSY, detail, headers=RETRY_AFTER)
        self.held += size

    def _require_size(self, size: int) -> None:
        if size > self._body_max:
            raise Problem(Kind.TOO_LARGE, f"The body is larger than {self._body_max} bytes (RESCIND_BODY_MAX).")


BODIES: web.AppKey[Bodies] = web.AppKey("bodies", Bodies)
