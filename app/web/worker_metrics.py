"""`/metrics` of all workers behind one port: whichever responds asks the others, over private sockets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import aiohttp
from aiohttp import web

from app.runtime.http_server import EndingRunner

WAIT_S = 3.0
"""A worker that takes longer is shown as down."""
_HELP = "# HELP "
_UP = "rescind_worker_up"


class WorkerMetrics:
    """The metrics of one worker, for the others; and theirs."""

    def __init__(self, directory: Path, number: int, workers: int) -> None:
        self._directory, self._number, self._workers = directory, number, workers
        self._runner: web.AppRunner | None = None

    async def start(self, own: Callable[[], Awaitable[bytes]]) -> None:
        """Let the others ask for the page that `own` makes."""

        async def show(_request: web.Request) -> web.Response:
            return web.Response(body=await own())

        app = web.Application()
        app.router.add_get("/metrics", show)
        self._runner = EndingRunner(app, access_log=None)
        await self._runner.setup()
        path = self._path(self._number)
        path.unlink(missing_ok=True)  # of the worker that had this number before
        await web.UnixSite(self._runner, str(path)).start()

    async def stop(self) -> None:
        """Respond no more."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def page(self, own: bytes) -> bytes:
        """All pages in one, each series with the label `worker`."""
        others = [number for number in range(1, self._workers + 1) if number != self._number]
        fetched = await asyncio.gather(*map(self._fetch, others))
        pages = {self._number: own, **dict(zip(others, fetched, strict=True))}
        return await asyncio.to_thread(merge, pages)

    async def _fetch(self, number: int) -> bytes | None:
        limit = aiohttp.ClientTimeout(total=WAIT_S)
        connector = aiohttp.UnixConnector(str(self._path(number)))
        try:
            async with aiohttp.ClientSession(connector=connector, timeout=limit) as session:
                response = await session.get("http://worker/metrics")
                return await response.read() if response.ok else None
        except (aiohttp.ClientError, OSError, TimeoutError):
            return None

    def _path(self, number: int) -> Path:
        return self._directory / f"{number}.metrics"


def merge(pages: Mapping[int, bytes | None]) -> bytes:
    """One page of several in the text format: what is said of a metric once, and then the series of all.

    Args:
        pages: worker → its page; None: it did not respond.
    """
    heads: dict[str, list[str]] = {}
    series: dict[str, list[str]] = {}
    for number, page in sorted(pages.items()):
        for block in ("\n" + (page or b"").decode()).split("\n" + _HELP)[1:]:
            lines = block.rstrip("\n").split("\n")
            name = lines[0].partition(" ")[0]
            heads.setdefault(name, [_HELP + lines[0], *(line for line in lines[1:] if line.startswith("#"))])
            series.setdefault(name, []).extend(
                _labelled(line, number) for line in lines[1:] if line and not line.startswith("#")
            )
    merged = [line for name, head in heads.items() for line in (*head, *series[name])]
    merged += [f"{_HELP}{_UP} 1 if the worker behind this port responds, else 0.", f"# TYPE {_UP} gauge"]
    merged += [f'{_UP}{{worker="{number}"}} {float(page is not None)}' for number, page in sorted(pages.items())]
    return ("\n".join(merged) + "\n").encode()


def _labelled(line: str, worker: int) -> str:
    name, brace, rest = line.partition("{")
    if brace and " " not in name:
        return f'{name}{{worker="{worker}",{rest}'
    name, _, value = line.partition(" ")
    return f'{name}{{worker="{worker}"}} {value}'
