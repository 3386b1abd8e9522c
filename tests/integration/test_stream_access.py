"""Who may read the stream of events, how many at a time, and what ends a stream."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import aiohttp
import pytest
from conftest import Start
from contract.store_cases import event, place
from providers import WAIT_S, Provider, until
from servers import ACCOUNT, Rescind, account_of, endpoint_of
from streams import no_tails, stream

from app.contract import Facts


async def test_a_key_that_is_revoked_ends_its_streams(rescind: Rescind) -> None:
    made = (await rescind.ask("POST", "/v1/keys", {"name": "tail", "scope": "read"})).json
    async with stream(rescind, key=made["key"]) as opened:
        await rescind.tell("order.processed", "o-1")
        await opened.take(1)
        assert (await rescind.ask("DELETE", f"/v1/keys/{made['id']}")).status == 204
        assert await opened.rest() == []
    # An expired key as well, and what was recorded since is not sent.
    key = (await rescind.ask("POST", "/v1/keys", {"name": "brief", "scope": "read", "accounts": [ACCOUNT]})).json
    assert (await rescind.ask("GET", "/v1/events/stream?account=bravo", key=key["key"])).status == 404
    async with stream(rescind, key=key["key"]) as opened:
        await rescind.ask("DELETE", f"/v1/keys/{key['id']}")
        await rescind.tell("order.processed", "o-2")
        assert len(await opened.rest()) <= 1


async def test_a_restricted_key_sees_its_accounts_only(rescind: Rescind, provider: Provider) -> None:
    await rescind.put("accounts", "bravo", account_of(provider.url))
    await rescind.put("endpoints", "bravo-in", endpoint_of("bravo"))
    made = await rescind.ask("POST", "/v1/keys", {"name": "theirs", "scope": "read", "accounts": ["bravo"]})
    async with stream(rescind, key=made.json["key"]) as opened:
        await rescind.tell("order.processed", "o-1")
        await rescind.tell("order.processed", "b-1", "bravo-in")
        await rescind.tell("order.processed", "o-2")
        await rescind.tell("order.processed", "b-2", "bravo-in")
        assert [row["order"] for row in await opened.take(2)] == ["b-1", "b-2"]


async def test_the_end_of_the_server_ends_the_streams(start: Start) -> None:
    rescind = await start()
    rescind._runner._shutdown_timeout = 3600  # it waits for what does not end by itself
    async with aiohttp.ClientSession() as session, stream(rescind, session=session) as opened:
        ending = asyncio.create_task(rescind.stop())
        async with asyncio.timeout(WAIT_S):
            assert await opened.rest() == []
            await ending


async def test_there_are_as_many_streams_as_the_settings_say(start: Start) -> None:
    rescind = await start(streams_max=3, streams_per_key=2)
    made = (await rescind.ask("POST", "/v1/keys", {"name": "tail", "scope": "read"})).json["key"]
    other = (await rescind.ask("POST", "/v1/keys", {"name": "other", "scope": "read"})).json["key"]
    async with aiohttp.ClientSession() as session:
        async with stream(rescind, key=made, session=session), stream(rescind, key=made, session=session):
            refused = await rescind.ask("GET", "/v1/events/stream", key=made)
            assert refused.problem(429, "too-many-requests")
            assert int(refused.headers["Retry-After"]) > 0
            async with stream(rescind, key=other, session=session):
                (await rescind.ask("GET", "/v1/events/stream")).problem(503, "busy")
        await until(lambda: no_tails(rescind), "all streams closed")
        async with stream(rescind, key=made, session=session):
            pass


async def test_a_client_that_does_not_read_holds_no_more_than_a_piece(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it delay others; one that takes nothing for long is disconnected, and resumes without a gap."""
    timeout, writes, limit_s = asyncio.timeout, list[asyncio.Timeout](), 1234.5

    def noted(delay: float | None) -> asyncio.Timeout:
        made = timeout(delay)
        writes.extend([made] if delay == limit_s else [])
        return made

    monkeypatch.setattr("app.web.stream.WRITE_S", limit_s)
    monkeypatch.setattr(asyncio, "timeout", noted)
    large = Facts(attributes={"text": "x" * 200_000})
    async with stream(rescind) as opened:
        start = opened.id
    async with aiohttp.ClientSession(read_bufsize=1024) as session, stream(rescind, session=session) as slow:
        async with stream(rescind) as quick:
            for n in range(1, 81):
                await place(rescind.node.store, n, f"o-{n}", event(f"o-{n}", n, facts=large))
                rescind.node.log_feed.wake()
            assert len(await quick.take(80)) == 80
        for write in writes:
            with suppress(RuntimeError):  # it is over
                write.reschedule(0.0)
        await until(lambda: no_tails(rescind), "the slow one disconnected")
        with pytest.raises((aiohttp.ClientError, ConnectionError, AssertionError)):
            await slow.take(80)
        last = slow.id
    async with stream(rescind, "follow=false", last=last) as resumed:
        rest = [row["id"] for row in await resumed.rest()]
    async with stream(rescind, "follow=false", last=start) as whole:
        logged = [row["id"] for row in await whole.rest()]
    assert rest == logged[len(logged) - len(rest) :]
    assert len(logged) == 80
