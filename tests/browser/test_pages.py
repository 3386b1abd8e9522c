"""Every page in a real browser: no errors, nothing that the content security policy refuses, readable by everyone."""

from __future__ import annotations

from collections.abc import AsyncIterator

import example_server
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from browsing import NARROW, WIDE, Theme, Visitor, chromium
from playwright.async_api import Browser, expect

from app.web.console.pages import PAGES

pytestmark = pytest.mark.asyncio(loop_scope="module")
SIZE_MAX = 200_000
SERIOUS = ("serious", "critical")
CUT = """[...document.querySelectorAll("table")].filter((table) => table.scrollWidth > innerWidth)
    .map((table) => table.getAttribute("aria-labelledby") || table.textContent.trim().slice(0, 60))"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def example(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[example_server.Example]:
    async with example_server.start(tmp_path_factory.mktemp("example")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def test_every_page_has_an_example(example: example_server.Example) -> None:
    assert set(example.paths) == {page.path for page in PAGES if page.method == "GET"}


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
async def test_every_page_is_readable(
    example: example_server.Example, browser: Browser, width: int, theme: Theme
) -> None:
    visitor = await Visitor.come(browser, example.rescind.url, width=width, theme=theme)
    await visitor.sign_in()
    axe, faults = Axe(), []
    for path in example.paths.values():
        response = await visitor.open(path)
        size = len(await response.body())
        if size > SIZE_MAX:
            faults.append(f"{path}: {size} bytes")
        faults += [f"{path}: {fault}" for fault in visitor.faults]
        visitor.faults.clear()
        if await visitor.page.locator("h1").count() != 1:
            faults.append(f"{path}: not one heading of the first level")
        # What is folded away must be readable too.
        await visitor.page.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        beyond = await visitor.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        if beyond > 0:
            faults.append(f"{path}: {beyond} pixels wider than the screen")
        if width == NARROW and (cut := await visitor.page.evaluate(CUT)):
            faults.append(f"{path}: tables are cut off: {cut}")
        found = await axe.run(visitor.page)
        faults += [
            f"{path}: {violation['id']}: {violation['help']}: {[node['html'][:150] for node in violation['nodes'][:3]]}"
            for violation in found.response["violations"]
            if violation["impact"] in SERIOUS
        ]
    await visitor.leave()
    assert not faults, "\n".join(faults)


async def test_a_key_that_only_reads_is_shown_no_form(example: example_server.Example, browser: Browser) -> None:
    made = (await example.rescind.ask("POST", "/v1/keys", {"name": "reader", "scope": "read"})).json
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in(made["key"])
    forms, refused = [], 0
    for path in example.paths.values():
        response = await visitor.page.goto(path)
        assert response is not None
        assert response.status in (200, 403), path
        refused += response.status == 403
        forms += [path] * await visitor.page.locator("main form[method=post]").count()
    assert not forms
    assert refused < len(example.paths) / 2, "what the key may see is shown"
    await visitor.leave()


async def test_every_page_works_without_scripts(example: example_server.Example, browser: Browser) -> None:
    visitor = await Visitor.come(browser, example.rescind.url, script=False)
    await visitor.sign_in()
    for path in example.paths.values():
        await visitor.open(path)
        assert (await visitor.page.inner_text("h1")).strip()
        # The navigation is there, if only after a click.
        assert (
            await visitor.page.get_by_role("link", name="Orders").count()
            or await visitor.page.locator("summary").count()
        )
    await visitor.leave()


async def test_keys_lead_to_search_and_pages(example: example_server.Example, browser: Browser) -> None:
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()
    await visitor.page.keyboard.press("g")
    await visitor.page.keyboard.press("o")
    await visitor.page.wait_for_url("**/orders")
    await visitor.page.keyboard.press("/")
    assert await visitor.page.evaluate("document.activeElement.id") == "search"
    await visitor.page.goto("/")
    await visitor.page.keyboard.press("Tab")
    assert await visitor.page.evaluate("document.activeElement.className") == "skip"
    await visitor.leave()


async def test_the_theme_that_was_chosen_stays(example: example_server.Example, browser: Browser) -> None:
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()

    async def ground() -> str:
        return str(await visitor.page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = await ground()
    await visitor.page.get_by_role("button", name="Light or dark").click()
    dark = await ground()
    assert dark != light
    await visitor.open("/orders")
    assert await ground() == dark
    await visitor.leave()


async def test_a_session_ends_in_the_browser(example: example_server.Example, browser: Browser) -> None:
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()
    await visitor.page.get_by_role("button", name="Sign out", exact=True).click()
    await visitor.page.wait_for_url("**/sign-in")
    await visitor.page.goto("/orders")
    assert "/sign-in" in visitor.page.url
    assert not await visitor.context.cookies()
    await visitor.leave()


async def test_rows_are_cards_on_a_narrow_screen(example: example_server.Example, browser: Browser) -> None:
    visitor = await Visitor.come(browser, example.rescind.url, width=NARROW)
    await visitor.sign_in()
    page = visitor.page
    await visitor.open("/bulk/approve?policy=unscheduled")
    await expect(page.locator("input[name=selected]").first).to_be_visible()
    label = "getComputedStyle(document.querySelector('tbody td:last-child'), '::before').content"
    assert await page.evaluate(label) == '"Says "'
    await visitor.open("/orders?phase=open")
    await expect(page.get_by_label("Phase")).to_be_hidden()
    await page.get_by_text("Filters 1 set").click()
    await expect(page.get_by_label("Phase")).to_be_visible()
    await visitor.leave()


async def test_what_was_opened_stays_open_when_a_page_follows(
    example: example_server.Example, browser: Browser
) -> None:
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()
    page = visitor.page
    await page.get_by_text("By command").first.click()
    await page.evaluate(
        """async () => {
            document.activeElement.blur();
            const part = document.getElementById("overview");
            part.firstElementChild.dataset.former = "";
            await refresh(part);
        }"""
    )
    await expect(page.locator("[data-former]")).to_have_count(0)
    await expect(page.locator("details p").first).to_be_visible()
    await visitor.leave()


async def test_the_slider_leads_to_its_moment(example: example_server.Example, browser: Browser) -> None:
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()
    await visitor.open(example.paths["/orders/{account}/{order}"])
    await visitor.page.locator("#step").click(position={"x": 3, "y": 8})
    await visitor.page.wait_for_url("**known_at=*")
    await expect(visitor.page.locator(".verdict")).to_contain_text("As of")
    await visitor.leave()
