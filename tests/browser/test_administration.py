"""What a person does on the pages of policies, endpoints and subscriptions, in a real browser."""

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
async def test_a_policy_is_written_tested_backtested_and_saved(
    example: example_server.Example, browser: Browser, script: bool
) -> None:
    visitor = await Visitor.come(browser, example.rescind.url, script=script)
    await visitor.sign_in()
    page = visitor.page
    await visitor.open("/policies/~new")
    name = f"written-{script}".lower()
    await page.get_by_label("Id (required)").fill(name)
    await page.get_by_label("Accounts (required)").fill("acme-lofts")
    await page.get_by_label("Condition (required)").fill("order.phase == 'open' &&\norder.pase == 'x'")
    await page.get_by_label("Reason of the cancel").fill("client_requested_cancelation")
    await page.get_by_label("Note of the cancel").fill("Not scheduled in time")
    await page.get_by_label("Account", exact=True).fill("acme-lofts")
    await page.get_by_label("Order", exact=True).fill("654303")
    await page.get_by_role("button", name="Test on this order").click()
    condition = page.get_by_label("Condition (required)")
    await expect(condition).to_have_attribute("aria-invalid", "true")
    place = str(await page.locator("pre.place").text_content())
    line, caret = place.split("\n")
    assert line[caret.index("^") :].startswith("pase")
    await condition.fill("order.phase == 'open'")
    await page.get_by_role("button", name="Test on this order").click()
    result = page.get_by_role("status").filter(has_text="On order 654303")
    await expect(result).to_contain_text("order.phase == 'open'")
    async with visitor.context.expect_page() as opened:
        await page.get_by_role("button", name="Backtest").click()
    report = await opened.value
    await report.wait_for_url("**/backtests/*")
    chart = report.locator("svg.chart")
    while not script and not await chart.count():
        await report.reload()
    await chart.wait_for()
    assert await report.locator("svg.chart rect").count() > 0
    # The editor keeps what stands in it.
    await expect(page.get_by_label("Condition (required)")).to_have_value("order.phase == 'open'")
    await page.get_by_role("button", name="Create").click()
    await page.wait_for_url(f"**/policies/{name}")
    await expect(page.locator(".notice")).to_contain_text("is created")
    assert visitor.faults == [fault for fault in visitor.faults if "422" in fault], visitor.faults
    await visitor.leave()


async def test_a_secret_is_gone_after_its_page(example: example_server.Example, browser: Browser) -> None:
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()
    page = visitor.page
    await visitor.open(f"/endpoints/~new?account={ACCOUNT}")
    await page.get_by_label("Id", exact=True).fill("from-the-form")
    await page.get_by_label("How requests are verified").select_option("token")
    await page.get_by_role("button", name="Create", exact=True).click()
    secret = str(await page.get_by_label("secret", exact=True).text_content())
    assert secret not in page.url
    await page.get_by_role("link", name="To the endpoint").click()
    await page.wait_for_url("**/endpoints/from-the-form")
    assert secret not in await page.content()
    await page.get_by_role("button", name="Test", exact=True).click()
    await expect(page.get_by_role("heading", name="The test succeeded")).to_be_visible()
    assert visitor.faults == []
    await visitor.leave()


async def test_the_page_of_an_account_leads_to_where_one_acts(
    example: example_server.Example, browser: Browser
) -> None:
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()
    await visitor.open(f"/accounts/{ACCOUNT}")
    await visitor.page.get_by_role("link", name="Fix and reprocess them").click()
    await visitor.page.wait_for_url(f"**/quarantine?account={ACCOUNT}")
    await visitor.page.get_by_role("link", name="Preview reprocessing all").click()
    await expect(visitor.page.locator("div.confirm")).to_contain_text("Correct the settings of their account first")
    await visitor.leave()
