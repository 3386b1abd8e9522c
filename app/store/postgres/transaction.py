"""Transactions of the ledger: a group commit in seven round trips at most, of which a usual one needs six.

Locks are taken in one order everywhere (`app.store.postgres.locks`), and no row of an order is written that is not
locked, so transactions wait for each other, and seldom in a circle.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from itertools import count
from secrets import randbits

from app.core.event import Event, event_key, order_key
from app.core.pauses import Pauses
from app.store import codec
from app.store.node_protocol import Lease
from app.store.postgres import locks as advisory
from app.store.postgres.connection import LEDGER_S, Connections, Session
from app.store.postgres.erasing import erase, expunge
from app.store.postgres.errors import ERRORS, fault_in_transaction
from app.store.postgres.fate import has_happened
from app.store.postgres.locked_reads import LockedReads
from app.store.postgres.pending_rechecks import note_rechecks
from app.store.postgres.statements import COMMITTED, Writing, add_changes
from app.store.postgres.writes import Writes
from app.store.protocol import NO_LOCKS, Locks, StoreContention, StoreFenced, StoreOutdated
from app.store.records import Changes, FoundOrder, Lookup, Name

# Settings of a session are lost behind a pooler. Without the last two, a plan that was made for an empty table stays.
_BEGIN = """BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on;
    SET LOCAL plan_cache_mode = force_generic_plan; SET LOCAL enable_seqscan = off"""
# A node that was stopped in a transaction loses its locks after two seconds, so that others wait for less than three.
LIMITS = """SET LOCAL lock_timeout = '2500ms'; SET LOCAL statement_timeout = '6s';
    SET LOCAL idle_in_transaction_session_timeout = '2s'"""
# After the locks, as a snapshot of its own: what is read is as of now. The transaction gets its number here, before it
# draws positions of the log.
_FENCE = """SELECT pg_current_xact_id() IS NOT NULL AS begun,
    (SELECT version FROM @shared_versions WHERE what = 'configuration') AS configuration,
    current.version AS pauses,
    (SELECT array_agg(scope ORDER BY scope) FROM @pauses WHERE current.version <> $1) AS scopes,
    (SELECT array_agg(reason ORDER BY scope) FROM @pauses WHERE current.version <> $1) AS reasons,
    (SELECT array_agg(since ORDER BY scope) FROM @pauses WHERE current.version <> $1) AS sinces,
    (SELECT array_agg(by ORDER BY scope) FROM @pauses WHERE current.version <> $1) AS bys,
    (SELECT until - (extract(epoch FROM clock_timestamp()) * 1000000)::bigint FROM @nodes
        WHERE epoch = $2 AND NOT ended) AS lease_left,
    ARRAY(SELECT subject FROM @ownership WHERE epoch = $2 AND subject = ANY($3::text[])) AS owned
    FROM @shared_versions AS current WHERE what = 'pauses'"""
_WANTED = "unnest($1::bigint[], $2::text[], $3::text[]) WITH ORDINALITY AS wanted (key, account, name, place)"
_LOCK_ORDERS = f"""SELECT pk, account, state, {codec.TOLD_COLUMNS} FROM @orders WHERE (account, pk) IN
    (SELECT account, order_pk FROM {_WANTED} JOIN @names USING (account, key, name))
    ORDER BY pk FOR NO KEY UPDATE"""
# A statement of its own: what was committed while the locks were waited for is not in the snapshot of the one before.
_NAMES_AND_EVENTS = f"""SELECT true AS is_name, place, order_pk,
        EXISTS (SELECT 1 FROM @orders AS led WHERE led.account = names.account AND led.pk = order_pk) AS stored
    FROM {_WANTED} JOIN @names AS names USING (account, key, name)
    UNION ALL SELECT false, place, order_pk, true
    FROM unnest($4::bigint[], $5::text[], $6::text[], $7::bigint[]) WITH ORDINALITY
        AS told (key, account, name, event, place)
    JOIN @names AS names USING (account, key, name)
    WHERE EXISTS (SELECT 1 FROM @events AS logged
        WHERE logged.account = names.account AND logged.order_pk = names.order_pk AND logged.key = told.event)"""
_MERGE = """WITH
    events AS (UPDATE @events SET order_pk = $2 WHERE account = $1 AND order_pk = $3),
    cancellations AS (UPDATE @cancellations SET order_pk = $2 WHERE account = $1 AND order_pk = $3),
    attempts AS (UPDATE @attempts SET order_pk = $2 WHERE account = $1 AND order_pk = $3),
    messages AS (UPDATE @messages SET order_pk = $2 WHERE account = $1 AND order_pk = $3),
    names AS (UPDATE @names AS stored SET order_pk = $2 FROM unnest($4::bigint[], $5::text[]) AS old (key, name)
        WHERE stored.account = $1 AND stored.key = old.key AND stored.name = old.name AND order_pk = $3),
    aliases AS (DELETE FROM @shared_aliases WHERE account = $1 AND order_pk = $3 AND name = ANY($5) RETURNING name),
    kept AS (INSERT INTO @shared_aliases (account, name, order_pk) SELECT $1, name, $2 FROM aliases
        ON CONFLICT DO NOTHING),
    jobs AS (DELETE FROM @jobs WHERE account = $1 AND order_pk = $3)
    DELETE FROM @orders WHERE account = $1 AND pk = $3"""
_LEASE_MIN = 5_000_000
"""Microseconds: a node grants no claim whose lease ends sooner."""


class PostgresTransaction(LockedReads):
    """`Transaction` on one of the writing connections."""

    def __init__(self, session: Session, locks: Locks, epoch: int, number: int, connections: Connections) -> None:
        super().__init__(session)
        self._locks, self._epoch, self._number, self._connections = locks, epoch, number, connections
        self._stored: set[int] = set()
        """Numbers of the orders that are locked."""
        self._gone: set[int] = set()
        """Numbers of orders that are gone, though names lead to them."""
        self.pauses: Pauses | None = None
        self.pauses_version = 0
        self.owned: frozenset[str] | None = None
        self.limits = locks.limits
        self.is_over = False

    async def begin(self, read: tuple[int, Pauses]) -> tuple[int, Pauses]:
        """Begin, and take the locks that come before those of orders; `read` are the pauses read last.

        Returns the pauses and their version. Raises `StoreFenced`, `StoreOutdated`.
        """
        locks, schema = self._locks, self._session.schema
        taken = [_BEGIN, LIMITS]
        if self._epoch:
            taken.append(f"SELECT 1 FROM @nodes WHERE epoch = {self._epoch} FOR KEY SHARE")
        if locks.configuration:
            key = advisory.lock_key(schema, advisory.CONFIGURATION)
            taken.append(f"SELECT pg_advisory_xact_lock_shared({key})")
        if locks.pauses or locks.claims:
            key = advisory.lock_key(schema, advisory.PAUSES)
            taken.append(f"SELECT pg_advisory_xact_lock{'' if locks.pauses else '_shared'}({key})")
        await self._session.script("; ".join(taken))
        accounts = {f"account:{account}": account for account in locks.claims}
        row = await self._session.row(_FENCE, read[0], self._epoch, list(accounts))
        if row is None:
            raise StoreOutdated("the schema has no versions: run `rescind migrate`")
        if self._epoch:
            if row["lease_left"] is None:
                raise StoreFenced(f"the lease {self._epoch} of this node was ended by another one")
            has_time = row["lease_left"] >= _LEASE_MIN
            self.owned = frozenset(accounts[subject] for subject in row["owned"]) if has_time else frozenset()
        if locks.configuration and row["configuration"] != locks.configuration:
            raise StoreOutdated(f"the configuration is {row['configuration']}, and {locks.configuration} was loaded")
        if row["pauses"] != read[0]:
            rows = zip(*(row[name] or () for name in ("scopes", "reasons", "sinces", "bys")), strict=True)
            read = row["pauses"], Pauses({columns[0]: codec.read_pause(columns) for columns in rows})
        self.pauses_version, self.pauses = read
        return read

    async def find(self, names: Sequence[Name], events: Sequence[Event]) -> Lookup:
        wanted = [(order_key(*name), *name) for name in names if all(map(_can_be_stored, name))]
        told = [event for event in events if _can_be_stored(event.order)]
        if not wanted:
            return Lookup({}, frozenset())
        columns = list(zip(*wanted, strict=True))
        orders = {row[0]: row for row in await self._session.fetch(_LOCK_ORDERS, *columns)}
        self._accounts |= {pk: row[1] for pk, row in orders.items()}
        keys = [
            (order_key(event.account, event.order), event.account, event.order, event_key(event.id)) for event in told
        ]
        rows = await self._session.fetch(
            _NAMES_AND_EVENTS, *columns, *(zip(*keys, strict=True) if keys else ([], [], [], []))
        )
        found, logged = dict[Name, FoundOrder](), set[str]()
        by_number = {pk: FoundOrder(pk, row[2], codec.read_told(row[3:]), None) for pk, row in orders.items()}
        for is_name, place, pk, stored in rows:
            if not is_name:
                logged.add(told[place - 1].id)
            elif pk in by_number:
                found[wanted[place - 1][1:]] = by_number[pk]
            elif stored:
                raise StoreContention("an order was made or merged by another node at the same time")
            else:
                self._gone.add(pk)
        self._stored |= orders.keys()
        return Lookup(found, frozenset(logged))

    async def merge(self, keep: int, drop: int, names: Collection[Name]) -> None:
        account = self._accounts.get(drop) or await self._session.value(
            "SELECT account FROM @orders WHERE pk = $1", drop
        )
        if account is None:
            return
        old = [(order_key(*name), name[1]) for name in sorted(names)]
        columns = zip(*old, strict=True) if old else ([], [])
        await self._session.run(_MERGE, account, keep, drop, *columns)
        self._stored.discard(drop)

    async def commit(self, changes: Changes) -> None:
        session, writing = self._session, Writing()
        await erase(session, changes.erased)
        for expunged in changes.expunged:
            await expunge(session, expunged)
        await note_rechecks(session, changes.rechecks)
        await add_changes(writing, changes, self._stored, self._gone)
        writing.add(COMMITTED, (), (self._epoch, self._number))
        sql, values = writing.statement
        new_names = await session.value(sql, *values)
        if new_names != writing.names:
            raise StoreContention("another node made an order of the same name at the same time")
        await self._end()

    async def _end(self) -> None:
        raw = self._session.raw
        try:
            status = await raw.execute("COMMIT", timeout=LEDGER_S)
        except ERRORS:
            # Nobody knows: the server may have done it before the connection broke.
            raw.terminate()
            if not await has_happened(self._connections.target, self._epoch, self._number):
                raise StoreContention("the connection was lost before the commit") from None
        else:
            if status != "COMMIT":
                raise StoreContention(f"PostgreSQL answered a COMMIT with {status}")
        self.is_over = True


def _can_be_stored(text: str) -> bool:
    """Whether PostgreSQL takes the text: no NUL, no lone surrogate. Any other is the name of no order."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


