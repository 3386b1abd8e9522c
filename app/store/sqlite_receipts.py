"""Questions to SQLite about what came in, and what of it waits for a person."""

from __future__ import annotations

from app.store.sqlite_configuration import SqliteConfiguration


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
