"""What a writer of the ledger does about each kind of fault."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from app.core.commands import RecordEvents
from app.engine import writer as writers
from app.engine.committed import Committed
from app.engine.request import Request
from app.engine.writer import TRIES, UnforeseenPauseError, Writer
from app.store import Changes, StoreConflict, StoreContention, StoreError, StoreFenced, StoreOutdated, StoreUnavailable

NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Committer:
    """A ledger whose commits fail as told: for each, the error that it raises."""

    def __init__(self, *faults: Exception, always: dict[str, Exception] | None = None) -> None:
        self.faults, self.always = list(faults), always or {}
        self.commits: list[list[str]] = []
        self.reloads = 0

    async def commit(self, requests: list[Request[Any]]) -> Committed:
        orders = [request.commands[0].order for request in requests]
        self.commits.append(orders)
        if self.faults:
            raise self.faults.pop(0)
        for order in orders:
            if order in self.always:
                raise self.always[order]
        return Committed.of(Changes())

    async def reload(self) -> None:
        self.reloads += 1
        if self.reloads == 1:
            raise StoreUnavailable("once")

    def done(self, requests: Sequence[Request[Any]], committed: Committed) -> None:  # noqa: ARG002 - of the protocol
        for request in requests:
            request._result = "done"
            request.complete()

    def turn_away(self, requests: Sequence[Request[Any]], error: StoreError) -> None:
        for request in requests:
            request.fail(error)


async def outcomes(committer: Committer, orders: str, **flags: bool) -> dict[str, str]:
    """What each request, named by a letter, came to."""
    writer, futures = Writer(committer), dict[str, asyncio.Future[Any]]()
    for order in orders:
        futures[order] = asyncio.get_running_loop().create_future()
        commands = [RecordEvents("acme", order, NOW, ())]
        writer.add(Request(commands, None, futures[order], uses_limits=flags.get(order, False)))  # type: ignore[arg-type]
    writer.close()
    await writer.run(lambda: None)
    answers = await asyncio.gather(*futures.values(), return_exceptions=True)
    return {order: getattr(answer, "args", [answer])[0] for order, answer in zip(orders, answers, strict=True)}


class SlowCommitter(Committer):
    """Commits end when told."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.may_end = asyncio.Event(), asyncio.Event()

    async def commit(self, requests: list[Request[Any]]) -> Committed:
        self.began.set()
        await self.may_end.wait()
        return await super().commit(requests)


async def test_a_writer_has_an_order_until_all_requests_about_it_are_recorded() -> None:
    committer = SlowCommitter()
    writer = Writer(committer)
    done = [asyncio.get_running_loop().create_future() for _ in range(3)]
    first, second, other = (Request([], None, future, order=key) for future, key in zip(done, (7, 7, 8), strict=True))  # type: ignore[arg-type]
    running = asyncio.create_task(writer.run(lambda: None))
    writer.add(first)
    await committer.began.wait()
    done[0].cancel()  # its caller gave up, and it is recorded all the same
    assert writer.has(7)
    assert not writer.has(8)
    writer.add(second)
    writer.add(other)
    committer.may_end.set()
    writer.close()
    await running
    assert not writer.has(7)
    assert not writer.has(8)


async def test_a_writer_that_turns_all_away_has_no_order_any_more() -> None:
    committer = Committer()
    writer, loop = Writer(committer), asyncio.get_running_loop()
    for key in (7, 8, 8):
        writer.add(Request([], None, loop.create_future(), order=key, alone=True))  # type: ignore[arg-type]
    committer.commit = partial(_fail, StoreUnavailable("gone"))  # type: ignore[method-assign]
    writer.close()
    await writer.run(lambda: None)
    assert not writer.has(7)
    assert not writer.has(8)


async def _fail(error: Exception, _requests: list[Request[Any]]) -> Committed:
    raise error


