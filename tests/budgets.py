"""Time budgets of queries: what is complete on an idle machine is complete on a busy one.

Tests of a budget set their own.
"""

from __future__ import annotations

from app.store.sqlite.index import file
from app.store.sqlite.read import search

AMPLE_S = 60.0


def lift() -> None:
    """From now on no search and no statement of this process ends because of its time."""
    search.SEARCH_S = file.STATEMENT_S = AMPLE_S
