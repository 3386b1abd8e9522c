"""Deliveries over the API: what was sent and what came of it, sending again, recovering, pulling."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from providers import WAIT_S, until
from servers import Rescind, execute_sql
from standardwebhooks import Webhook
from subscribers import Received, Subscriber

from app.core.outbound.examples import message
from app.core.outbound.message import Message, Target
from app.core.outbound.types import VERDICT_CHANGED
from app.runtime import ids
from app.store import Changes, Store
from app.web.pages import encode_cursor
from app.workers.deliveries.housekeeping import purge_removed

CRM = "/v1/subscriptions/crm"


async def create(rescind: Rescind, url: str | None = None, **body: Any) -> str:
    """Create the subscription `crm`; its secret."""
    given = {"id": "crm", **({"url": url} if url else {}), **body}
    reply = await rescind.ask("POST", "/v1/subscriptions", given)
    assert reply.status == 201, reply
    return str(reply.json["secret"])


async def write(
    rescind: Rescind, number: int = 1, type: str = VERDICT_CHANGED, ago: timedelta = timedelta()
) -> list[str]:
    """Write messages to `crm`, a millisecond apart and all due by now; their ids."""
    spec, messages = rescind.node.config.subscriptions["crm"], list[Message]()
    for count in range(number):
        at = datetime.now(UTC) - ago - timedelta(milliseconds=number - count)
        target = Target("crm", spec.ordered, spec.payload == "full")
        messages.append(message(ids.at(int(at.timestamp() * 1000)) + count, type, at, "acme", (target,)))
    async with rescind.node.store.transaction() as transaction:
        await transaction.commit(Changes(messages=messages))
    rescind.node.deliveries.wake(["crm"])
    return [ids.show(ids.MESSAGE, written.id) for written in messages]


async def delivery(rescind: Rescind, message: str, state: str) -> dict[str, Any]:
    """The delivery, once it is in that state."""

    async def look() -> dict[str, Any] | None:
        shown = await rescind.get(f"{CRM}/deliveries/{message}")
        return shown if shown["state"] == state else None

    return dict(await until(look, f"{message} {state}") or {})


async def fail(directory: Path, messages: list[str]) -> None:
    """Let these deliveries have failed."""
    sql = "UPDATE deliveries SET state = 'failed' WHERE message = $1"
    for id in messages:
        execute_sql(directory, sql, ids.read(ids.MESSAGE, id))


@pytest.fixture
async def receiver() -> Any:
    subscriber = await Subscriber.start()
    yield subscriber
    await subscriber.close()


async def test_a_delivery_shows_its_body_and_every_attempt(rescind: Rescind, receiver: Subscriber) -> None:
    statuses = [503, 200]
    receiver.respond = lambda _: statuses.pop(0)
    secret = await create(rescind, receiver.url, payload="full")
    [id] = await write(rescind)
    await receiver.wait_for(1)
    pending = await rescind.ask("POST", f"{CRM}/deliveries/{id}/resend")
    assert pending.status == 202
    shown = await delivery(rescind, id, "delivered")
    first, second = await receiver.wait_for(2)
    assert first.id == second.id == id
    assert Webhook(secret).verify(second.body, dict(second.headers)) == shown["body"], "byte for byte what was signed"
    assert "snapshot" in shown["body"]["data"]
    assert [attempt["status"] for attempt in shown["attempts"]] == [503, 200]
    assert all(attempt["duration_ms"] >= 0 for attempt in shown["attempts"])
    [row] = (await rescind.get(f"{CRM}/deliveries"))["data"]
    assert (row["message"], row["type"], row["account"], row["order"]) == (id, VERDICT_CHANGED, "acme", "PMO-1042")
    assert row["last_attempt"]["status"] == 200
    crm = (await rescind.get(CRM))["delivery"]
    assert (crm["state"], crm["failures"], crm["pending"]) == ("active", 0, 0)
    assert crm["last_success_at"]


async def test_deliveries_are_found_by_state_type_and_time_page_by_page(rescind: Rescind, tmp_path: Path) -> None:
    await create(rescind)
    old = await write(rescind, 2, "cancellation.succeeded", timedelta(hours=2))
    new = await write(rescind, 3)
    await fail(tmp_path, [old[0], new[0]])
    path = f"{CRM}/deliveries"
    rows = await rescind.pages(path, 2)
    assert [row["message"] for row in rows] == [*reversed(new), *reversed(old)]
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat().replace("+00:00", "Z")
    for query, expected in (
        ("state=failed", [new[0], old[0]]),
        ("type=cancellation.*", [old[1], old[0]]),
        ("type=cancellation.succeeded&state=pending", [old[1]]),
        ("type=cancellation", []),
        (f"since={since}&state=failed", [new[0]]),
        (f"until={since}", [old[1], old[0]]),
    ):
        found = await rescind.get(f"{path}?{query}")
        assert [row["message"] for row in found["data"]] == expected, query
        facets = await rescind.get(f"{path}/facets?{query}")
        assert (facets["total"], facets["complete"]) == (len(expected), True), query
        for field in ("state", "type", "account"):
            values = {facet["value"]: facet["count"] for facet in facets["facets"].get(field, ())}
            assert values == Counter(row[field] for row in found["data"] if row[field] is not None), query
    (await rescind.ask("GET", f"{path}?state=lost")).problem(422, "invalid-request")
    (await rescind.ask("GET", f"{path}/msg_0000000000000001")).problem(404, "not-found")
    for list_path in ("deliveries", "deliveries/facets"):
        (await rescind.ask("GET", f"/v1/subscriptions/none/{list_path}")).problem(404, "not-found")


async def test_recover_sends_what_failed_since_then_again_and_nothing_else(rescind: Rescind, tmp_path: Path) -> None:
    receiver = await Subscriber.start()
    await create(rescind, receiver.url, enabled=False)
    early = await write(rescind, 1, ago=timedelta(hours=3))
    late = await write(rescind, 4)
    await fail(tmp_path, [*early, *late[:3]])
    since = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    until_then = {"since": "2020-01-01T00:00:00Z", "until": since}
    assert (await rescind.ask("POST", f"{CRM}/recover", until_then)).json["recovered"] == 1
    await fail(tmp_path, early)
    reply = await rescind.ask("POST", f"{CRM}/recover", {"since": since})
    assert (reply.status, reply.json) == (
        202,
        {"recovered": 3, "remaining": 0, "has_more": False, "next_cursor": None},
    )
    states = {row["message"]: row["state"] for row in (await rescind.get(f"{CRM}/deliveries"))["data"]}
    assert states == {early[0]: "failed", **dict.fromkeys(late, "pending")}
    again = await rescind.ask("POST", f"{CRM}/recover", {"since": since})
    assert again.json["recovered"] == 0
    await rescind.ask("POST", f"{CRM}/deliveries/{early[0]}/resend")
    (await rescind.ask("POST", f"{CRM}/recover", {"since": since, "until": since})).problem(422, "invalid-request")
    assert receiver.received == [], "they are held"
    await rescind.ask("POST", f"{CRM}/enable")
    assert sorted(received.id for received in await receiver.wait_for(5)) == sorted([*early, *late])
    await receiver.close()


async def test_times_and_cursors_may_be_at_the_end_of_their_range(rescind: Rescind) -> None:
    await create(rescind)
    last = "9999-12-31T23:59:59Z"
    for query in (
        f"since={last}",
        f"until={last}",
        "since=0001-01-01T00:00:00Z",
        f"cursor={encode_cursor(1 - (1 << 63))}",
    ):
        assert (await rescind.get(f"{CRM}/deliveries?{query}"))["data"] == [], query
    body = {"since": "2020-01-01T00:00:00Z", "until": last, "cursor": (1 << 63) - 1}
    assert (await rescind.ask("POST", f"{CRM}/recover", body)).json["recovered"] == 0


async def test_recovery_works_in_slices_within_its_time(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    await create(rescind)
    failed = await write(rescind, 5)
    await fail(tmp_path, failed)
    monkeypatch.setattr("app.web.deliveries.RECOVERED_AT_ONCE", 2)
    ticks = iter([0.0, 0.0, 9.0, 9.0, 9.0, 18.0, 27.0, 27.0, 27.0])
    monkeypatch.setattr("app.web.deliveries.monotonic", lambda: next(ticks))
    body: dict[str, Any] = {"since": "2020-01-01T00:00:00Z"}
    left = []
    while True:
        result = (await rescind.ask("POST", f"{CRM}/recover", body)).json
        left.append((result["recovered"], result["remaining"]))
        if not result["has_more"]:
            break
        body["cursor"] = int(result["next_cursor"])
    assert left == [(2, 3), (2, 1), (1, 0)]


async def test_enabling_forgets_that_a_receiver_is_gone(rescind: Rescind, receiver: Subscriber) -> None:
    receiver.respond = lambda _: 410
    await create(rescind, receiver.url)
    [id] = await write(rescind)

    async def disabled() -> bool:
        return bool((await rescind.get(CRM))["delivery"]["state"] == "disabled")

    await until(disabled, "disabled by 410")
    shown = (await rescind.get(CRM))["delivery"]
    assert "410" in shown["reason"]
    assert (shown["pending"], shown["pending_complete"]) == (1, True)
    assert shown["since"]
    assert shown["oldest_pending_at"]
    receiver.respond = lambda _: 200
    assert (await rescind.ask("POST", f"{CRM}/enable")).json["delivery"]["state"] == "active"
    await delivery(rescind, id, "delivered")


async def pull(rescind: Rescind, **body: Any) -> list[Received]:
    reply = await rescind.ask("POST", f"{CRM}/pull", body)
    assert reply.status == 200, reply
    return [Received(row["id"], row["headers"], row["body"].encode()) for row in reply.json["data"]]


async def test_pulled_messages_are_signed_and_given_until_they_are_acknowledged(rescind: Rescind) -> None:
    secret = await create(rescind, payload="full")
    assert await pull(rescind) == []
    written = await write(rescind, 3)
    first = await pull(rescind, limit=2, visible_after_s=600)
    assert [received.id for received in first] == written[:2]
    for received in first:
        assert Webhook(secret).verify(received.body, dict(received.headers)) == msgspec.json.decode(received.body)
    assert [received.id for received in await pull(rescind, visible_after_s=1)] == written[2:]
    again = await pull(rescind, wait_s=30)
    assert [received.id for received in again] == written[2:], "nobody acknowledged it in time"
    ack = await rescind.ask("POST", f"{CRM}/ack", {"messages": written})
    assert ack.json == {"acknowledged": 3}
    assert (await rescind.ask("POST", f"{CRM}/ack", {"messages": written})).json == {"acknowledged": 0}
    assert (await rescind.get(CRM))["delivery"]["pending"] == 0


async def test_who_waits_gets_a_message_when_it_is_written(rescind: Rescind) -> None:
    await create(rescind)
    waiting = asyncio.create_task(pull(rescind, wait_s=30))

    async def arrived() -> bool:
        return "crm" in rescind.node.deliveries._arrivals

    await until(arrived, "the pull to wait")
    written = await write(rescind)
    assert [received.id for received in await waiting] == written


async def test_whose_key_is_revoked_while_it_waits_gets_nothing(rescind: Rescind) -> None:
    await create(rescind)
    key = (await rescind.ask("POST", "/v1/keys", {"name": "crm", "scope": "write"})).json
    waiting = asyncio.create_task(rescind.ask("POST", f"{CRM}/pull", {"wait_s": 30}, key=key["key"]))

    async def arrived() -> bool:
        return "crm" in rescind.node.deliveries._arrivals

    await until(arrived, "the pull to wait")
    assert (await rescind.ask("DELETE", f"/v1/keys/{key['id']}")).status == 204
    written = await write(rescind)
    (await waiting).problem(401, "unauthorized")
    assert [received.id for received in await pull(rescind)] == written, "nobody else has it"


async def test_who_is_gone_takes_no_message(rescind: Rescind) -> None:
    await create(rescind)
    waiting = asyncio.create_task(pull(rescind, wait_s=30))

    async def arrived() -> bool:
        return "crm" in rescind.node.deliveries._arrivals

    await until(arrived, "the pull to wait")
    connections = len(rescind.server._addresses)
    waiting.cancel()

    async def left() -> bool:
        return len(rescind.server._addresses) < connections

    await until(left, "the server has noticed")
    written = await write(rescind)
    assert [received.id for received in await pull(rescind, wait_s=10)] == written, "nobody else has it"


async def test_a_new_subscription_gets_nothing_of_a_former_one_of_its_id(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create(rescind)
    await write(rescind, 3)
    deleting = asyncio.Event()

    async def held(store: Store) -> None:
        await deleting.wait()
        await purge_removed(store)

    monkeypatch.setattr("app.workers.deliveries.manager.purge_removed", held)
    await rescind.ask("DELETE", CRM)
    await create(rescind)
    assert await pull(rescind) == [], "it waits until those are deleted"
    deleting.set()

    async def deleted() -> bool:
        return not rescind.node.deliveries.state("crm").purge_until

    await until(deleted, "the former deliveries are deleted")
    written = await write(rescind)
    assert [received.id for received in await pull(rescind, wait_s=10)] == written


async def test_waiting_ends_with_the_server_and_with_the_subscription(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.pulls.monotonic", lambda: 0.0)  # it does not end by itself
    await create(rescind)
    waiting = asyncio.create_task(rescind.ask("POST", f"{CRM}/pull", {"wait_s": 30}))

    async def arrived() -> bool:
        return "crm" in rescind.node.deliveries._arrivals

    await until(arrived, "the pull to wait")
    await rescind.ask("DELETE", CRM)
    (await waiting).problem(404, "not-found")
    await create(rescind)
    waiting = asyncio.create_task(rescind.ask("POST", f"{CRM}/pull", {"wait_s": 30}))
    await until(arrived, "the pull to wait")
    rescind._runner._shutdown_timeout = 3600
    async with asyncio.timeout(WAIT_S):  # else it waits for the request
        await rescind._runner.cleanup()
    await asyncio.gather(waiting, return_exceptions=True)


async def test_only_a_subscription_without_a_url_is_pulled(rescind: Rescind) -> None:
    await create(rescind, "https://crm.example/hooks")
    for verb, body in (("pull", {}), ("ack", {"messages": ["msg_0000000000000001"]})):
        (await rescind.ask("POST", f"{CRM}/{verb}", body)).problem(422, "invalid-request")
    await rescind.ask("DELETE", CRM)
    await create(rescind)
    (await rescind.ask("POST", f"{CRM}/ack", {"messages": ["nothing"]})).problem(422, "invalid-request")


async def test_a_subscription_that_expired_is_deleted_with_its_messages(rescind: Rescind) -> None:
    deliveries, an_hour = rescind.node.deliveries, timedelta(hours=1)
    await create(rescind, expires_at=(datetime.now(UTC) + an_hour).isoformat())
    await write(rescind)
    deliveries._look_s = 3600.0
    deliveries._clock = lambda: datetime.now(UTC) + an_hour - timedelta(seconds=0.3)
    deliveries._changed.set()

    async def gone() -> bool:
        return (await rescind.ask("GET", CRM)).status == 404

    await until(gone, "the end of the subscription")
