"""Backtests: the progress of one, and what the policy would have done."""

from __future__ import annotations

from aiohttp import web

from app.web import backtests
from app.web.console import charts
from app.web.console.page import Page, PageTable

PAGES = PageTable()
SERIES = ("canceled", "completed", "in_progress", "open", "unknown")
"""What became of the orders, as the chart stacks it."""
TOO_LATE = "too_late"
DECISIONS_MAX = 200


@PAGES.get("/policies/{id}/backtests/{backtest}")
async def show(page: Page) -> web.Response:
    """One backtest."""
    shown = await page.api(backtests.get_backtest, id=page.path["id"], backtest=page.path["backtest"])
    report = shown["report"]
    return page.render(
        "backtest.html",
        backtest=shown,
        report=report,
        decisions=report["decisions"][:DECISIONS_MAX] if report else [],
        chart=charts.of_backtest(report, SERIES, TOO_LATE) if report else None,
    )
