"""Time budgets of queries: what is complete on an idle machine is complete on a busy one.

Tests of a budget set their own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.store import pieces
from app.store.postgres import nodes, transaction
from app.store.postgres.connection import STATEMENT_S
from app.store.sqlite.index import file

if TYPE_CHECKING:
    import pytest

AMPLE_S = 60.0


def lift() -> None:
    """From now on no search and no statement of this process ends because of its time."""
    pieces.SEARCH_S = file.STATEMENT_S = AMPLE_S
    transaction.LEDGER_S = nodes.HEARTBEAT_LINE_S = STATEMENT_S


def lift_limits(patch: pytest.MonkeyPatch) -> None:
    """Let no transaction of the ledger on PostgreSQL end because a test held it, or its locks, for a while."""
    ample, number = re.subn(r"'\w+'", f"'{AMPLE_S:g}s'", transaction.LIMITS)
    assert number == 3
    patch.setattr(transaction, "LIMITS", ample)
