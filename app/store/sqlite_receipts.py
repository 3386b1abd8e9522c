"""Questions to SQLite about what came in, and what of it waits for a person."""

from __future__ import annotations

from collections.abc import Collection

from app.store.sqlite_configuration import SqliteConfiguration, Use

LATE_MAX = 10_000
"""So many receipts in quarantine are looked at, the newest."""


class SqliteReceipts(SqliteConfiguration):
    """The part of `Reader` that is about receipts."""

    async def waiting_for_people(self, most: int) -> dict[str, int]:
        """See `Reader.waiting_for_people`."""
        # Each by its partial index, whose condition must stand here word for word.
        sql = """SELECT (SELECT count(*) FROM (SELECT 1 FROM receipts WHERE status = 'quarantined' LIMIT :most)),
                        (SELECT count(*) FROM (SELECT 1 FROM cancellations INDEXED BY cancellations_for_approval
                         WHERE state = 'scheduled' AND json_extract(body, '$.waiting') = 'approval' LIMIT :most))"""
        ((quarantined, approvals),) = await self._ask(sql, {"most": most})
        return {"quarantined": quarantined, "approvals": approvals}

    async def quarantined_because(self, account: str, parts: Collection[str]) -> bool:
        """See `Reader.quarantined_because`."""
        either = " OR ".join("instr(reason, ?)" for _ in parts)
        sql = f"""SELECT 1 FROM (SELECT account, reason FROM receipts WHERE status = 'quarantined'
                                 ORDER BY id DESC LIMIT {LATE_MAX}) WHERE account = ? AND ({either}) LIMIT 1"""
        return bool(await self._ask(sql, (account, *parts), Use.LOOKUPS))
