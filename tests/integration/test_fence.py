"""What stops a cancel before it is sent: the fence (I3), deadlines, people, pauses. Everything waits visibly (I5)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from providers import RETRIEVE_PATH, Provider, until
from servers import ACCOUNT, Rescind, account_of

from app.contract import HttpResponse
from app.core import results
from app.core.cancellation import FINAL
from app.core.commands import ClaimJob
from app.core.lane.pacing import RetrySchedule
from app.core.results import RecordResult
from app.store import StoreError

pytestmark = pytest.mark.usefixtures("quick")


async def placed(rescind: Rescind, provider: Provider, *orders: str) -> None:
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)


def scope(account: str | None) -> dict[str, str]:
    return {"scope": "all"} if account is None else {"account": account}


async def pause(rescind: Rescind, account: str | None = None) -> None:
    assert (await rescind.ask("POST", "/v1/pause", {**scope(account), "reason": "test"})).status == 200


async def resume(rescind: Rescind, account: str | None = None) -> None:
    assert (await rescind.ask("POST", "/v1/resume", scope(account))).status == 200


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


# -- The fence ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", ["appointment.scheduled", "order.post_processing", "order.delivered", "order.canceled"]
)
async def test_a_closing_event_revokes_what_waits(rescind: Rescind, provider: Provider, event: str) -> None:
    await placed(rescind, provider, "o-1")
    await pause(rescind)
    id = await rescind.cancel("o-1")
    await rescind.tell(event, "o-1")
    done = await rescind.cancellation(id)
    assert done["state"] == "revoked"
    (evidence,) = done["evidence"]
    assert (await rescind.get(f"/v1/events/{evidence}"))["type"] == event
    await resume(rescind)
    (await rescind.request_cancel("o-1")).problem(409, "order-not-cancelable")
    assert await provider.calls(None) == []


async def test_the_verdict_is_taken_again_when_it_is_sent(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    await rescind.tell("order.processed", "o-1", status="scheduling")
    await pause(rescind)
    id = await rescind.cancel("o-1")
    # No event: only the rules of the account change, and with them what the same order may do.
    await rescind.put("accounts", ACCOUNT, account_of(provider.url, rules={"cancelable_statuses": ["ordered"]}))
    await resume(rescind)
    done = await rescind.settled(id)
    assert (done["state"], done["cause"]) == ("revoked", "window_closed")
    assert (await rescind.settled(await rescind.cancel("o-2")))["state"] == "succeeded"
    assert [each["order"] for each in await provider.calls()] == ["o-2"]


class Race:
    """Brings the claims of a lane and webhooks that close windows to the ledger in a chosen order."""

    def __init__(self, rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
        self._rescind, self._ledger = rescind, rescind.node.ledger
        self._execute_all, self._commit = self._ledger.execute_all, self._ledger._commit
        self._claiming, self._claim_let, self._committing, self._commit_let = (asyncio.Event() for _ in range(4))
        self._commit_let.set()
        self.commits: list[list[Any]] = []
        """The commands of each commit."""
        # Of several writers, one is to do it all: each commits by itself.
        monkeypatch.setattr(self._ledger, "_writer_of", lambda _commands: self._ledger._writers[0])
        monkeypatch.setattr(self._ledger, "execute_all", self._hold_claim)
        monkeypatch.setattr(self._ledger, "_commit", self._hold_commit)

    async def _hold_claim(self, commands: Any, **how: Any) -> Any:
        if any(isinstance(command, ClaimJob) for command in commands):
            self._claiming.set()
            await self._claim_let.wait()
        return await self._execute_all(commands, **how)

    async def _hold_commit(self, requests: list[Any]) -> Any:
        self.commits.append([command for request in requests for command in request.commands])
        self._committing.set()
        await self._commit_let.wait()
        return await self._commit(requests)

    async def run(self, order: str, winner: str, *, in_one_commit: bool) -> str:
        """Let `winner`, the claim or the closing event, come to the ledger first; returns the cancellation."""
        self._claiming.clear()
        self._claim_let.clear()
        id = await self._rescind.cancel(order)
        await self._claiming.wait()
        steps = [self._claim, self._close] if winner == "claim" else [self._close, self._claim]
        if not in_one_commit:
            for step in steps:
                await step(id, order)
            return id
        # While one commit is under way, what comes gathers for the next one.
        self._committing.clear()
        self._commit_let.clear()
        waiting = [asyncio.create_task(self._rescind.tell("order.processed", f"before-{order}"))]
        await self._committing.wait()
        for number, step in enumerate(steps, 1):
            waiting.append(asyncio.create_task(step(id, order)))
            await until(lambda number=number: asyncio.sleep(0, self._ledger.waiting >= number), "it in the queue")
        self._commit_let.set()
        await asyncio.gather(*waiting)
        (together,) = [
            each for each in self.commits if any(isinstance(one, ClaimJob) and one.order == order for one in each)
        ]
        assert [isinstance(each, ClaimJob) for each in together] == [step == self._claim for step in steps]
        return id

    async def _close(self, _: str, order: str) -> None:
        await self._rescind.tell("appointment.scheduled", order)

    async def _claim(self, id: str, _: str) -> None:
        self._claim_let.set()

        async def claimed() -> bool:
            return bool((await self._rescind.cancellation(id))["state"] != "scheduled")

        await until(claimed, "the claim")


async def test_no_claim_after_a_closing_event_in_the_log(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that closes the window races with the lane: each may come first, also within one commit."""
    first = {"early": "closing", "late": "claim", "together-1": "closing", "together-2": "claim"}
    await placed(rescind, provider, "before", *first)
    # Else the calls would have to connect, and an event that came in meanwhile would stop them too.
    monkeypatch.setattr(rescind.node._session.connector, "_keepalive_timeout", 3600)
    assert (await rescind.settled(await rescind.cancel("before")))["state"] == "succeeded"
    race = Race(rescind, monkeypatch)
    ids = {}
    for order, winner in first.items():
        ids[order] = await race.run(order, winner, in_one_commit=order.startswith("together"))
        # The result of its call would wait for the ledger among the next order's.
        await rescind.settled(ids[order])
    settled = {order: (await rescind.settled(id))["state"] for order, id in ids.items()}
    assert settled == {order: "revoked" if first[order] == "closing" else "succeeded" for order in first}
    called = [each["order"] for each in await provider.calls()]
    for order, winner in first.items():
        types = [each["event"]["type"] for each in await rescind.timeline(order) if each["kind"] == "event"]
        log = [
            each["type"] for each in reversed(await rescind.pages(f"/v1/events?account={ACCOUNT}&order={order}", 50))
        ]
        assert sorted(types) == sorted(log)
        closed = log.index("appointment.scheduled")
        assert "cancellation.sending" not in log[closed:], log
        assert called.count(order) == log.count("cancellation.sending") == (winner == "claim")


