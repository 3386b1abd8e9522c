"""One writer of the ledger: takes the requests that wait for it, several at a time, and has them committed.

What goes wrong says what is done about it. Contention and an outdated configuration are nobody's fault: the same
requests are tried again, at once, then after a moment, then in halves. A store that is unavailable turns everybody
away. Any other error is one request's, which halving finds.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from time import monotonic
from typing import Any, NamedTuple, Protocol

import structlog

from app.engine.committed import Committed
from app.engine.identity import RefusedCommandsError
from app.engine.request import Request, without_refused
from app.runtime import metrics
from app.store import StoreContention, StoreError, StoreFenced, StoreOutdated, StoreUnavailable

REQUESTS_MAX = 256
COMMANDS_MAX = 1024
"""No request joins a commit that has this many commands: all who wait with a large request wait for all of it."""
WHOLE_TRIES = 3
"""How often requests are tried together before they are tried in halves."""
TRIES = 12
"""How often a request is tried while the store is contended, before its caller is turned away."""
BACKOFF_S, BACKOFF_MAX_S = 0.005, 0.5
QUEUE_FULL = 32
"""How many requests wait for a writer before the next writer gets any: a commit costs as much as six requests in it."""
SLOW_S = 0.1
"""A commit that takes longer may wait for a lock: what comes now is not to wait for it too."""

log = structlog.get_logger()


class UnforeseenPauseError(Exception):
    """A commit pauses something, which others must not claim calls meanwhile: it is decided anew, with that lock."""


class Committer(Protocol):
    """What a writer needs of the ledger."""

    async def commit(self, requests: list[Request[Any]]) -> Committed:
        """Commit what they ask for, together."""

    async def reload(self) -> None:
        """Load the configuration anew."""

    def done(self, requests: Sequence[Request[Any]], committed: Committed) -> None:
        """Give the callers their results."""

    def turn_away(self, requests: Sequence[Request[Any]], error: StoreError) -> None:
        """Tell the callers that nothing of theirs was recorded."""


class _Part(NamedTuple):
    requests: list[Request[Any]]
    tries: int = 0


class Writer:
    """Records the requests of its queue in turn, for as long as `run` runs."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self.queue: deque[Request[Any]] = deque()
        self._filled = asyncio.Event()
        self._closed = False
        self.recording = 0
        """How many requests are being recorded."""
        self._began = 0.0
        self._orders = Counter[int]()
        """Key of an order → how many requests about it wait or are being recorded."""

    def add(self, request: Request[Any]) -> None:
        """Have a request recorded after those that wait."""
        self.queue.append(request)
        self._orders[request.order] += 1
        self._filled.set()

    def has(self, order: int) -> bool:
        """Whether requests about an order, given by its key, wait or are being recorded."""
        return order in self._orders

    @property
    def is_full(self) -> bool:
        """Whether another writer should be given what comes now."""
        is_slow = self.recording and monotonic() - self._began > SLOW_S
        return len(self.queue) >= QUEUE_FULL or bool(is_slow)

    def close(self) -> None:
        """`run` returns when the waiting requests have been recorded."""
        self._closed = True
        self._filled.set()

    async def run(self, on_turn: Callable[[], None]) -> None:
        """Serve until `close`; `on_turn` is called after each turn."""
        while True:
            if not self.queue:
                if self._closed:
                    return
                self._filled.clear()
                await self._filled.wait()
                continue
            requests = self._next()
            self.recording, self._began = len(requests), monotonic()
            await self._serve(requests)
            self.recording = 0
            self._leave(requests)
            on_turn()

    def _leave(self, requests: Iterable[Request[Any]]) -> None:
        for request in requests:
            self._orders[request.order] -= 1
            if not self._orders[request.order]:
                del self._orders[request.order]

    def _next(self) -> list[Request[Any]]:
        """The requests of the next commit: all that wait, up to a bound of requests and of commands."""
        queue, requests, commands = self.queue, list[Request[Any]](), 0
        while queue and len(requests) < REQUESTS_MAX and commands < COMMANDS_MAX:
            if requests and (queue[0].alone or requests[-1].alone or queue[0].uses_limits != requests[-1].uses_limits):
                break
            requests.append(queue.popleft())
            commands += len(requests[-1].commands)
        return requests

    async def _serve(self, requests: list[Request[Any]]) -> None:
        parts = [_Part(requests)]
        while parts:
            part = parts.pop()
            try:
                committed = await self._committer.commit(part.requests)
            except RefusedCommandsError as error:
                rest = without_refused(part.requests, error)
                parts += [_Part(rest, part.tries)] if rest else []
            except (StoreContention, StoreOutdated, UnforeseenPauseError) as error:
                metrics.CONTENTION.inc()
                parts += await self._again(part, error)
            except (StoreUnavailable, StoreFenced) as error:
                # No request's fault: tried one by one, each would wait as long for nothing.
                self._turn_all_away(part, parts, error)
                return
            except Exception as error:  # noqa: BLE001 - whatever it is, it goes to the caller
                if len(part.requests) == 1:
                    part.requests[0].fail(error)
                    continue
                # One request may have failed them all: halving finds it in few commits, and the others keep their turn.
                log.warning("commit_failed", requests=len(part.requests), error=repr(error))
                parts += _halves(part)
            else:
                self._committer.done(part.requests, committed)

    async def _again(self, part: _Part, error: Exception) -> list[_Part]:
        """What to try in place of a part that others were in the way of."""
        if isinstance(error, UnforeseenPauseError):
            for request in part.requests:
                request.pauses = True
            return [part]
        tries = part.tries + 1
        if tries >= TRIES:
            if len(part.requests) == 1:
                self._committer.turn_away(part.requests, StoreUnavailable(str(error)))
                return []
            return _halves(_Part(part.requests, WHOLE_TRIES))
        if isinstance(error, StoreOutdated):
            try:
                await self._committer.reload()
            except Exception as fault:  # noqa: BLE001 - the same is found again then, and tried as often
                log.warning("reload_failed", error=repr(fault))
        elif tries > 1:
            await asyncio.sleep(min(BACKOFF_S * 2**tries, BACKOFF_MAX_S) * random.random())  # noqa: S311 - jitter
        part = _Part(part.requests, tries)
        return _halves(part) if tries >= WHOLE_TRIES and len(part.requests) > 1 else [part]

    def _turn_all_away(self, part: _Part, parts: Sequence[_Part], error: StoreError) -> None:
        others = chain.from_iterable(other.requests for other in parts)
        self._committer.turn_away([*part.requests, *others, *self.queue], error)
        self._leave(self.queue)
        self.queue.clear()


def _halves(part: _Part) -> list[_Part]:
    """The second half and the first, which comes first off the end."""
    middle = len(part.requests) // 2
    if not middle:
        return [part]
    return [_Part(part.requests[middle:], part.tries), _Part(part.requests[:middle], part.tries)]
