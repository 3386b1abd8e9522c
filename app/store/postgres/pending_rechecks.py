"""Notes that orders are to be checked again, which steps work off later: no commit writes orders it has not locked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from app.store import codec
from app.store.postgres.connection import Session
from app.store.records import RecheckOrders

ALL, AGAIN = -1, -2
"""Instead of a lead: all open orders; and those once more, after a change that came while the steps of one went on.

So those steps reach the last order, however many changes come.
"""
ANY_FINGERPRINT = 0
_MICROSECOND = timedelta(microseconds=1)
# Of two notes about the same orders, the second begins again from the first order.
_NOTE = f"""INSERT INTO @pending_rechecks AS stored (account, closing_lead, fingerprint, at, position)
    SELECT account, CASE WHEN lead = {ALL} AND fingerprint = {ANY_FINGERPRINT} AND EXISTS (
        SELECT 1 FROM @pending_rechecks AS begun WHERE begun.account = new.account AND begun.closing_lead = {ALL}
        AND begun.fingerprint = {ANY_FINGERPRINT}) THEN {AGAIN} ELSE lead END, fingerprint, at, 0
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[]) AS new (account, lead, fingerprint, at)
    ON CONFLICT (account, closing_lead, fingerprint) DO UPDATE SET at = excluded.at, position = 0"""


async def note_rechecks(db: Session, rechecks: Sequence[RecheckOrders]) -> None:
    """Note which orders are to be checked again, in the transaction of the change that is the reason."""
    rows: dict[tuple[str, int, int], int] = {}
    for recheck in rechecks:
        lead = ALL if recheck.closing_lead is None else recheck.closing_lead // _MICROSECOND
        rows[recheck.account, lead, recheck.fingerprint or ANY_FINGERPRINT] = codec.micros(recheck.at)
    if rows:
        # Sorted, as all that write several rows do.
        columns = zip(*((*key, at) for key, at in sorted(rows.items())), strict=True)
        await db.run(_NOTE, *columns)
