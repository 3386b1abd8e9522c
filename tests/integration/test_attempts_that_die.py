"""An attempt that dies of what nobody foresaw is noticed while we run; late answers pause and change nothing."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from providers import Provider, until
from servers import ACCOUNT, Rescind, account_of

from app.core.commands import FireTimer
from app.core.pauses import Pauses
from app.core.results import RecordResult
from app.store import StoreUnavailable
from app.workers import attempt
from app.workers.attempt import AttemptRunner
from app.workers.lane import Lane

pytestmark = pytest.mark.usefixtures("quick")


async def placed(rescind: Rescind, provider: Provider, *orders: str) -> None:
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)


def break_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, times: int = 1) -> None:
    """This method fails in a way that nobody foresaw."""
    whole, failures = getattr(owner, name), []

    def fails(*arguments: Any, **more: Any) -> Any:
        if len(failures) < times:
            failures.append(name)
            raise LookupError(name)
        return whole(*arguments, **more)

    monkeypatch.setattr(owner, name, fails)


async def test_an_attempt_that_dies_is_as_one_that_a_crash_ended(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    break_once(monkeypatch, AttemptRunner, "_note_outcome")
    done = await rescind.settled(await rescind.cancel("o-1"))
    assert (done["state"], await provider.effects("o-1")) == ("succeeded", 1)
    assert (await rescind.states("o-1"))[:3] == ["scheduled", "sending", "indeterminate"]
    assert len(await provider.calls()) == 1, "it is probed, and not sent again"
    first = next(each["attempt"] for each in await rescind.timeline("o-1") if each["kind"] == "attempt")
    assert (first["outcome"], bool(first["ended_at"])) == ("interrupted", True)
    assert (await rescind.settled(await rescind.cancel("o-2")))["state"] == "succeeded", "the lane goes on"
    assert not await rescind.node.store.unfinished_attempts()


async def test_a_lease_that_lapsed_is_acted_on_while_we_run(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even that the attempt died could be recorded."""
    await placed(rescind, provider, "o-1")
    monkeypatch.setattr(attempt, "LEASE_S", 0.0)
    break_once(monkeypatch, AttemptRunner, "_note_outcome")
    break_once(monkeypatch, AttemptRunner, "_record_death")
    gone = asyncio.Event()
    send = Lane._send

    async def sends(*arguments: Any) -> None:
        await send(*arguments)
        gone.set()

    monkeypatch.setattr(Lane, "_send", sends)
    rescind.later(timedelta(hours=-1))  # for the timers it has not lapsed yet
    id = await rescind.cancel("o-1")
    await gone.wait()
    assert (await rescind.cancellation(id))["state"] == "sending"
    rescind.later(timedelta())
    done = await rescind.settled(id)
    assert (done["state"], await provider.effects("o-1"), len(await provider.calls())) == ("succeeded", 1, 1)


async def test_a_call_that_takes_longer_than_its_lease_is_left_alone(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    await provider.hold(processed="after")
    id = await rescind.cancel("o-1")
    await provider.arrived(1)
    (lapsed,) = await rescind.node.store.lapsed_claims(rescind.node.timers._clock() + timedelta(hours=1), 9)
    assert lapsed[1:] == (ACCOUNT, "o-1")
    rescind.later(timedelta(hours=1))
    await rescind.node.timers._interrupt_lapsed(rescind.node.timers._clock())
    assert (await rescind.cancellation(id))["state"] == "sending"
    provider.release()
    assert (await rescind.settled(id))["state"] == "succeeded"
    assert await rescind.states("o-1") == ["scheduled", "sending", "succeeded"]


async def test_a_late_refusal_of_a_removed_key_pauses_nothing(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is replaced when the answer to a call that had the old one is already on its way to the log."""
    await placed(rescind, provider, "o-1")
    execute_all, waiting, go_on = rescind.node.ledger.execute_all, asyncio.Event(), asyncio.Event()

    async def held(commands: Any, **how: Any) -> Any:
        if any(isinstance(command, RecordResult) for command in commands) and not waiting.is_set():
            waiting.set()
            await go_on.wait()
        return await execute_all(commands, **how)

    monkeypatch.setattr(rescind.node.ledger, "execute_all", held)
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config={"api_key": "a-key-that-is-no-more"}))
    id = await rescind.cancel("o-1")
    await waiting.wait()
    await rescind.put("accounts", ACCOUNT, account_of(provider.url))
    go_on.set()
    assert (await rescind.settled(id))["state"] == "succeeded"
    lane = (await rescind.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
    assert lane["state"] == "idle"
    assert "sending.paused" not in [each["type"] for each in (await rescind.get("/v1/events"))["data"]]


async def test_a_pause_that_is_just_being_recorded_is_lifted_too(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await placed(rescind, provider, "o-1")
    ledger = rescind.node.ledger
    commit, committing, go_on = ledger._commit, asyncio.Event(), asyncio.Event()

    async def slow(requests: list[Any]) -> Any:
        refusal = any(isinstance(command, RecordResult) for request in requests for command in request.commands)
        answer = await commit(requests) if not refusal else None
        if refusal:
            before = Pauses(ledger.pauses)
            answer = await commit(requests)
            # On disk, and not known yet.
            after, ledger.pauses = ledger.pauses, before
            committing.set()
            await go_on.wait()
            ledger.pauses = after
        return answer

    monkeypatch.setattr(ledger, "_commit", slow)
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, config={"api_key": "a-key-that-is-no-more"}))
    id = await rescind.cancel("o-1")
    await committing.wait()
    putting = asyncio.create_task(rescind.put("accounts", ACCOUNT, account_of(provider.url)))
    await until(lambda: asyncio.sleep(0, ledger.waiting or putting.done()), "the question of what was decided")
    go_on.set()
    await putting
    assert (await rescind.settled(id))["state"] == "succeeded"


async def test_a_lane_goes_on_after_what_nobody_foresaw(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.workers.lane.UNABLE_WAIT_S", 0.01)
    break_once(monkeypatch, Lane, "_send_due")
    await placed(rescind, provider, "o-1")
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    assert rescind.node.healthy


async def test_an_order_on_which_timers_fail_holds_up_no_other(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})
    deadline = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    bad, good = await rescind.cancel("o-1", deadline=deadline), await rescind.cancel("o-2", deadline=deadline)
    decide = FireTimer.decide

    def fails(command: FireTimer, unit: Any) -> Any:
        if command.order == "o-1":
            raise LookupError(command.order)
        return decide(command, unit)

    monkeypatch.setattr(FireTimer, "decide", fails)
    rescind.later(timedelta(hours=2))
    assert (await rescind.settled(good))["state"] == "expired"
    assert (await rescind.cancellation(bad))["state"] == "scheduled"
    assert rescind.node.healthy


async def test_an_attempt_of_which_nothing_is_known_closes_no_breaker(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    await placed(rescind, provider, "o-1")
    rescind.node.lanes[ACCOUNT].gate.rate.breaker.reopen("the provider is down", time.monotonic())
    claim, open_at = AttemptRunner._claim, []

    async def fails_first(attempting: AttemptRunner, began_at: datetime) -> Any:
        open_at.append(attempting.gate.down)
        if len(open_at) == 1:
            raise StoreUnavailable("the disk is full")
        return await claim(attempting, began_at)

    monkeypatch.setattr(AttemptRunner, "_claim", fails_first)
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    assert open_at == [True, True]
    # The lane hears of the call after its result is recorded.
    gate = rescind.node.lanes[ACCOUNT].gate
    await until(lambda: asyncio.sleep(0, not gate.down), "the response to close the breaker")
