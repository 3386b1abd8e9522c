"""Questions to SQLite about what policies decided."""

from __future__ import annotations

from collections.abc import Sequence

from app.core.event import Event
from app.store import codec
from app.store.sqlite_receipts import SqliteReceipts

_ANY = 2**63 - 1
_LOOKED_AT = 5
_FAILURES_MIN = 3


class SqliteDecisions(SqliteReceipts):
    """The part of `Reader` that is about policies."""

    async def decisions(self, policy: str, before: int | None, limit: int) -> list[tuple[int, Event]]:
        """See `Reader.decisions`."""
        sql = f"""SELECT seq, {codec.EVENT_COLUMNS} FROM events
                  WHERE policy = ? AND seq < ? ORDER BY seq DESC LIMIT ?"""
        rows = await self._ask(sql, (policy, _ANY if before is None else before, limit))
        return [(seq, codec.read_event(row)) for seq, *row in rows]

    async def failing_policies(self, policies: Sequence[str]) -> dict[str, Event]:
        """See `Reader.failing_policies`."""
        # One look-up by index for each policy, however long the log is.
        latest = "SELECT type FROM events WHERE policy = wanted.value ORDER BY seq DESC LIMIT ?"
        sql = f"""SELECT wanted.value FROM json_each(?) AS wanted
                  WHERE (SELECT count(*) >= ? AND count(*) = sum(type = 'policy.failed') FROM ({latest}))"""
        rows = await self._ask(sql, (codec.to_json(list(policies)), _FAILURES_MIN, _LOOKED_AT))
        return {policy: (await self.decisions(policy, None, 1))[0][1] for (policy,) in rows}
