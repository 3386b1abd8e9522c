"""The stream of events: the log once and in order, whoever disconnects, restarts, reads slowly or loses its key."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import pytest
from conftest import Start
from processes import lasting_port
from providers import Provider, until
from servers import ACCOUNT, BOOTSTRAP_KEY, ENDPOINT, Rescind, Server, account_of, endpoint_of, execute_sql, webhook
from streams import no_tails, stream

from app.engine.backup import back_up, restore
from app.web import stream as stream_module
from app.workers import log_feed
from rescind_client import AsyncRescind, EventStream, StreamReset, models, problems
from rescind_client import Rescind as Client

TAILS = 10


async def log_of(rescind: Any, query: str = "") -> list[str]:
    """Ids of all events, oldest first."""
    rows = await rescind.pages(f"/v1/events{query}", 500)
    return [row["id"] for row in reversed(rows)]


async def tell_many(rescind: Any, number: int, first: int = 0, endpoint: str = ENDPOINT) -> None:
    """Webhooks about so many orders, several at once."""
    for start in range(first, first + number, 20):
        part = range(start, min(start + 20, first + number))
        replies = await asyncio.gather(*(rescind.hook(webhook("order.processed", f"o-{n}"), endpoint) for n in part))
        assert {reply.status for reply in replies} == {200}


async def test_tails_with_random_disconnects_see_the_log_once_and_in_order(
    start: Start, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    rescind = await start(streams_per_key=100)
    await rescind.put("accounts", ACCOUNT, account_of(provider.url))
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    # A ring that is smaller than what comes: tails fall behind it and read the log for themselves.
    monkeypatch.setattr(log_feed, "RING_MAX", 30)
    monkeypatch.setattr(log_feed, "BEHIND_PAGE", 7)
    total = 300
    async with stream(rescind) as opened:
        beginning = opened.id

    async def tail(seed: int) -> list[str]:
        chance, last, ids = random.Random(seed), beginning, []  # noqa: S311 - the same each time
        while len(ids) < total:
            async with aiohttp.ClientSession() as session, stream(rescind, last=last, session=session) as opened:
                part = await opened.take(min(chance.randint(1, 40), total - len(ids)))
                ids += [row["id"] for row in part]
                last = opened.id
            if chance.random() < 0.3:
                await asyncio.sleep(chance.random() * 0.05)
        return ids

    tails = [asyncio.create_task(tail(seed)) for seed in range(TAILS)]
    await tell_many(rescind, total)
    logged = await log_of(rescind)
    assert len(logged) == total
    for seen in await asyncio.gather(*tails):
        assert seen == logged
    await until(lambda: no_tails(rescind), "all streams closed")


async def test_a_stream_resumes_across_kills(
    tmp_path: Path, session: aiohttp.ClientSession, provider: Provider
) -> None:
    server = Server(tmp_path, session)
    await server.start()
    try:
        await server.put("accounts", ACCOUNT, account_of(provider.url))
        await server.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        ids, last = [], ""
        async with stream(server) as opened:
            last = opened.id
        for part in range(3):
            await tell_many(server, 15, part * 15)
            async with stream(server, last=last) as opened:
                ids += [row["id"] for row in await opened.take(10)]
                last = opened.id
                await server.kill()
            await server.start()
        async with stream(server, "follow=false", last=last) as opened:
            ids += [row["id"] for row in await opened.rest()]
        assert ids == await log_of(server)
        assert len(ids) == 45
    finally:
        await server.stop()


async def test_one_reader_reads_for_all(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    follow = rescind.node.store.follow

    async def counted(cursor: str, limit: int) -> Any:
        nonlocal reads
        reads += 1
        return await follow(cursor, limit)

    monkeypatch.setattr(rescind.node.store, "follow", counted)
    began = monotonic()
    async with aiohttp.ClientSession() as session:
        opened = [stream(rescind, session=session) for _ in range(TAILS)]
        tails = [await one.__aenter__() for one in opened]
        for n in range(20):
            await rescind.tell("order.processed", f"o-{n}")
        seen = await asyncio.gather(*(tail.take(20) for tail in tails))
        logged = await log_of(rescind)
        assert [[row["id"] for row in events] for events in seen] == [logged] * TAILS
        for one in opened:
            await one.__aexit__(None, None, None)
    # Each tail would take one read for each event; the shared reader takes one for each at most, and its looks.
    looks = (monotonic() - began) / log_feed.LOOK_S + 1
    assert reads <= 40 + looks, (reads, looks)


async def test_filters(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", "bravo", account_of(provider.url))
    await rescind.put("endpoints", "bravo-in", endpoint_of("bravo"))
    async with stream(rescind) as opened:
        start = opened.id
    await rescind.tell("order.processed", "o-1", attributes={"note": "Größe XL"})
    receipt = await rescind.tell("order.processed", "o-2")
    await rescind.tell("order.processed", "b-1", "bravo-in")
    await rescind.ask("POST", "/v1/pause", {"account": "bravo"})
    await rescind.ask("POST", f"/v1/accounts/{ACCOUNT}/orders/o-1/tags", {"add": ["vip"]})

    async def found(query: str, **more: Any) -> list[tuple[str, str]]:
        async with stream(rescind, f"follow=false&{query}", last=start, **more) as opened:
            return [(row["account"], row["type"]) for row in await opened.rest()]

    everything = await found("")
    assert len(everything) == 5
    for query, wanted in (
        ("account=bravo", [pair for pair in everything if pair[0] == "bravo"]),
        ("type=*changed", [(ACCOUNT, "tags.changed")]),
        ("type=order", []),
        (f"receipt={receipt}", everything[1:2]),
        ("type=tags.*", [(ACCOUNT, "tags.changed")]),
        ("type=tags.changed,sending.*", [pair for pair in everything if pair[1].startswith(("tags.", "sending."))]),
        ("source=operator", [pair for pair in everything if pair[1].startswith(("tags.", "sending."))]),
        (f"account={ACCOUNT}&order=o-1", [*[pair for pair in everything if pair[0] == ACCOUNT][:1], everything[-1]]),
        ("text=VIP", [(ACCOUNT, "tags.changed")]),
        ("since=2100-01-01T00:00:00Z", []),
        ("since=2000-01-01T00:00:00Z", everything),
    ):
        assert await found(query) == wanted, query
    for query, status in (
        ("account=nobody", 404),
        ("policy=nobody", 404),
        ("order=o-1", 422),
        ("type=a?b", 422),
        ("type=,", 422),
        ("source=nobody", 422),
        ("after=nonsense", 422),
        ("follow=maybe", 422),
        ("cursor=1", 422),
    ):
        assert (await rescind.ask("GET", f"/v1/events/stream?{query}")).status == status, query
    # What was filtered out is not read again: the id moves on.
    async with stream(rescind, "follow=false&text=nothing-like-it", last=start) as opened:
        assert await opened.rest() == []
        last = opened.id
    async with stream(rescind, "follow=false", last=last) as opened:
        assert await opened.rest() == []


async def test_a_type_of_decisions_finds_events_with_several(rescind: Rescind) -> None:
    words = {"reason": "client_requested_cancelation", "note": "By policy."}
    for id, when in (("p", "order.id == 'o-1'"), ("q", "order.id != ''"), ("r", "order.attributes.x > 1")):
        shadow = {"accounts": [ACCOUNT], "when": when, "cancel": words, "mode": "shadow"}
        await rescind.put("policies", id, shadow)
    async with stream(rescind) as opened:
        start = opened.id
    await rescind.tell("order.post_processing", "o-1")

    async def found(query: str) -> list[str]:
        async with stream(rescind, f"follow=false&{query}", last=start) as opened:
            return [row["type"] for row in await opened.rest()]

    joint = ["policy.decided"]
    for query in ("type=policy.decided", "type=policy.refrained", "type=policy.failed", "type=policy.failed&policy=r"):
        assert await found(query) == joint, query
        listed = await rescind.get(f"/v1/events?{query}")
        assert [row["type"] for row in listed["data"]] == joint, query
    for query in ("type=policy.acted", "type=policy.failed&policy=p"):
        assert await found(query) == (await rescind.get(f"/v1/events?{query}"))["data"] == [], query


async def test_an_order_is_followed_by_its_name_before_its_first_event_and_when_it_is_merged(rescind: Rescind) -> None:
    async with stream(rescind, f"account={ACCOUNT}&order=request:r-9") as opened:
        await rescind.tell("order.processed", "o-8")
        await rescind.tell("order.processed", "o-9", request_id="r-9")
        await rescind.tell("order.processed", "o-9")
        assert [row["order"] for row in await opened.take(2)] == ["o-9", "o-9"]


async def test_a_stream_is_kept_open_by_blocks_that_move_the_id_only(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.web.stream.HEARTBEAT_S", 0.0)
    async with stream(rescind, "text=nothing-like-it") as opened:
        before = opened.id
        await rescind.tell("order.processed", "o-1")
        frame = await opened.frame()
        while frame is not None and frame.id == before:
            frame = await opened.frame()
        assert frame is not None
        assert frame.data is None
        last = opened.id
    async with stream(rescind, "follow=false", last=last) as opened:
        assert await opened.rest() == []


async def test_what_was_erased_is_not_sent_any_more(rescind: Rescind) -> None:
    person = "Mx-Quibble"
    async with stream(rescind) as live:  # keeps the ring
        start = live.id
        body = webhook("order.delivered", "o-1", property={"location": {"street": f"1 {person} Street"}})
        assert (await rescind.hook(body)).status == 200
        assert person in str(await live.take(1))
        path = f"/v1/accounts/{ACCOUNT}/orders/o-1/erase"
        reply = await rescind.ask("POST", path, {"reason": "asked for"})
        assert reply.status < 300, reply
        async with stream(rescind, last=start) as later:
            [first] = await later.take(1)
        assert first["type"] == "order.delivered"
        assert person not in str(first)


async def test_what_was_read_before_an_erasure_is_not_sent_after_it(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = "Mx-Quibble"
    monkeypatch.setattr(stream_module, "PIECE_BYTES", 1)
    async with stream(rescind) as opened:
        start = opened.id
    for order in ("o-1", "o-2"):
        for n in range(4):
            street = {"location": {"street": f"1 {person} Street {n}"}}
            assert (await rescind.hook(webhook("order.delivered", order, property=street))).status == 200
    write, written = stream_module._Stream._write, 0

    async def written_slowly(self: Any, frames: bytes) -> None:
        nonlocal written
        await write(self, frames)
        written += 1
        if written == 3:  # After two events; the others were read with them.
            for order in ("o-1", "o-2"):
                path = f"/v1/accounts/{ACCOUNT}/orders/{order}/erase"
                assert (await rescind.ask("POST", path, {"reason": "asked for"})).status == 200

    monkeypatch.setattr(stream_module._Stream, "_write", written_slowly)
    async with stream(rescind, "follow=false", last=start) as opened:
        seen = await opened.rest()
    assert [row["id"] for row in seen] == await log_of(rescind), "each once, in order"
    assert [person in str(row) for row in seen] == [True, True, *[False] * (len(seen) - 2)]


async def test_after_pruning_a_stream_says_so(rescind: Rescind, tmp_path: Path) -> None:
    await tell_many(rescind, 1)
    async with stream(rescind, "follow=false") as opened:
        last = opened.id
    await tell_many(rescind, 4, 1)
    execute_sql(tmp_path, "UPDATE log_generations SET pruned_through = 3")
    async with stream(rescind, "follow=false", last=last) as opened:
        frame = await opened.frame()
        assert frame is not None
        assert (frame.event, frame.data["reason"]) == ("reset", "pruned")
        assert len(await opened.rest()) == 2


async def test_a_stream_since_a_time(rescind: Rescind) -> None:
    await tell_many(rescind, 10)
    rows = (await rescind.get("/v1/events?limit=20"))["data"]
    since = rows[3]["received_at"]
    wanted = {row["id"] for row in rows if row["received_at"] >= since}
    async with stream(rescind, f"follow=false&since={since}") as opened:
        assert {row["id"] for row in await opened.rest()} == wanted


@pytest.mark.sqlite_only("a backup of its file")
async def test_after_a_restore_a_stream_says_so_and_goes_on_with_what_is_new(start: Start, tmp_path: Path) -> None:
    rescind = await start()
    await rescind.put("accounts", ACCOUNT, {"provider": "planomatic", "config": {"api_key": "x" * 20}})
    await rescind.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    await tell_many(rescind, 3)
    database, options = tmp_path / "rescind.db", {"secret_key": "", "force": True, "tell": lambda *_: None}
    await asyncio.to_thread(back_up, database, tmp_path / "copy.db", **options)
    await tell_many(rescind, 3, 3)
    async with stream(rescind, "follow=false&since=2000-01-01T00:00:00Z") as opened:
        assert len(await opened.rest()) == 6
        last = opened.id
    await rescind.stop()
    await asyncio.to_thread(restore, tmp_path / "copy.db", database, **options)
    rescind = await start()
    await tell_many(rescind, 2, 10)
    async with stream(rescind, "follow=false", last=last) as opened:
        frame = await opened.frame()
        assert frame is not None
        assert (frame.event, frame.data["reason"]) == ("reset", "other_log")
        # Of what follows the backup nothing was seen: the pause by the restore, and what came then.
        types = [row["type"] for row in await opened.rest()]
        assert types == ["sending.paused", "order.processed", "order.processed"]
        last = opened.id
    async with stream(rescind, "follow=false", last=last) as opened:
        assert await opened.rest() == []


def take_ids(events: EventStream[models.Event], number: int) -> list[str]:
    return [next(events).id for _ in range(number)]


async def test_the_clients_go_on_after_a_restart(tmp_path: Path, session: aiohttp.ClientSession) -> None:
    server = Server(tmp_path, session)
    server.port = lasting_port()
    await server.start()
    try:
        await server.put("accounts", ACCOUNT, {"provider": "planomatic", "config": {"api_key": "x" * 20}})
        await server.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
        seen: list[str] = []
        with Client(server.url, BOOTSTRAP_KEY) as waiting:
            events = waiting.events.stream(since=datetime(2026, 1, 1, tzinfo=UTC))
            iteration = asyncio.create_task(asyncio.to_thread(take_ids, events, 20))
            async with AsyncRescind(server.url, BOOTSTRAP_KEY) as client:
                await tell_many(server, 10)
                stream_of = client.events.stream(since=datetime(2026, 1, 1, tzinfo=UTC), type="order.*")
                async for event in stream_of:
                    seen.append(event.id)
                    if len(seen) == 10:
                        await server.kill()
                        await server.start()
                        await tell_many(server, 10, 10)
                    if len(seen) == 20:
                        break
                await stream_of.aclose()
                resumed = client.events.stream(after=stream_of.cursor, follow=False)
                assert [event async for event in resumed] == []
            assert await iteration == seen == await log_of(server)
            events.close()
    finally:
        await server.stop()


async def test_a_client_is_told_of_another_log(rescind: Rescind) -> None:
    await tell_many(rescind, 2)
    async with AsyncRescind(rescind.url, BOOTSTRAP_KEY) as client:
        events = client.events.stream(after="0123456789abcdef.7", follow=False)
        with pytest.raises(StreamReset, match="other_log"):
            await anext(events)
        await tell_many(rescind, 2, 2)
        assert [event.order for event in [event async for event in events]] == ["o-2", "o-3"]
        with pytest.raises(problems.NotFound):
            await anext(client.events.stream(account="nobody"))
