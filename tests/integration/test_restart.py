"""A new process takes up what the one before left, wherever that was interrupted (I1, I4, I5)."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from conftest import Start
from providers import CANCEL_PATH, PROVIDER_KEY, RETRIEVE_PATH, Provider, until
from servers import ACCOUNT, ENDPOINT, TOKEN, Rescind, Server, account_of, endpoint_of
from times import shift

from app.web import cancellations

pytestmark = pytest.mark.usefixtures("quick")


async def placed(rescind: Rescind, provider: Provider, *orders: str) -> None:
    await provider.create(*orders)
    for order in orders:
        await rescind.tell("order.processed", order)


async def test_orders_and_settings_are_as_they_were(rescind: Rescind, provider: Provider, start: Start) -> None:
    await placed(rescind, provider, "o-1")
    done = await rescind.settled(await rescind.cancel("o-1"))
    await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT, "reason": "holidays"})
    paths = [f"/v1/accounts/{ACCOUNT}/orders/o-1/timeline", f"/v1/endpoints/{ENDPOINT}", "/v1/events", "/v1/receipts"]
    before = [await rescind.get(path) for path in paths]
    await rescind.stop()
    again = await start()
    after = [await again.get(path) for path in paths]
    # The port is another one, and with it the URL of the endpoint.
    assert before[1].pop("url") != after[1].pop("url")
    assert after == before
    assert await again.cancellation(done["id"]) == done
    lane = (await again.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
    assert (lane["state"], lane["reason"]) == ("paused", "holidays")
    assert (await again.hook({"event": "order.processed", "order_id": "o-2"})).status == 200


async def test_what_was_scheduled_is_sent(rescind: Rescind, provider: Provider, start: Start) -> None:
    await placed(rescind, provider, "o-1", "o-2")
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    ids = [await rescind.cancel("o-1"), await rescind.cancel("o-2")]
    await rescind.stop()
    again = await start()
    assert [(await again.cancellation(id))["state"] for id in ids] == ["scheduled", "scheduled"]
    await again.ask("POST", "/v1/resume", {"scope": "all"})
    assert [(await again.settled(id))["state"] for id in ids] == ["succeeded", "succeeded"]
    assert len(await provider.calls()) == 2


@pytest.mark.parametrize("effect", ["before the end", "before the start", "at last"])
async def test_what_was_out_is_probed_before_anything_is_sent(
    rescind: Rescind, provider: Provider, start: Start, effect: str
) -> None:
    await placed(rescind, provider, "o-1")
    await provider.hold(processed="before" if effect == "before the end" else "after")
    id = await rescind.cancel("o-1")
    await provider.arrived(1)
    await rescind.stop()
    if effect == "before the start":
        provider.release()
        await until(lambda: provider.effects("o-1"), "the effect of the call that is out")
    again = await start()
    done = await again.settled(id)
    if effect != "before the start":
        provider.release()

    async def all_answered() -> bool:
        return all(each["status"] for each in await provider.calls(None))

    await until(all_answered, "an answer to each call")
    assert (done["state"], await provider.effects("o-1")) == ("succeeded", 1)
    states = await again.states("o-1")
    assert states[:3] == ["scheduled", "sending", "indeterminate"]
    paths = [each["path"] for each in await provider.calls(None)]
    assert paths[:2] == [CANCEL_PATH, RETRIEVE_PATH]
    assert (CANCEL_PATH, CANCEL_PATH) not in set(pairwise(paths))
    first = next(each["attempt"] for each in await again.timeline("o-1") if each["kind"] == "attempt")
    assert (first["outcome"], bool(first["ended_at"])) == ("interrupted", True)


async def test_what_was_indeterminate_is_probed(rescind: Rescind, provider: Provider, start: Start) -> None:
    await placed(rescind, provider, "o-1")
    await provider.fault("reset_after")
    await provider.fault("status", path=RETRIEVE_PATH, status=500)
    await provider.hold(path=RETRIEVE_PATH)
    id = await rescind.cancel("o-1")
    await provider.arrived(2, RETRIEVE_PATH)
    await rescind.stop()
    await provider.mend()
    again = await start()
    assert (await again.settled(id))["state"] == "succeeded"
    assert len(await provider.calls()) == 1


async def test_deadlines_pass_while_nobody_runs(
    rescind: Rescind, provider: Provider, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    await placed(rescind, provider, "o-1")
    await rescind.ask("POST", "/v1/pause", {"scope": "all"})
    # The process that took it lived an hour ago, and the deadline was half an hour ago.
    rescind.later(-timedelta(hours=1))
    shift(monkeypatch, -timedelta(hours=1), cancellations)
    deadline = datetime.now(UTC) - timedelta(minutes=30)
    id = await rescind.cancel("o-1", deadline=deadline.isoformat())
    assert (await rescind.cancellation(id))["state"] == "scheduled"
    await rescind.stop()
    again = await start()
    assert (await again.settled(id))["state"] == "expired"
    assert await provider.calls() == []


# -- As a process of its own --------------------------------------------------------------------------


def resources(provider: Provider, key: str = PROVIDER_KEY) -> bytes:
    """A resource file. JSON is YAML as well."""
    account = {"id": ACCOUNT, **account_of(provider.url, config={"api_key": key})}
    return msgspec.json.encode({"accounts": [account], "endpoints": [{"id": ENDPOINT, **endpoint_of(ACCOUNT)}]})


async def test_a_process_starts_serves_and_ends_in_order(
    tmp_path: Path, session: aiohttp.ClientSession, provider: Provider
) -> None:
    file = tmp_path / "rescind.yaml"
    file.write_bytes(resources(provider))
    server = Server(tmp_path, session, file)
    await server.start()
    await provider.create("o-1")
    await server.tell("order.processed", "o-1")
    assert (await server.settled(await server.cancel("o-1")))["state"] == "succeeded"
    assert await server.stop() == 0
    said = server.log.read_text()
    assert [msgspec.json.decode(line)["event"] for line in said.splitlines()][-2:] == ["stopping", "stopped"]
    for secret in (TOKEN, PROVIDER_KEY):
        assert secret not in said


async def test_new_credentials_in_the_file_lift_the_pause_that_the_old_ones_brought(
    tmp_path: Path, session: aiohttp.ClientSession, provider: Provider
) -> None:
    file = tmp_path / "rescind.yaml"
    file.write_bytes(resources(provider, "wrong-key-0123456789"))
    server = Server(tmp_path, session, file)
    await server.start()
    await provider.create("o-1")
    await server.tell("order.processed", "o-1")
    id = await server.cancel("o-1")

    async def paused() -> bool:
        return bool((await server.get(f"/v1/accounts/{ACCOUNT}"))["lane"]["state"] == "paused")

    await until(paused, "the pause")
    await server.stop()
    file.write_bytes(resources(provider))
    await server.start()
    try:
        assert (await server.settled(id))["state"] == "succeeded"
    finally:
        await server.stop()


def newer_schema(file: Path) -> None:
    with sqlite3.connect(file) as db:
        db.execute("PRAGMA user_version = 999")
    db.close()


def wrong_key(file: Path) -> None:
    Path(f"{file}.key").write_text("another-key-0123456789-0123456789-012345")


def no_database(file: Path) -> None:
    file.write_bytes(b"this is no database" * 1000)


@pytest.mark.sqlite_only("it spoils its file")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [(newer_schema, "later release"), (wrong_key, "RESCIND_SECRET_KEY"), (no_database, "not a database")],
)
async def test_a_database_that_cannot_be_served_ends_the_process_and_says_why(
    tmp_path: Path, session: aiohttp.ClientSession, provider: Provider, spoil: Callable[[Path], None], said: str
) -> None:
    file = tmp_path / "rescind.yaml"
    file.write_bytes(resources(provider))
    server = Server(tmp_path, session, file)
    await server.start()
    await server.stop()
    spoil(tmp_path / "rescind.db")
    assert await server.fails_to_start() != 0
    assert said in server.log.read_text()


@pytest.mark.sqlite_only("it has one process")
async def test_a_second_process_on_the_same_database_is_refused(
    tmp_path: Path, session: aiohttp.ClientSession, provider: Provider
) -> None:
    file = tmp_path / "rescind.yaml"
    file.write_bytes(resources(provider))
    first, second = Server(tmp_path, session, file), Server(tmp_path, session, file)
    await first.start()
    try:
        assert await second.fails_to_start() != 0
        assert f"pid {first.pid}" in second.log.read_text()
        assert (await first.get("/readyz"))["status"] == "ready"
    finally:
        await first.stop()


async def test_a_wait_that_a_provider_asked_for_outlives_the_process(
    rescind: Rescind, provider: Provider, start: Start
) -> None:
    await placed(rescind, provider, "o-1")
    await provider.fault("status", status=429, headers={"Retry-After": "3600"}, body={"code": 429, "status": "x"})
    id = await rescind.cancel("o-1")

    async def throttled(of: Rescind) -> Any:
        lane = (await of.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
        return lane["until"] if lane["state"] == "throttled" else None

    before = await until(lambda: throttled(rescind), "the lane to be throttled")
    await rescind.stop()
    again = await start()
    after = await until(lambda: throttled(again), "what the process before had been told")
    apart = datetime.fromisoformat(after) - datetime.fromisoformat(before)
    assert abs(apart) < timedelta(seconds=60), (before, after)
    assert len(await provider.calls()) == 1
    assert not (await again.cancellation(id))["final"]


async def test_a_learned_limit_and_an_open_breaker_outlive_the_process(rescind: Rescind, start: Start) -> None:
    rate = rescind.node.lanes[ACCOUNT].gate.rate
    await until(lambda: asyncio.sleep(0, rescind.node.lanes[ACCOUNT].gate.restored.is_set()), "the lane to be ready")
    rate.learn(7, 0.0)
    rate.breaker.reopen("nothing works", 0.0)
    rescind.node.lanes[ACCOUNT].gate.memory.note(rate)
    await rescind.stop()
    again = await start()

    async def known() -> Any:
        lane = (await again.get(f"/v1/accounts/{ACCOUNT}"))["lane"]
        return (lane["state"], lane["reason"], lane["limit"]) == ("breaker_open", "nothing works", 7)

    await until(known, "what the process before had learned")


async def test_nothing_is_kept_of_the_lane_of_an_account_that_was_removed(rescind: Rescind) -> None:
    lane = rescind.node.lanes[ACCOUNT]
    await until(lambda: asyncio.sleep(0, lane.gate.restored.is_set()), "the lane to be ready")
    for path in (f"/v1/endpoints/{ENDPOINT}", f"/v1/accounts/{ACCOUNT}"):
        assert (await rescind.ask("DELETE", path)).status == 204
    lane.gate.hold(3600.0)  # as by the answer to a call that was still out
    await lane.drain(0.0)
    assert await rescind.node.store.lane(ACCOUNT) is None
