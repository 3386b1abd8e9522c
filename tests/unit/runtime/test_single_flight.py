from __future__ import annotations

import asyncio

import pytest

from app.runtime.single_flight import SingleFlight

CALLERS = 5


class Call:
    """A call that ends when the test says so."""

    def __init__(self) -> None:
        self.made = 0
        self.begun = asyncio.Event()
        self.ends = asyncio.Event()
        self.fault: Exception | None = None

    async def make(self) -> int:
        self.made += 1
        self.begun.set()
        await self.ends.wait()
        if self.fault is not None:
            fault, self.fault = self.fault, None
            raise fault
        return self.made


async def ask(flights: SingleFlight[int], call: Call, key: str = "token") -> tuple[int, bool]:
    with flights.join(key) as flight:
        return await flight.outcome(call.make)


async def begin(flights: SingleFlight[int], call: Call) -> list[asyncio.Task[tuple[int, bool]]]:
    tasks = [asyncio.create_task(ask(flights, call)) for _ in range(CALLERS)]
    await call.begun.wait()
    for _ in range(CALLERS):
        await asyncio.sleep(0)
    return tasks


async def test_of_equal_calls_one_is_made_and_all_get_its_outcome() -> None:
    flights, call = SingleFlight[int](), Call()
    tasks = await begin(flights, call)
    call.ends.set()
    outcomes = await asyncio.gather(*tasks)
    assert outcomes == [(1, True)] + [(1, False)] * (CALLERS - 1)
    assert await ask(flights, call) == (2, True), "what ended is not used again"
    assert await ask(flights, call, "another") == (3, True)
    assert not flights._flights, "nothing is left behind"


async def test_a_leader_that_is_canceled_leaves_the_call_to_another() -> None:
    flights, call = SingleFlight[int](), Call()
    leader, *others = await begin(flights, call)
    leader.cancel()
    call.ends.set()
    outcomes = await asyncio.gather(*others)
    assert [outcome for outcome, _ in outcomes] == [2] * len(others)
    assert [led for _, led in outcomes].count(True) == 1
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert not flights._flights


async def test_a_leader_that_fails_leaves_the_call_to_another() -> None:
    flights, call = SingleFlight[int](), Call()
    call.fault = RuntimeError("held back")
    tasks = await begin(flights, call)
    call.ends.set()
    first, *others = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(first, RuntimeError)
    assert {outcome for outcome, _ in others} == {2}  # type: ignore[misc] - none of these is an exception


async def test_a_waiter_that_is_canceled_disturbs_nobody() -> None:
    flights, call = SingleFlight[int](), Call()
    leader, waiter, *others = await begin(flights, call)
    waiter.cancel()
    await asyncio.wait([waiter])
    call.ends.set()
    assert {outcome for outcome, _ in await asyncio.gather(leader, *others)} == {1}
    assert call.made == 1
