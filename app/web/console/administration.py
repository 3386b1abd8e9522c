"""All pages about resources, keys and changes."""

from __future__ import annotations

from app.web.console import accounts, backtests, endpoints, policies
from app.web.console.page import PageRoute

PAGES: list[PageRoute] = [*endpoints.PAGES, *accounts.PAGES, *policies.PAGES, *backtests.PAGES]
