"""Pages of large rows end early, and together they are the whole list, in both directions."""

from __future__ import annotations

from typing import Any

import pytest
from servers import ACCOUNT, Rescind

from app.web import pages, timeline

ROWS = 12


async def page_at(rescind: Rescind, path: str) -> dict[str, Any]:
    """A page, whose rows are the same at any time."""
    page: dict[str, Any] = await rescind.get(path)
    for row in page["data"]:
        if "phase" in row:
            del row["verdict"]["as_of"]
    return page


async def both_ways(rescind: Rescind, path: str, limit: int) -> list[list[Any]]:
    """The pages of a list to its end, which are those on the way back, if it can be gone back."""
    there, back = [await page_at(rescind, f"{path}limit={limit}")], list[dict[str, Any]]()
    while there[-1]["has_more"]:
        there.append(await page_at(rescind, f"{path}limit={limit}&cursor={there[-1]['next_cursor']}"))
    before = there[-1]["previous_cursor"]
    while before is not None:
        back.append(await page_at(rescind, f"{path}limit={limit}&cursor={before}"))
        before = back[-1]["previous_cursor"]
    if back:
        # The way back meets other edges: what matters is that nothing is left out or repeated.
        rows = [row for page in back[::-1] for row in page["data"]] + there[-1]["data"]
        assert rows == [row for page in there for row in page["data"]], path
    return [page["data"] for page in there]


async def test_a_page_of_large_rows_ends_early(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    for n in range(ROWS):
        await rescind.tell("order.processed", f"o-{n}", note="x" * 100 * n)
        await rescind.tell("order.processed", "long")
    lists = ("/v1/events?", "/v1/orders?", "/v1/changes?", f"/v1/accounts/{ACCOUNT}/orders/long/timeline?")
    whole = {path: (await page_at(rescind, f"{path}limit=500"))["data"] for path in lists}
    for module in (pages, timeline):
        monkeypatch.setattr(module, "PAGE_BYTES", 1500)
    for path in lists:
        for limit in (500, 3):
            parts = await both_ways(rescind, path, limit)
            assert [row for part in parts for row in part] == whole[path], path
            assert all(parts), path
        assert len(parts) > 1 or len(whole[path]) < 3, path
    monkeypatch.setattr(pages, "PAGE_BYTES", 0)
    assert {len(part) for part in await both_ways(rescind, "/v1/events?", 500)} == {1}