@pytest.mark.parametrize("out", [False, True], ids=["while a retry waits", "while a retry is out"])
async def test_retries_stop_when_the_window_closes(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch, out: bool
) -> None:
    await placed(rescind, provider, "o-1")
    monkeypatch.setattr(provider.simulator, "handle", lambda *_: HttpResponse(301))
    if out:
        await provider.fault("status", status=301)
        await provider.hold(processed="after")
    else:
        monkeypatch.setattr(results, "CANCEL_RETRIES", RetrySchedule(first_s=3600.0, cap_s=3600.0, attempts=30))
    sent = 2 if out else 1
    id = await rescind.cancel("o-1")
    await provider.arrived(sent)
    if not out:
        await rescind.settled(id, "scheduled")
    await rescind.tell("appointment.scheduled", "o-1")
    if out:
        provider.release()
    done = await rescind.settled(id)
    assert done["state"] == "revoked"
    starts = [each["attempt"]["started_at"] for each in await rescind.timeline("o-1") if each["kind"] == "attempt"]
    (closing,) = (await rescind.get(f"/v1/events?account={ACCOUNT}&order=o-1&type=appointment.scheduled"))["data"]
    closed = closing["received_at"]
    assert all(started <= closed for started in starts)
    assert len(await provider.calls()) == sent


