"""The live tail in a real browser: what is recorded appears once, newest first, and waits while it is paused."""

from __future__ import annotations

from collections.abc import AsyncIterator

import example_server
import pytest
import pytest_asyncio
from browsing import Visitor, chromium
from playwright.async_api import Browser, expect

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def example(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[example_server.Example]:
    async with example_server.start(tmp_path_factory.mktemp("example")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def test_events_appear_as_they_are_recorded(example: example_server.Example, browser: Browser) -> None:
    visitor, rescind = await Visitor.come(browser, example.rescind.url), example.rescind
    page = visitor.page
    await visitor.sign_in()
    await visitor.open("/events?type=order.processed")
    before = await page.locator("#rows tr").count()
    await page.get_by_role("link", name="Follow live").click()
    await expect(page.locator("#tail-state")).to_have_text("live")
    await rescind.tell("order.processed", "tail-1", customer="<b>Ann</b>")
    await rescind.tell("appointment.scheduled", "tail-1")
    first = page.locator("#rows tr").first
    await expect(first).to_contain_text("tail-1")
    await expect(first).to_contain_text("order.processed")
    await expect(page.locator("#rows tr")).to_have_count(before + 1)
    # A row that came live is as the server makes it.
    live = await first.evaluate("row => [row.innerText, ...[...row.querySelectorAll('a')].map(link => link.href)]")
    await page.get_by_role("button", name="Pause").click()
    await rescind.tell("order.processed", "tail-2")
    await expect(page.get_by_role("button", name="Resume (1 waiting)")).to_be_visible()
    await expect(page.locator("#rows")).not_to_contain_text("tail-2")
    await page.get_by_role("button", name="Resume (1 waiting)").click()
    await expect(page.locator("#rows tr").first).to_contain_text("tail-2")
    await expect(page.locator("#tail-news")).to_contain_text("new event")
    await page.get_by_role("link", name="Stop").click()
    await page.wait_for_url(lambda url: "live" not in url)
    made = page.locator("#rows tr", has_text="tail-1")
    assert (
        await made.evaluate("row => [row.innerText, ...[...row.querySelectorAll('a')].map(link => link.href)]") == live
    )
    assert not visitor.faults
    await visitor.leave()


async def test_what_events_say_is_worded_as_the_server_words_it(
    example: example_server.Example, browser: Browser
) -> None:
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()
    await visitor.open("/events?limit=500")
    rows = visitor.page.locator("#rows tr")
    served = await rows.evaluate_all("rows => rows.map(row => [row.dataset.id, row.lastElementChild.innerText])")
    await visitor.open("/events?live=1")
    events = (await example.rescind.get("/v1/events?limit=50"))["data"]
    worded = await visitor.page.evaluate("events => events.map(event => [event.id, words(event)])", events)
    assert worded == served[: len(worded)]
    await visitor.leave()
