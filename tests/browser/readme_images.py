"""The four pages of the console that the README shows: `python -m tests.browser.readme_images FOLDER`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import example_server
from browsing import Theme, Visitor, chromium

WIDTH, HEIGHT = 1280, 760
BYTES_MAX = 150_000
IMAGES: tuple[tuple[str, str, Theme], ...] = (
    ("overview", "/", "light"),
    ("order", "/orders/{account}/{order}", "light"),
    ("events", "/events/{id}", "dark"),
    ("policy", "/policies/{id}/backtests/{backtest}", "dark"),
)
"""Each with its file's name, its page and its theme."""


async def take(folder: Path) -> None:
    """Write the images, the upper part of each page. Raises `ValueError` if one is too large for a README."""
    with TemporaryDirectory() as directory:
        async with example_server.start(Path(directory), history=True) as example, chromium() as browser:
            for name, template, theme in IMAGES:
                visitor = await Visitor.come(browser, example.rescind.url, width=WIDTH, theme=theme)
                await visitor.page.set_viewport_size({"width": WIDTH, "height": HEIGHT})
                await visitor.sign_in()
                await visitor.open(example.paths[template])
                file = folder / f"{name}.png"
                await visitor.page.screenshot(path=file)
                await visitor.leave()
                if (size := file.stat().st_size) > BYTES_MAX:
                    raise ValueError(f"{file} has {size} bytes, more than {BYTES_MAX}")
                sys.stdout.write(f"{file}: {size} bytes\n")


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(target))
