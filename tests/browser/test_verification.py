"""How an endpoint verifies its requests, chosen in a real browser; and webhooks that are really signed so."""

from __future__ import annotations

import hmac
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator

import example_server
import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from browsing import NARROW, WIDE, Theme, Visitor, chromium
from playwright.async_api import Browser, Page, expect
from servers import ACCOUNT, Rescind, webhook

from app.web.console.verification import SCHEMES

pytestmark = pytest.mark.asyncio(loop_scope="module")
KEY = b"a key of the source"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def example(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[example_server.Example]:
    async with example_server.start(tmp_path_factory.mktemp("example")) as started:
        yield started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


async def signed(rescind: Rescind, endpoint: str, order: str, *, digest: str = "sha512") -> int:
    """The status of a webhook that is signed as the form said, by the book."""
    body, at = json.dumps(webhook("order.processed", order)).encode(), str(int(time.time() * 1000))
    message = f"v0:{at}:POST\n".encode() + body
    signature = "Signature " + b64encode(hmac.new(KEY, message, digest).digest()).decode()
    headers = {"X-Acme-Signature": signature, "X-Acme-Time": at, "Content-Type": "application/json"}
    url = f"{rescind.url}/webhooks/{endpoint}"
    async with rescind.session.post(url, data=body, headers=headers) as response:
        return response.status


async def fill(page: Page, secret: str) -> None:
    """Enter the options of a source that signs its time and the method before the body."""
    options = page.get_by_role("group", name="Options of hmac")
    await options.get_by_label("header", exact=True).fill("X-Acme-Signature")
    await options.get_by_label("timestamp_header").fill("X-Acme-Time")
    await options.get_by_label("timestamp_format").select_option("unix_ms")
    await options.get_by_label("signed").fill("v0:{timestamp}:{method}\n{body}")
    await options.get_by_label("algorithm").select_option("sha512")
    await options.get_by_label("key", exact=True).select_option("base64")
    await options.get_by_label("encoding").select_option("base64")
    await options.get_by_label("prefix").fill("Signature ")
    await options.get_by_label("Secret").fill(secret)


@pytest.mark.parametrize("script", [True, False])
async def test_an_endpoint_with_options_verifies_before_and_after_an_edit(
    example: example_server.Example, browser: Browser, script: bool
) -> None:
    visitor = await Visitor.come(browser, example.rescind.url, script=script)
    await visitor.sign_in()
    page, id = visitor.page, f"signed-{script}".lower()
    await visitor.open("/endpoints/~new")
    await page.get_by_label("Id", exact=True).fill(id)
    await page.get_by_label("Account (required)").fill(ACCOUNT)
    await page.get_by_label("How requests are verified").select_option("hmac")
    create = page.get_by_role("button", name="Create", exact=True)
    if not script:
        await create.click()
        await expect(page.get_by_role("status")).to_contain_text("nothing is saved yet")
    await expect(page.locator("fieldset[data-group]:visible")).to_have_count(1)
    await fill(page, "not base64!")
    await create.click()
    secret = page.get_by_role("group", name="Options of hmac").get_by_label("Secret")
    await expect(secret).to_have_attribute("aria-invalid", "true")
    await secret.fill(b64encode(KEY).decode())
    await create.click()
    await page.get_by_role("link", name="To the endpoint").click()
    await page.wait_for_url(f"**/endpoints/{id}")
    await expect(page.locator("dl.facts").first).to_contain_text(
        "HMAC-SHA512 over time, method and body, base64 after “Signature ”, in X-Acme-Signature; "
        "the time in X-Acme-Time may be 300 s from now"
    )
    assert await signed(example.rescind, id, f"{id}-1") == 200
    assert await signed(example.rescind, id, f"{id}-2", digest="sha256") == 401
    # An edit of something else, and one of an option.
    await page.get_by_text("Settings", exact=True).click()
    await page.get_by_label("Tell when nothing comes for").fill("6h")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator(".notice")).to_contain_text("is changed")
    assert await signed(example.rescind, id, f"{id}-3") == 200
    await page.get_by_text("Settings", exact=True).click()
    await page.get_by_role("group", name="Options of hmac").get_by_label("tolerance_s").fill("120")
    await page.get_by_role("button", name="Save", exact=True).click()
    await expect(page.locator("dl.facts").first).to_contain_text("may be 120 s from now")
    assert await signed(example.rescind, id, f"{id}-4") == 200
    assert await signed(example.rescind, id, f"{id}-5", digest="sha256") == 401
    assert visitor.faults == [fault for fault in visitor.faults if "422" in fault], visitor.faults
    await visitor.leave()


@pytest.mark.parametrize(("width", "theme"), [(WIDE, "light"), (NARROW, "dark")])
async def test_every_scheme_s_options_are_readable(
    example: example_server.Example, browser: Browser, width: int, theme: Theme
) -> None:
    visitor = await Visitor.come(browser, example.rescind.url, width=width, theme=theme)
    await visitor.sign_in()
    page, faults = visitor.page, list[str]()
    await visitor.open(f"/endpoints/~new?account={ACCOUNT}")
    for scheme in SCHEMES:
        await page.get_by_label("How requests are verified").select_option(scheme)
        shown = page.locator("fieldset[data-group]:visible")
        await expect(shown).to_have_count(1)
        await expect(shown).to_have_attribute("data-group", scheme)
        if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            faults.append(f"{scheme}: wider than the screen")
        found = await Axe().run(page)
        faults += [f"{scheme}: {violation['id']}: {violation['help']}" for violation in found.response["violations"]]
    await visitor.leave()
    assert not faults, "\n".join(faults)


async def test_going_back_leaves_the_chosen_options_alone_in_the_form(
    example: example_server.Example, browser: Browser
) -> None:
    """A browser that shows the page again may restore the choice, and the script enables what it had disabled."""
    visitor = await Visitor.come(browser, example.rescind.url)
    await visitor.sign_in()
    page = visitor.page
    await visitor.open(f"/endpoints/~new?account={ACCOUNT}")
    await page.get_by_label("How requests are verified").select_option("sns")
    await page.evaluate("""() => {
        document.querySelectorAll("fieldset[data-group]").forEach((group) => { group.disabled = true; });
        dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
    }""")
    enabled = page.locator("fieldset[data-group]:not([disabled])")
    await expect(enabled).to_have_count(1)
    await expect(enabled).to_have_attribute("data-group", "sns")
    await visitor.leave()
