"""Notices of endpoints that fail or are silent: once per episode, across restarts and nodes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from conftest import Start
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of, execute_sql, webhook

from app.workers.endpoint_watch import FAILING_MIN, EndpointWatch


class Clock:
    """A clock that stands still until it is put forward."""

    def __init__(self) -> None:
        self.now = datetime.now(UTC)

    def __call__(self) -> datetime:
        return self.now


async def begin(start: Start, **more: Any) -> Rescind:
    rescind = await start()
    await rescind.put("accounts", ACCOUNT, account_of("https://api.example.com"))
    await rescind.put("endpoints", ENDPOINT, {**endpoint_of(ACCOUNT), **more})
    return rescind


def watch_of(rescind: Rescind, clock: Clock) -> EndpointWatch:
    node = rescind.node
    return EndpointWatch(node.store, node.ledger, node.config, node.traffic, clock)


async def refuse(rescind: Rescind, times: int) -> None:
    for _ in range(times):
        await rescind.hook({}, token="a-wrong-token")


async def notices(rescind: Rescind, type: str) -> list[dict[str, Any]]:
    return [event["data"] for event in (await rescind.get(f"/v1/events?type=endpoint.{type}"))["data"]]


async def findings(rescind: Rescind) -> list[str]:
    return [finding["code"] for finding in (await rescind.get("/v1/status"))["findings"]]


async def test_a_failing_endpoint_is_noticed_once_per_episode(start: Start) -> None:
    rescind, clock = await begin(start), Clock()
    watch = watch_of(rescind, clock)
    await refuse(rescind, FAILING_MIN - 1)
    await rescind.hook(webhook("order.processed", "1"))
    await refuse(rescind, FAILING_MIN - 1)
    await watch.look()
    assert await notices(rescind, "failing") == [], "an authentic request begins anew"
    await refuse(rescind, 1)
    await watch.look()
    await watch.look()
    await refuse(rescind, 3)
    await watch_of(rescind, clock).look()
    [notice] = await notices(rescind, "failing")
    assert (notice["endpoint"], notice["failures"]) == (ENDPOINT, FAILING_MIN)
    assert notice["cause"] == "Not accepted: the token is wrong."
    assert "endpoint_failing" in await findings(rescind)
    await rescind.stop()
    again = await start()
    await refuse(again, FAILING_MIN)
    await watch_of(again, clock).look()
    assert len(await notices(again, "failing")) == 1, "a restart is no new episode"
    await again.hook(webhook("order.processed", "2"))
    assert "endpoint_failing" not in await findings(again)
    await refuse(again, FAILING_MIN)
    await watch_of(again, clock).look()
    assert len(await notices(again, "failing")) == 2


async def test_a_notice_that_was_recorded_but_not_marked_is_not_recorded_again(start: Start, tmp_path: Path) -> None:
    rescind, clock = await begin(start), Clock()
    await refuse(rescind, FAILING_MIN)
    await watch_of(rescind, clock).look()
    async with rescind.node.store.transaction():
        execute_sql(tmp_path, "UPDATE endpoint_states SET failing_at = NULL")
    await watch_of(rescind, clock).look()
    assert len(await notices(rescind, "failing")) == 1
    [state] = await rescind.node.store.endpoint_states()
    assert state.failing_at is not None


async def test_disabled_and_overloaded_requests_are_no_failure_of_the_endpoint(start: Start) -> None:
    rescind, clock = await begin(start), Clock()
    await rescind.ask("POST", f"/v1/endpoints/{ENDPOINT}/disable")
    await refuse(rescind, FAILING_MIN + 1)
    await rescind.ask("POST", f"/v1/endpoints/{ENDPOINT}/enable")
    await watch_of(rescind, clock).look()
    assert await notices(rescind, "failing") == []


async def test_a_silent_endpoint_is_noticed_once_per_silence(start: Start) -> None:
    rescind, clock = await begin(start, silent_after="6h"), Clock()
    watch = watch_of(rescind, clock)
    clock.now += timedelta(hours=5, minutes=59)
    await watch.look()
    assert await notices(rescind, "silent") == []
    clock.now += timedelta(minutes=2)
    await watch.look()
    await watch.look()
    assert await notices(rescind, "silent") == [{"endpoint": ENDPOINT, "last_received_at": None}]
    assert "endpoint_silent" in await findings(rescind)
    await rescind.stop()
    rescind = await start()
    watch = watch_of(rescind, clock)
    clock.now += timedelta(hours=7)
    await watch.look()
    assert len(await notices(rescind, "silent")) == 1, "a restart is no new silence"
    await rescind.hook(webhook("order.processed", "1"))
    await rescind.hook(b"{}", token="a-wrong-token")
    assert "endpoint_silent" not in await findings(rescind)
    last = (await rescind.get(f"/v1/endpoints/{ENDPOINT}"))["traffic"]["last_received_at"]
    clock = Clock()
    watch = watch_of(rescind, clock)
    clock.now = datetime.fromisoformat(last) + timedelta(hours=6, minutes=1)
    await watch.look()
    assert [notice["last_received_at"] for notice in await notices(rescind, "silent")] == [last, None]


async def test_nothing_is_silent_right_after_a_start_or_while_it_is_disabled(start: Start) -> None:
    rescind, clock = await begin(start, silent_after="6h"), Clock()
    clock.now += timedelta(days=1)
    watch = watch_of(rescind, clock)
    await watch.look()
    assert await notices(rescind, "silent") == [], "while the server was away nothing could come"
    clock.now += timedelta(minutes=11)
    await rescind.ask("POST", f"/v1/endpoints/{ENDPOINT}/disable")
    await watch.look()
    assert await notices(rescind, "silent") == []
    for wrong in ("soon", "1s", "1000d"):
        body = {**endpoint_of(ACCOUNT), "silent_after": wrong}
        reply = await rescind.ask("PUT", f"/v1/endpoints/{ENDPOINT}", body)
        assert "1m to 90d" in reply.problem(422, "invalid-request")["detail"]
