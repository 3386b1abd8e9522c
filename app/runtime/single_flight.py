"""Single flight: of equal calls that are due at once one is made, and all callers get its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Outcome = TypeVar("Outcome")


class Flight(Generic[Outcome]):
    """One call, and those who want its outcome."""

    def __init__(self) -> None:
        self.callers = 0
        self.outcomes: list[Outcome] = []
        """None yet, or one."""
        self._has_leader = False
        self._changed = asyncio.Event()

    async def outcome(self, make: Callable[[], Awaitable[Outcome]]) -> tuple[Outcome, bool]:
        """The outcome, and whether this caller made the call by `make`.

        A leader whose `make` raises, or that is canceled, leaves the call to the next caller.
        """
        while not self.outcomes:
            if self._has_leader:
                await self._changed.wait()
                continue
            self._has_leader = True
            self._changed.clear()
            try:
                self.outcomes.append(await make())
                return self.outcomes[0], True
            finally:
                self._has_leader = False
                self._changed.set()
        return self.outcomes[0], False


class SingleFlight(Generic[Outcome]):
    """The calls that are due, by key."""

    def __init__(self) -> None:
        self._flights: dict[str, Flight[Outcome]] = {}

    @contextmanager
    def join(self, key: str) -> Iterator[Flight[Outcome]]:
        """The flight of that key that has no outcome yet; a new one where there is none."""
        flight = self._flights.get(key)
        if flight is None or flight.outcomes:
            flight = self._flights[key] = Flight()
        flight.callers += 1
        try:
            yield flight
        finally:
            flight.callers -= 1
            if not flight.callers and self._flights.get(key) is flight:
                del self._flights[key]