class LedgerTransactions(Writes):
    """The part of `Store` that commits what the ledger decided."""

    orders_replaced = 0
    lease: Lease | None
    has_joined: bool
    """Whether it ever had a lease: without one it then writes nothing more."""

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        # A random beginning: the numbers of a store without a lease must not be those of another one.
        self._numbers = count(randbits(62))
        self._pauses: tuple[int, Pauses] = (0, Pauses())
        """The version that each transaction compares, and what was read with it."""

    @asynccontextmanager
    async def transaction(self, locks: Locks = NO_LOCKS) -> AsyncIterator[PostgresTransaction]:
        """See `Store.transaction`."""
        if self.lease is None and self.has_joined:
            raise StoreFenced("the lease of this node has ended")
        epoch = 0 if self.lease is None else self.lease.epoch
        try:
            async with self._db.writers.lend(LEDGER_S) as session:
                transaction = PostgresTransaction(session, locks, epoch, next(self._numbers), self._db)
                self._pauses = await transaction.begin(self._pauses)
                yield transaction
                if not transaction.is_over:
                    await session.script("ROLLBACK")
        except ERRORS as error:
            raise fault_in_transaction(error) from error

    async def prove_writable(self) -> None:
        """See `Store.prove_writable`."""
        await self._write(lambda session: session.run("UPDATE @schema_version SET version = version"))
