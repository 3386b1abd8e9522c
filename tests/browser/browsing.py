"""Chromium, driven by playwright, against a Rescind in this process."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

from playwright.async_api import Browser, BrowserContext, Page, Response, async_playwright, expect
from servers import BOOTSTRAP_KEY

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--no-sandbox",  # tests run as root in containers
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
WIDE, NARROW = 1280, 360
WAIT_MS = 60_000.0
"""A busy machine takes its time."""
Theme = Literal["light", "dark"]

expect.set_options(timeout=WAIT_MS)


def executable() -> str | None:
    """The browser on this machine; None if there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A running browser without a profile."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=OPTIONS)
        yield browser
        await browser.close()


@dataclass(slots=True)
class Visitor:
    """A person before a screen of some width, signed in or not."""

    url: str
    context: BrowserContext
    page: Page
    faults: list[str] = field(default_factory=list)
    """Errors of scripts, refused by the content security policy or logged, since the last look."""

    @classmethod
    async def come(
        cls, browser: Browser, url: str, *, width: int = WIDE, theme: Theme = "light", script: bool = True
    ) -> Visitor:
        context = await browser.new_context(
            viewport={"width": width, "height": 800}, color_scheme=theme, java_script_enabled=script, base_url=url
        )
        context.set_default_timeout(WAIT_MS)
        visitor = cls(url, context, await context.new_page())
        visitor.page.on("pageerror", lambda error: visitor.faults.append(str(error)))
        visitor.page.on(
            "console",
            lambda message: visitor.faults.append(message.text) if message.type in ("error", "warning") else None,
        )
        return visitor

    async def sign_in(self, key: str = BOOTSTRAP_KEY) -> None:
        await self.page.goto("/sign-in")
        await self.page.get_by_label("API key").fill(key)
        await self.page.get_by_role("button", name="Sign in").click()
        await self.page.wait_for_url(lambda url: not url.endswith("/sign-in"))

    async def open(self, path: str) -> Response:
        """Show a page, which must be there."""
        response = await self.page.goto(path)
        assert response is not None
        assert response.status == 200, (path, response.status, await self.page.inner_text("main"))
        return response

    async def leave(self) -> None:
        await self.context.close()