# -- Deadlines and people ---------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [False, True], ids=["retrying", "paused"])
async def test_a_deadline_is_the_end(rescind: Rescind, provider: Provider, paused: bool) -> None:
    await placed(rescind, provider, "o-1")
    await provider.fault("status", status=429, headers={"Retry-After": "3600"}, times=100)
    if paused:
        await pause(rescind)
    id = await rescind.cancel("o-1", deadline=soon(3600))
    if not paused:
        await provider.arrived(1)
    known = await rescind.settled(id, "scheduled")
    assert known["attempts"] == (0 if paused else 1)
    rescind.later(timedelta(hours=1))
    done = await rescind.settled(id)
    assert (done["state"], done["cause"]) == ("expired", "deadline_passed")
    assert done["updated_at"] >= done["deadline"]
    assert (await rescind.order("o-1"))["cancellation"] is None
    assert len(await provider.calls()) == (0 if paused else 1)


@pytest.mark.parametrize(
    "deadline",
    ["2020-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "2026-01-01T00:00:00", "tomorrow", "", []],
)
async def test_deadlines_that_are_none(rescind: Rescind, provider: Provider, deadline: Any) -> None:
    await placed(rescind, provider, "o-1")
    (await rescind.request_cancel("o-1", deadline=deadline)).problem(422, "invalid-request")
    assert await rescind.states("o-1") == []


@pytest.mark.parametrize(
    "deadline", ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", "9999-12-31T23:59:59.9999999Z"]
)
async def test_a_deadline_at_the_end_of_time_harms_nobody(rescind: Rescind, provider: Provider, deadline: str) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    reply = await rescind.request_cancel("o-1", deadline=deadline)
    assert reply.status in (202, 422)
    assert (await rescind.settled(await rescind.cancel("o-2")))["state"] == "succeeded"
    assert (await rescind.ask("GET", "/readyz", key=None)).status == 200
    if reply.status == 202:
        assert (await rescind.settled(reply.json["id"]))["state"] == "succeeded"


async def test_revoke(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await pause(rescind)
    id = await rescind.cancel("o-1")
    revoked = await rescind.ask("POST", f"/v1/cancellations/{id}/revoke")
    assert (revoked.status, revoked.json["state"], revoked.json["final"]) == (200, "revoked", True)
    again = await rescind.ask("POST", f"/v1/cancellations/{id}/revoke")
    assert again.problem(409, "wrong-state")["cancellation"]["id"] == id
    await resume(rescind)
    assert (await rescind.settled(await rescind.cancel("o-1")))["state"] == "succeeded"
    assert len(await provider.calls()) == 1


async def test_what_is_out_cannot_be_revoked(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.hold()
    id = await rescind.cancel("o-1")
    await provider.arrived(1)
    (await rescind.ask("POST", f"/v1/cancellations/{id}/revoke")).problem(409, "wrong-state")
    provider.release()
    assert (await rescind.settled(id))["state"] == "succeeded"


@pytest.mark.parametrize(("outcome", "final"), [("succeeded", "succeeded"), ("refused", "refused")])
async def test_resolve(rescind: Rescind, provider: Provider, outcome: str, final: str) -> None:
    await placed(rescind, provider, "o-1")
    await provider.fault("reset_before")
    await provider.hold(path=RETRIEVE_PATH)
    id = await rescind.cancel("o-1")
    settle = {"outcome": outcome, "note": "I called them."}
    await rescind.settled(id, "indeterminate")
    reply = await rescind.ask("POST", f"/v1/cancellations/{id}/resolve", settle)
    assert (reply.status, reply.json["state"]) == (200, final)
    assert "I called them." in reply.json["detail"]
    (await rescind.ask("POST", f"/v1/cancellations/{id}/resolve", settle)).problem(409, "wrong-state")
    assert len(await provider.calls()) == 1


# -- Pauses ----------------------------------------------------------------------------------------


async def test_a_pause_of_one_account_stops_only_that_one(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    await rescind.put("accounts", "other", account_of(provider.url, unknown_orders="send"))
    await pause(rescind, ACCOUNT)
    id = await rescind.cancel("o-1")
    assert (await rescind.settled(await rescind.cancel("o-2", "other")))["state"] == "succeeded"
    waiting = (await rescind.cancellation(id))["waiting"]
    assert (waiting["for"], waiting["reason"]) == ("paused", "test")
    await rescind.tell("order.processed", "o-9")
    assert [each["order"] for each in await provider.calls()] == ["o-2"]
    await resume(rescind, ACCOUNT)
    assert (await rescind.settled(id))["state"] == "succeeded"


async def test_when_pause_has_returned_nothing_is_sent(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    store, looked, go_on = rescind.node.store, asyncio.Event(), asyncio.Event()
    jobs = store.jobs

    async def jobs_then_wait(*arguments: Any) -> Any:
        found = await jobs(*arguments)
        if found:
            looked.set()
            await go_on.wait()
        return found

    store.jobs = jobs_then_wait  # type: ignore[method-assign]
    id = await rescind.cancel("o-1")
    await looked.wait()
    await pause(rescind)
    go_on.set()
    for _ in range(20):
        # The lane runs on in the meantime, as far as it can.
        await rescind.get("/healthz", key=None)

    async def at_rest() -> bool:
        return not rescind.node.lanes[ACCOUNT]._calling

    await until(at_rest, "the lane to come to rest")
    assert (await rescind.cancellation(id))["state"] == "scheduled"
    assert await provider.calls() == []


# -- Nothing dangles (I5) ---------------------------------------------------------------------------


async def test_an_answer_that_could_not_be_recorded_is_not_forgotten(
    rescind: Rescind, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full for a moment, just when the provider answered."""
    await placed(rescind, provider, "o-1")
    execute_all, failures = rescind.node.ledger.execute_all, []

    async def fail_twice(commands: Any, **how: Any) -> Any:
        if (
            any(isinstance(command, RecordResult) and command.record.ended_at for command in commands)
            and len(failures) < 2
        ):
            failures.append(commands)
            raise StoreError("SQLite: database or disk is full")
        return await execute_all(commands, **how)

    monkeypatch.setattr(rescind.node.ledger, "execute_all", fail_twice)
    done = await rescind.settled(await rescind.cancel("o-1"))
    assert failures
    assert (done["state"], await provider.effects("o-1")) == ("succeeded", 1)


async def test_a_removed_account_leaves_nothing_dangling(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, "o-1")
    await provider.fault("reset_after")
    await provider.hold(path=RETRIEVE_PATH)
    id = await rescind.cancel("o-1")
    await rescind.settled(id, "indeterminate")
    assert (await rescind.ask("DELETE", "/v1/endpoints/acme-in")).status == 204
    reply = await rescind.ask("DELETE", f"/v1/accounts/{ACCOUNT}")
    if reply.status == 204:
        assert (await rescind.settled(id))["state"] == "failed"
    else:
        reply.problem(409, "resource-in-use")


async def test_whatever_waits_says_for_what_and_until_when(rescind: Rescind, provider: Provider) -> None:
    await placed(rescind, provider, *(f"o-{n}" for n in range(4)))
    await provider.fault("status", path=RETRIEVE_PATH, status=500, times=1000)
    await provider.fault("reset_after")
    await provider.hold()
    await provider.fault("status", status=429, headers={"Retry-After": "3600"}, times=5)
    for n in range(4):
        await rescind.cancel(f"o-{n}")
    await provider.arrived(3)
    shown = await rescind.pages("/v1/cancellations", 3)
    assert len(shown) == 4
    for each in shown:
        assert each["final"] == (each["state"] in FINAL)
        if not each["final"]:
            assert each["waiting"]["for"] not in ("", "nothing"), each
            assert each["waiting"]["until"], each
