"""Errands: what a request needs of a subject that another node owns, asked of that node through the database.

An errand is a row; its owner finds it within a second, sooner if it is woken, and writes the answer beside it. Requests
and answers are JSON.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import msgspec
import structlog

from app.runtime.ids import Ids
from app.store import Store, StoreError
from app.store.node_protocol import Errand

LOOK_S = 0.1
"""How often the node that asked looks for the answer."""
WAKE = "errand:"
ANSWERED_MAX = 1000
ANSWER_S = 1.5
"""How long answers may take once all calls have ended, or were cut off."""
STOPPED = "the node stopped before the call had ended"

log = structlog.get_logger()

Serve = Callable[[str, Any], Awaitable[Any]]
"""Carries out an errand: (the subject's id, the request) → the answer."""


class ErrandFailedError(Exception):
    """The owner did not answer in time, or failed."""


class Errands:
    """Asks other nodes, and does what they ask."""

    def __init__(self, store: Store, ids: Ids, wake: Callable[[Iterable[str]], None]) -> None:
        """`wake` tells other nodes that there is something for them."""
        self._store, self._ids, self._wake = store, ids, wake
        self.kinds: dict[str, Serve] = {}
        """How each kind of errand is carried out."""
        self._serving: dict[int, asyncio.Task[None]] = {}
        self._answered: deque[int] = deque(maxlen=ANSWERED_MAX)
        """Those that were read before their answer was committed may come once more."""

    @property
    def alone(self) -> bool:
        """Whether there are no other nodes to ask."""
        return self._store.single_writer

    async def ask(self, subject: str, kind: str, request: Any, timeout_s: float) -> Any:
        """Ask the owner of a subject; returns its answer. Raises `ErrandFailedError`, `StoreError`."""
        id = self._ids.next()
        await self._store.ask(Errand(id, subject, kind, msgspec.json.encode(request).decode()))
        self._wake([WAKE + subject])
        try:
            async with asyncio.timeout(timeout_s):
                answers: dict[int, str] = {}
                while not answers:
                    await asyncio.sleep(LOOK_S)
                    answers = await self._store.answers([id])
        except TimeoutError as error:
            raise ErrandFailedError(f"the node that owns {subject} did not answer within {timeout_s:g} s") from error
        answer = msgspec.json.decode(answers[id])
        if "error" in answer:
            raise ErrandFailedError(answer["error"])
        return answer["answer"]

    def serve(self, errands: Iterable[Errand]) -> None:
        """Carry these out, each once."""
        for errand in errands:
            if errand.id not in self._serving and errand.id not in self._answered:
                task = asyncio.create_task(self._serve(errand), name=f"errand {errand.kind}")
                self._serving[errand.id] = task

    async def drain(self) -> None:
        """Let what is being carried out be answered, once nothing more is served; after `ANSWER_S` it is cut off.

        An errand without an answer is carried out again by the node that takes over: a call would be made twice. So
        what is cut off is answered, too, unless that takes `ANSWER_S` once more.
        """
        tasks = set(self._serving.values())
        for _ in range(2):
            if tasks:
                _, tasks = await asyncio.wait(tasks, timeout=ANSWER_S)
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, errand: Errand) -> None:
        id = errand.subject.partition(":")[2]
        try:
            serve = self.kinds[errand.kind]  # a later release may ask what this one does not know
            answer = {"answer": await serve(id, msgspec.json.decode(errand.request))}
        except asyncio.CancelledError:
            answer = {"error": STOPPED}  # its call was cut off: its outcome is unknown, and it is not repeated unseen
        except Exception as error:
            log.exception("errand_failed", kind=errand.kind, subject=errand.subject)
            answer = {"error": f"{type(error).__name__}: {error}"}
        try:
            await self._store.answer(errand.id, msgspec.json.encode(answer).decode())
            self._answered.append(errand.id)
        except StoreError as error:
            log.warning("errand_not_answered", kind=errand.kind, error=str(error))
        finally:
            self._serving.pop(errand.id, None)
