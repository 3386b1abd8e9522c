"""Waking other nodes by NOTIFY, on a connection of its own: it saves time, and nothing depends on it.

NOTIFY takes a lock on the whole cluster when it commits, so it is never part of a transaction that writes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from hashlib import blake2b

import asyncpg

from app.store.node_protocol import EVERYTHING
from app.store.postgres.connection import CONNECT_S, Kind, Queries, close, connect
from app.store.postgres.errors import ERRORS

PAYLOAD_MAX = 7900
"""PostgreSQL's limit is 8,000 bytes."""
RECONNECT_S = 1.0
_CHECK_S = 20.0
"""A connection over which nothing comes is asked whether it still stands."""
_SEPARATOR = "\x1f"


class Waking(Queries):
    """The part of `Store` by which nodes wake each other."""

    notifies = True
    """Whether it is done at all; without it, nodes look each second."""
    _wake_line: asyncpg.Connection[asyncpg.Record] | None = None

    @property
    def _channel(self) -> str:
        return "rescind_" + blake2b(self._db.target.schema.encode(), digest_size=8).hexdigest()

    async def wake(self, subjects: Collection[str]) -> None:
        """See `NodeStore.wake`."""
        line = self._wake_line
        if line is None or line.is_closed() or not subjects:
            return
        payload = _SEPARATOR.join(sorted(subjects))
        if len(payload.encode()) > PAYLOAD_MAX:
            payload = EVERYTHING
        try:
            await line.execute("SELECT pg_notify($1, $2)", self._channel, payload, timeout=CONNECT_S)
        except ERRORS:
            line.terminate()  # `listen` opens another one

    async def listen(self) -> AsyncGenerator[frozenset[str], None]:
        """See `NodeStore.listen`."""
        said: asyncio.Queue[str | None] = asyncio.Queue()
        target = self._db.target

        def hear(_line: object, _pid: int, _channel: str, payload: object) -> None:
            said.put_nowait(str(payload))

        while self.notifies:
            try:
                line = await connect(target.direct_url or target.url, Kind.WRITES)
            except ERRORS:
                await asyncio.sleep(RECONNECT_S)
                continue
            try:
                line.add_termination_listener(lambda _line: said.put_nowait(None))
                await line.add_listener(self._channel, hear)
                self._db.watch(line)
                self._wake_line = line
                yield frozenset({EVERYTHING})
                while (subjects := await _heard(line, said)) is not None:
                    yield subjects
            except ERRORS:
                pass
            finally:
                self._wake_line = None
                await close(line)
            while not said.empty():
                said.get_nowait()
            await asyncio.sleep(RECONNECT_S)
        await asyncio.Event().wait()


async def _heard(line: asyncpg.Connection[asyncpg.Record], said: asyncio.Queue[str | None]) -> frozenset[str] | None:
    """What was said since the last call, together; None if the connection broke."""
    while True:
        try:
            async with asyncio.timeout(_CHECK_S):
                payloads = [await said.get()]
            break
        except TimeoutError:
            await line.execute("SELECT 1", timeout=CONNECT_S)
    while not said.empty():
        payloads.append(said.get_nowait())
    if None in payloads:
        return None
    return frozenset(subject for payload in payloads if payload for subject in payload.split(_SEPARATOR))
