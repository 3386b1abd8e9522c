"""What callers want recorded, and why it may not be."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, TypeVar

from app.core.commands import Command
from app.engine.commit import Commit
from app.engine.identity import RefusedCommandsError
from app.runtime import tracing

T = TypeVar("T")


class LedgerFullError(Exception):
    """Too many requests wait to be recorded; try again in a moment."""


class LedgerClosedError(Exception):
    """The process is ending; nothing more is recorded."""


class Request(Generic[T]):
    """What one caller wants recorded together. `T` is the type of its result."""

    __slots__ = ("_done", "_result", "_work", "alone", "commands", "order", "pauses", "trace", "uses_limits")

    def __init__(
        self,
        commands: Sequence[Command[Any]],
        work: Callable[[Commit], Awaitable[T]],
        done: asyncio.Future[T],
        *,
        order: int = 0,
        alone: bool = False,
        pauses: bool = False,
        uses_limits: bool = False,
    ) -> None:
        self.commands = commands
        self.order = order
        """The key of the order that it is about, or of the first; 0: of none."""
        self.alone = alone
        """It gets a commit of its own."""
        self.pauses = pauses
        """It pauses or resumes something."""
        self.uses_limits = uses_limits
        """Policies with limits may act on it: it shares a commit only with others of which that is true."""
        self.trace = tracing.traceparent() if tracing.on else None
        """The context of the trace that it belongs to."""
        self._work, self._done = work, done

    async def apply(self, commit: Commit) -> None:
        """Decide what it asks for, as a part of `commit`."""
        self._result = await self._work(commit)

    def complete(self) -> None:
        """Give the caller its result: the commit is on disk."""
        if not self._done.done():
            self._done.set_result(self._result)

    def fail(self, error: Exception) -> None:
        """Tell the caller that nothing of it was recorded."""
        if not self._done.done():
            self._done.set_exception(error)


def without_refused(requests: Sequence[Request[Any]], error: RefusedCommandsError) -> list[Request[Any]]:
    """The requests without those that have a refused command, which fail."""
    rest, start = [], 0
    for request in requests:
        end = start + len(request.commands)
        refused = next((error.refused[place] for place in range(start, end) if place in error.refused), None)
        if refused is None:
            rest.append(request)
        else:
            request.fail(refused)
        start = end
    return rest
