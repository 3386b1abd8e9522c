"""Every page of the console as a file: `python -m tests.browser.screenshots FOLDER [PAGE …]`."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import example_server
from browsing import NARROW, WIDE, Theme, Visitor, chromium

SCREENS: tuple[tuple[str, int, Theme], ...] = (
    ("light", WIDE, "light"),
    ("dark", WIDE, "dark"),
    ("360", NARROW, "light"),
)


def name_of(path: str) -> str:
    """`/orders/{account}/{order}` as `orders-order`."""
    return "-".join(re.findall(r"[a-z]+(?=})|(?<=/)[a-z-]+", path)) or "overview"


async def take(folder: Path, pages: list[str]) -> None:
    with TemporaryDirectory() as directory:
        async with example_server.start(Path(directory), history=True) as example, chromium() as browser:
            for screen, width, theme in SCREENS:
                visitor = await Visitor.come(browser, example.rescind.url, width=width, theme=theme)
                await visitor.page.goto("/sign-in")
                await visitor.page.screenshot(path=folder / f"sign-in-{screen}.png")
                await visitor.sign_in()
                for template, path in example.paths.items():
                    if not pages or name_of(template) in pages:
                        await visitor.open(path)
                        file = folder / f"{name_of(template)}-{screen}.png"
                        await visitor.page.screenshot(path=file, full_page=True)
                        sys.stdout.write(f"{file}\n")
                await visitor.leave()


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(target, sys.argv[2:]))
