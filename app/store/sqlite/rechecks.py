"""Marks orders to be checked again by the timers; where they are many, in steps that are transactions of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from app.store import codec
from app.store.records import RecheckOrders
from app.store.sqlite.connection import Queries
from app.store.use import Use

T = TypeVar("T")

DUPLICATES_MAX = 100
"""At most so many orders of one fingerprint are re-checked, the newest."""
AT_ONCE = 2000
"""How many orders the transaction of a change marks itself, of all accounts together."""
_ALL, _AGAIN = -1, -2
"""Instead of a lead: all open orders; and those once more, after a change that came while the steps of one went on.

So those steps reach the last order, however many changes come.
"""
_MICROSECOND = timedelta(microseconds=1)
_OPEN = "phase NOT IN ('completed', 'canceled')"
_MARK = f"""UPDATE orders SET next_check_at = :at WHERE account = :account AND pk > :start AND pk <= :end
    AND (next_check_at IS NULL OR next_check_at > :at) AND {_OPEN}"""
# Of an order that an earlier release wrote last, it is not known when it closes: it is checked at once.
_MARK_CLOSING = f"""UPDATE orders SET next_check_at = max(:at, coalesce(closes_at, 0) - :lead)
    WHERE account = :account AND pk > :start AND pk <= :end AND (closes_at > :at OR reason IS NULL) AND {_OPEN}
    AND (next_check_at IS NULL OR next_check_at > max(:at, coalesce(closes_at, 0) - :lead))"""
_END = "(SELECT pk FROM orders WHERE account = :account AND pk > :start ORDER BY pk LIMIT 1 OFFSET :count - 1)"
"""The last order of a step; null where there are not so many."""
_LAST = (1 << 63) - 1
_ROW = f"""iif(:lead = {_ALL} AND EXISTS (SELECT 1 FROM pending_rechecks WHERE account = :account
    AND closing_lead = {_ALL}), {_AGAIN}, :lead)"""


def recheck_statements(rechecks: Sequence[RecheckOrders]) -> list[tuple[str, Any]]:
    """Statements that mark a bounded number of orders, and leave the others for `Rechecking.recheck_step`."""
    statements: list[tuple[str, Any]] = []
    of_accounts = [recheck for recheck in rechecks if recheck.fingerprint is None]
    for recheck in of_accounts:
        lead = _ALL if recheck.closing_lead is None else recheck.closing_lead // _MICROSECOND
        count = max(1, AT_ONCE // len(of_accounts))
        step = {"account": recheck.account, "at": codec.micros(recheck.at), "lead": lead, "start": 0, "count": count}
        rest = f"""INSERT OR REPLACE INTO pending_rechecks (account, closing_lead, at, position)
                   SELECT :account, {_ROW}, :at, marked FROM (SELECT {_END} AS marked) WHERE marked IS NOT NULL"""
        statements += [(_marking(lead).replace(":end", f"coalesce({_END}, {_LAST})"), step), (rest, step)]
    for recheck in rechecks:
        if recheck.fingerprint is not None:
            at, account = codec.micros(recheck.at), recheck.account
            # Limited: with one fingerprint for all orders, each new order would re-check all others.
            newest = "SELECT pk FROM orders WHERE account = ? AND fingerprint = ? AND pk <> ? ORDER BY pk DESC LIMIT ?"
            sql = f"""UPDATE orders SET next_check_at = ? WHERE account = ? AND {_OPEN}
                      AND (next_check_at IS NULL OR next_check_at > ?) AND pk IN ({newest})"""
            group = (account, recheck.fingerprint, recheck.but, DUPLICATES_MAX)
            statements.append((sql, (at, account, at, *group)))
    return statements


class Rechecking(Queries):
    """The part of the store that marks orders in steps."""

    async def recheck_step(self, limit: int) -> bool:
        pending = await self._db.fetch("SELECT 1 FROM pending_rechecks LIMIT 1", use=Use.WORK)
        return bool(pending) and await self._write(lambda db: _mark_step(db, limit))

    async def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        raise NotImplementedError


def _mark_step(db: sqlite3.Connection, limit: int) -> bool:
    """Mark up to `limit` orders that are left; returns False if there are none."""
    sql = "SELECT account, closing_lead, at, position FROM pending_rechecks ORDER BY at LIMIT 1"
    row = db.execute(sql).fetchone()
    if row is None:
        return False
    account, lead, at, start = row
    step = {"account": account, "lead": lead, "at": at, "start": start, "count": limit}
    (end,) = db.execute(f"SELECT {_END}", step).fetchone()
    db.execute(_marking(lead), {**step, "end": _LAST if end is None else end})
    if end is None:
        db.execute("DELETE FROM pending_rechecks WHERE account = :account AND closing_lead = :lead", step)
    else:
        sql = "UPDATE pending_rechecks SET position = :end WHERE account = :account AND closing_lead = :lead"
        db.execute(sql, {**step, "end": end})
    return True


def _marking(lead: int) -> str:
    return _MARK if lead in (_ALL, _AGAIN) else _MARK_CLOSING
