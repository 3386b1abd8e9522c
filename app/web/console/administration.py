"""All pages about resources, keys and changes."""

from __future__ import annotations

from app.web.console import accounts, audit, backtests, endpoints, keys, policies, subscriptions
from app.web.console.page import PageRoute

PAGES: list[PageRoute] = [
    *endpoints.PAGES,
    *accounts.PAGES,
    *policies.PAGES,
    *backtests.PAGES,
    *subscriptions.PAGES,
    *keys.PAGES,
    *audit.PAGES,
]
