"""Up to which position the log can be read without a gap that is filled later.

Positions become visible out of their order: a transaction draws some, and may commit after others that drew later ones.
But it draws them after its first lock, so when it has its number already. So what is read here, one after the other:

1. the last position that was drawn, L;
2. a snapshot; X is the number of the next transaction;
3. snapshots, until all transactions below X have ended.

Every position up to L is visible then in the next snapshot, or will never be: gaps are normal. A transaction that stays
open delays this, in whatever database of the server it is.
"""

from __future__ import annotations

from time import monotonic

from app.store.postgres.connection import Connections, Queries, Session

WAITING_MAX = 64
"""Positions that are remembered until they are safe; of more, every other one is forgotten."""
_STATE = """SELECT pg_snapshot_xmin(snapshot)::text::bigint, pg_snapshot_xmax(snapshot)::text::bigint,
    (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM @events_seq)
    FROM (SELECT pg_current_snapshot() AS snapshot) AS present"""


class SafePosition:
    """The safe position of one log, as far as this process knows it."""

    def __init__(self) -> None:
        self.safe = 0
        self._drawn = -1
        """The last position that was drawn, by the latest reading; below 0: not read yet."""
        self._waiting: list[tuple[int, int, float]] = []
        """(position, number of the transaction before which all must end, since when)."""

    @property
    def delay_s(self) -> float:
        """How long the oldest position that is not safe yet has been waited for."""
        return monotonic() - self._waiting[0][2] if self._waiting else 0.0

    async def advance(self, session: Session) -> int:
        """The safe position now: statements that follow see all events up to it. The session is in no snapshot."""
        if self._drawn < 0:
            # Sealed was only what was safe: a process that starts while a transaction is under way has that at least.
            self.safe = await session.value("SELECT coalesce(max(last_position), 0) FROM @log_blocks")
        for _ in range(2):
            # What is read in the first statement is safe after the second, unless a transaction is under way.
            before = self._drawn
            [(oldest, upcoming, drawn)] = await session.fetch(_STATE)
            if drawn < self.safe:  # a standby that had not heard of everything took over
                self.safe, self._drawn = 0, -1
                self._waiting.clear()
            else:
                self._note(before, oldest, upcoming)
            self._drawn = max(self._drawn, drawn)
            if self.safe >= drawn:
                break
        return self.safe

    def _note(self, drawn: int, oldest: int, upcoming: int) -> None:
        # The snapshot was taken after `drawn` was read, also where other tasks have read more meanwhile.
        if drawn > max(self.safe, self._waiting[-1][0] if self._waiting else 0):
            self._waiting.append((drawn, upcoming, monotonic()))
        while self._waiting and self._waiting[0][1] <= oldest:
            self.safe = max(self.safe, self._waiting.pop(0)[0])
        if len(self._waiting) > WAITING_MAX:
            del self._waiting[1::2]


class SafeQueries(Queries):
    """Queries that read the log up to the safe position."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self.safe_position = SafePosition()