async def test_a_writer_is_full_with_many_requests_or_a_commit_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    committer = SlowCommitter()
    writer, loop = Writer(committer), asyncio.get_running_loop()
    for _ in range(writers.QUEUE_FULL):
        assert not writer.is_full
        writer.add(Request([], None, loop.create_future()))  # type: ignore[arg-type]
    assert writer.is_full
    running = asyncio.create_task(writer.run(lambda: None))
    monkeypatch.setattr(writers, "SLOW_S", 1e9)
    await committer.began.wait()
    assert not writer.is_full
    monkeypatch.setattr(writers, "SLOW_S", -1.0)
    assert writer.is_full
    committer.may_end.set()
    writer.close()
    await running
    assert not writer.is_full


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writers, "BACKOFF_S", 0.0)


async def test_who_was_in_the_way_once_is_tried_again_with_the_others() -> None:
    committer = Committer(StoreContention("40001"), StoreContention("again"))
    assert set((await outcomes(committer, "abcd")).values()) == {"done"}
    assert committer.commits == [list("abcd")] * 3


async def test_who_is_always_in_the_way_is_found_by_halves_and_turned_away_alone() -> None:
    committer = Committer(always={"c": StoreContention("deadlock")})
    assert await outcomes(committer, "abcd") == dict.fromkeys("abd", "done") | {"c": "deadlock"}
    assert committer.commits[:5] == [list("abcd")] * 3 + [["a", "b"], ["c", "d"]]
    assert committer.commits.count(["c"]) <= TRIES


async def test_many_who_are_in_each_other_s_way_are_all_turned_away_in_the_end() -> None:
    orders = "".join(chr(0x100 + number) for number in range(200))
    committer = Committer(always={order: StoreContention("no") for order in orders})
    assert set((await outcomes(committer, orders)).values()) == {"no"}


async def test_an_outdated_configuration_is_loaded_and_the_same_is_decided_again() -> None:
    committer = Committer(StoreOutdated("1"), StoreOutdated("1"))
    assert set((await outcomes(committer, "ab")).values()) == {"done"}
    assert (committer.reloads, committer.commits) == (2, [["a", "b"]] * 3)


async def test_a_configuration_that_cannot_be_loaded_turns_away_who_needs_it_and_ends_no_writer() -> None:
    committer, loads = Committer(always={"b": StoreOutdated("2 is in force")}), list[int]()

    async def reload() -> None:
        loads.append(1)
        raise ValueError("no key opens it")

    committer.reload = reload  # type: ignore[method-assign]
    assert await outcomes(committer, "abc") == {"a": "done", "b": "2 is in force", "c": "done"}
    assert 1 < len(loads) <= TRIES


async def test_a_pause_that_nobody_foresaw_is_decided_again_with_its_lock() -> None:
    committer, seen = Committer(UnforeseenPauseError()), list[bool]()
    commit = committer.commit

    async def noting(requests: list[Request[Any]]) -> Committed:
        seen.append(requests[0].pauses)
        return await commit(requests)

    committer.commit = noting  # type: ignore[method-assign]
    assert await outcomes(committer, "a") == {"a": "done"}
    assert seen == [False, True]


@pytest.mark.parametrize("error", [StoreFenced("ended"), StoreUnavailable("ended")])
async def test_a_store_that_cannot_work_turns_everybody_away(error: StoreError) -> None:
    committer = Committer(StoreConflict("one of them"), error)
    assert set((await outcomes(committer, "abcd")).values()) == {"ended"}
    assert committer.commits == [list("abcd"), ["a", "b"]]


async def test_one_s_fault_is_its_own() -> None:
    committer = Committer(always={"b": StoreConflict("bad")})
    assert await outcomes(committer, "abc") == {"a": "done", "b": "bad", "c": "done"}


async def test_what_uses_limits_shares_no_commit_with_what_does_not() -> None:
    committer = Committer()
    await outcomes(committer, "abcd", b=True, c=True)
    assert committer.commits == [["a"], ["b", "c"], ["d"]]
