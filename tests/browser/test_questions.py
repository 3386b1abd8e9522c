"""What people ask first, answered from the start page in three clicks at most (a filled form counts as one)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import example_server
import pytest
import pytest_asyncio
from browsing import Visitor, chromium
from playwright.async_api import Browser, Locator, expect
from servers import ACCOUNT, account_of

pytestmark = pytest.mark.asyncio(loop_scope="module")
CLICKS_MAX = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def example(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[example_server.Example]:
    async with example_server.start(tmp_path_factory.mktemp("example")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


class Asker:
    """Someone on the start page, whose clicks are counted."""

    def __init__(self, visitor: Visitor) -> None:
        self.visitor, self.page, self.clicks = visitor, visitor.page, 0

    @classmethod
    async def come(cls, browser: Browser, url: str) -> Asker:
        visitor = await Visitor.come(browser, url)
        await visitor.sign_in()
        return cls(visitor)

    async def click(self, target: Locator) -> None:
        self.clicks += 1
        await target.click()

    async def link(self, name: str | re.Pattern[str]) -> None:
        await self.click(self.page.get_by_role("link", name=name, exact=isinstance(name, str)).first)

    async def button(self, name: str) -> None:
        await self.click(self.page.get_by_role("button", name=name, exact=True).first)

    async def search(self, text: str) -> None:
        self.clicks += 1
        await self.page.get_by_role("searchbox", name="Search").fill(text)
        await self.page.keyboard.press("Enter")

    async def is_answered(self, *texts: str) -> None:
        """What the page says, reached in time."""
        for text in texts:
            await expect(self.page.locator("main")).to_contain_text(text)
        assert self.clicks <= CLICKS_MAX
        assert not self.visitor.faults
        await self.visitor.leave()


@pytest_asyncio.fixture(loop_scope="module")
async def asker(example: example_server.Example, browser: Browser) -> Asker:
    return await Asker.come(browser, example.rescind.url)


async def test_why_was_an_order_not_canceled(asker: Asker) -> None:
    await asker.search("654337")
    await asker.is_answered("Cannot be canceled", "The order is scheduled or being worked on", "appointment.scheduled")


async def test_what_did_a_provider_send_at_some_time(asker: Asker) -> None:
    now = datetime.now(UTC)
    await asker.link("Receipts")
    await asker.page.get_by_label("Account").fill(ACCOUNT)
    await asker.page.get_by_label("From").fill(f"{now - timedelta(hours=1):%Y-%m-%dT%H:%M:%S}")
    await asker.page.get_by_label("Before").fill(f"{now + timedelta(hours=1):%Y-%m-%dT%H:%M:%S}")
    await asker.button("Filter")
    await asker.click(asker.page.locator("tbody th a").first)
    await asker.is_answered("Received", "Became")


async def test_which_orders_close_in_the_next_hour(asker: Asker) -> None:
    await asker.link(re.compile("windows? close"))
    await asker.is_answered("ord_0", "ord_1")


async def test_cancel_these(example: example_server.Example, asker: Asker) -> None:
    await asker.page.goto("/orders?account=shop&cancelable=yes")
    await asker.link(re.compile("Cancel these"))
    await asker.page.get_by_label("Reason").fill("mistake")
    await asker.button("Dry run")
    await expect(asker.page.locator("main")).to_contain_text("What would happen")
    chosen = await asker.page.locator("[data-chosen]").inner_text()
    assert int(chosen) > 1
    await asker.page.get_by_label("To confirm").fill(chosen)
    await asker.click(asker.page.locator("button.danger"))
    await asker.is_answered("batch")
    batches = (await example.rescind.get("/v1/cancellations?account=shop"))["data"]
    assert len(batches) == int(chosen)


async def test_what_would_a_policy_have_done(asker: Asker) -> None:
    await asker.link("Policies")
    await asker.link("unscheduled")
    async with asker.visitor.context.expect_page() as tab:
        await asker.button("Backtest in a new tab")
    asker.page = await tab.value
    await asker.is_answered("Would have canceled")


async def test_who_changed_an_account(example: example_server.Example, asker: Asker) -> None:
    await example.rescind.put("accounts", ACCOUNT, account_of(example.provider.url, deadline_h=24.0))
    await asker.link("Accounts")
    await asker.link(ACCOUNT)
    await asker.link(re.compile("who changed it|history"))
    await asker.is_answered("bootstrap", "update", "Difference")
