"""An action on many in a real browser: what is chosen is counted as one chooses, and the number is typed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import example_server
import pytest
import pytest_asyncio
from browsing import Visitor, chromium
from playwright.async_api import Browser, expect
from servers import ACCOUNT

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def example(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[example_server.Example]:
    async with example_server.start(tmp_path_factory.mktemp("example")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.mark.parametrize("script", [True, False])
async def test_orders_are_chosen_counted_and_canceled(
    example: example_server.Example, browser: Browser, *, script: bool
) -> None:
    visitor = await Visitor.come(browser, example.rescind.url, script=script)
    page = visitor.page
    await visitor.sign_in()
    await visitor.open(f"/orders?account={ACCOUNT}&cancelable=yes")
    await page.get_by_role("link", name="Cancel these").click()
    await page.get_by_label("Reason").fill("client_requested_cancelation")
    await page.get_by_label("Note to the provider").fill("The client no longer wants it.")
    await page.get_by_role("button", name="Dry run").click()
    boxes = page.locator("input[name=selected]")
    number = await boxes.count()
    assert number > 2
    await page.get_by_label("To confirm").fill("999")
    await page.get_by_role("button", name="Cancel them").click()
    await expect(page.get_by_role("heading", name="Confirmation needed")).to_be_visible()
    visitor.faults.clear()  # The browser logs the 409.
    await page.get_by_role("link", name="back", exact=True).click()
    await expect(page.get_by_label("Reason")).to_have_value("client_requested_cancelation")
    await expect(boxes).to_have_count(number)
    if script:
        await page.get_by_label("Choose all").uncheck()
        await expect(page.locator("[data-chosen]")).to_have_text("0")
        await boxes.nth(0).check()
        await expect(page.locator("[data-chosen]")).to_have_text("1")
    else:
        for index in range(1, number):
            await boxes.nth(index).uncheck()
    await page.get_by_label("To confirm").fill("1")
    await page.get_by_role("button", name="Cancel them").click()
    await page.wait_for_url("**/batches/*")
    await expect(page.get_by_role("status").first).to_contain_text("1 order: 1 scheduled")
    if script:  # The page follows the batch by itself.
        await expect(page.locator("#progress")).to_contain_text("1 of 1 cancellations are final", timeout=60_000)
        assert not visitor.faults
    await visitor.leave()
