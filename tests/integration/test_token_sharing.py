"""Calls that several flows share: who makes the call when the first is canceled, or another waits for its place."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network

import pytest
from integration.test_token_flows import TOKEN_PATH, loop  # noqa: F401 - a fixture
from providers import Side, until

from app.contract import Flow, HttpRequest
from app.runtime.http_client import CallFailedError, Conversation, Permit, SharedCalls, converse, open_session

pytestmark = pytest.mark.usefixtures("quick")


def token_flow(url: str) -> Flow[str]:
    request = HttpRequest("POST", url, repeatable=True, confidential=True, shared="token")
    return (yield request).body.decode()


async def test_a_caller_that_is_canceled_leaves_the_call_to_those_who_wait(loop: Side) -> None:  # noqa: F811
    async with open_session((ip_network("127.0.0.0/8"),)) as session:
        shared, permits = SharedCalls(), list[int]()

        async def permit(_: HttpRequest) -> None:
            permits.append(1)

        def begin() -> asyncio.Task[str]:
            flow = token_flow(f"{loop.url}{TOKEN_PATH}")
            return asyncio.create_task(converse(flow, session, Conversation(), permit, shared=shared))

        await loop.hold(path=TOKEN_PATH)
        leader, *others = [begin() for _ in range(4)]
        await loop.arrived(1, TOKEN_PATH)
        leader.cancel()
        answers = await asyncio.gather(*others)
        loop.release(cut_off=True)
        assert len(set(answers)) == 1
        assert len(await loop.calls(TOKEN_PATH)) == 2, "the canceled one's, and one for all others"
        assert len(permits) == 4
        # One that fails is the failure of all.
        await loop.fault("reset_before", TOKEN_PATH)
        failures = await asyncio.gather(*[begin() for _ in range(4)], return_exceptions=True)
        assert {type(failure) for failure in failures} == {CallFailedError}
        assert len({id(failure) for failure in failures}) == 4
        assert len(await loop.calls(TOKEN_PATH)) == 3


async def test_who_has_a_place_makes_the_call_while_another_waits_for_one(loop: Side) -> None:  # noqa: F811
    async with open_session((ip_network("127.0.0.0/8"),)) as session:
        shared, freed = SharedCalls(), asyncio.Event()

        async def waits(_: HttpRequest) -> None:
            await freed.wait()

        async def passes(_: HttpRequest) -> None:
            pass

        def begin(permit: Permit) -> asyncio.Task[str]:
            flow = token_flow(f"{loop.url}{TOKEN_PATH}")
            return asyncio.create_task(converse(flow, session, Conversation(), permit, shared=shared))

        first = begin(waits)
        await asyncio.sleep(0)
        second = begin(passes)
        await until(lambda: asyncio.sleep(0, second.done()), "the call of the one that has a place")
        freed.set()
        assert await first == await second
        assert len(await loop.calls(TOKEN_PATH)) == 1
