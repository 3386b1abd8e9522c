"""The tasks of one process, by name: begun in a context of their own, ended together, and noticed when they fail."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Coroutine
from contextvars import Context
from typing import Any

import structlog

log = structlog.get_logger()


class TaskSet(dict[str, "asyncio.Task[None]"]):
    """Name → task."""

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin a task."""
        # In a context of its own: what began with a request (its ids in log lines, its trace) ends with it.
        task = self[name] = asyncio.create_task(work, name=name, context=Context())
        task.add_done_callback(_note_failure)

    async def end(self, names: Collection[str]) -> None:
        """Cancel these tasks, and wait until they have ended."""
        tasks = [self.pop(name) for name in names if name in self]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def ended(self) -> list[str]:
        """The names of those that ended by themselves."""
        return [name for name, task in self.items() if task.done()]


def _note_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("worker_failed", worker=task.get_name(), exc_info=task.exception())
