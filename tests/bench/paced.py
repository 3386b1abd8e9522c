"""Requests at a steady rate, whether the server keeps up or not: each wait counts from when its request was due."""

from __future__ import annotations

import asyncio
from time import perf_counter

CONNECTIONS = 64


async def paced(port: int, requests: list[bytes], per_s: float) -> list[float]:
    """How many milliseconds each request waited, from when it was due; raises if one was not answered 200."""
    slots, began, waits = enumerate(requests), perf_counter(), list[float]()

    async def work() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for number, request in slots:
                due = began + number / per_s
                await asyncio.sleep(due - perf_counter())
                writer.write(request)
                await _answered(reader)
                waits.append((perf_counter() - due) * 1e3)
        finally:
            writer.close()

    await asyncio.gather(*(work() for _ in range(min(CONNECTIONS, len(requests)))))
    return waits


async def _answered(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    if not head.startswith(b"http/1.1 200"):
        raise RuntimeError(head)
    await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n", 1)[0]))
