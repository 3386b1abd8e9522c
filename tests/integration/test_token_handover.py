"""Tokens of an account that goes to another node: what a flow about its registrations came by is stored before that."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from conftest import Start
from integration.test_tokens import FIRST, SHOP, shop, shop_account  # noqa: F401 - a fixture
from providers import WAIT_S, Side

from app.contract import Context, Flow
from app.store import StoreUnavailable
from app.workers.rate_gate import HeldBackError
from handlers.generic.credentials import tokens_of

pytestmark = pytest.mark.usefixtures("quick")


def fetch_token(config: Any, context: Context) -> Flow[Any]:
    tokens = tokens_of(config)
    assert tokens is not None
    return tokens.get(context)


async def test_an_account_is_not_given_up_before_its_flows_have_ended(start: Start, shop: Side) -> None:  # noqa: F811
    rescind = await start()
    await rescind.put("accounts", SHOP, shop_account(shop))
    lane = rescind.node.lanes[SHOP]
    await shop.hold(path="/token")
    flow = asyncio.create_task(lane.converse(fetch_token))
    await shop.arrived(1, "/token")
    given_up = asyncio.create_task(lane.finish())
    for _ in range(10):
        await asyncio.sleep(0)
    assert not given_up.done()
    shop.release()
    await given_up
    assert await rescind.node.store.account_secrets(SHOP) is not None
    assert await flow == shop.simulator.good


async def test_no_flow_begins_when_an_account_has_been_given_up(
    start: Start,
    shop: Side,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rescind = await start()
    await rescind.put("accounts", SHOP, shop_account(shop))
    lane = rescind.node.lanes[SHOP]
    closing, go_on = asyncio.Event(), asyncio.Event()

    async def close() -> None:
        closing.set()
        await go_on.wait()

    monkeypatch.setattr(lane.gate.memory, "close", close)
    given_up = asyncio.create_task(lane.finish())
    await closing.wait()
    late = asyncio.create_task(lane.converse(fetch_token))
    await asyncio.wait([late])
    go_on.set()
    await given_up
    assert isinstance(late.exception(), HeldBackError)
    assert await shop.calls("/token") == []


async def test_a_token_that_could_not_be_stored_when_it_came_is_stored_when_its_lane_ends(
    start: Start,
    shop: Side,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for ends in (lambda lane: lane.finish(), lambda lane: lane.drain(WAIT_S)):
        rescind, shop.simulator.refresh = await start(), FIRST
        await rescind.put("accounts", SHOP, shop_account(shop))
        lane, store = rescind.node.lanes[SHOP], rescind.node.store

        async def refuse(*_: object) -> None:
            raise StoreUnavailable("the disk is full")

        with monkeypatch.context() as full:
            full.setattr(store, "save_account_secrets", refuse)
            assert await lane.converse(fetch_token) == shop.simulator.good
        assert await store.account_secrets(SHOP) is None
        await ends(lane)
        assert await store.account_secrets(SHOP) is not None
        await rescind.ask("DELETE", f"/v1/accounts/{SHOP}")
        await rescind.stop()
