"""What `rescind doctor` finds in a PostgreSQL database."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from app.cli.database import DOCS
from app.core.findings import FAULT, NOTICE, OK, Finding

if TYPE_CHECKING:
    from app.config.settings import Settings
    from app.store.postgres.connection import Target
    from app.store.postgres.inspection import Inspection

OFFSET_MAX_S = 1.0
"""A node whose clock differs by more is not ready."""
HORIZON_MAX_S = 10.0
HORIZON_MAX_TRANSACTIONS = 100_000
LAG_MAX_S = 30.0


def examine(settings: Settings) -> Iterator[Finding]:
    """Look at the database. Whether it can be used by this release is the first finding."""
    from app.store import StoreError
    from app.store.postgres.inspection import inspect

    target = cast("Target", settings.database)
    try:
        seen = asyncio.run(inspect(target))
    except StoreError as error:
        text = f"{error}"
        yield Finding("database", FAULT, text[:1].upper() + text[1:], f"Correct it: {DOCS}.")
        return
    yield _schema(seen, target.schema)
    yield from _rights(seen, target.schema)
    yield from _durability(seen)
    yield _connections(seen, settings)
    yield _pooler(seen, has_direct_url=bool(target.direct_url))
    yield _clock(seen)
    yield _horizon(seen)
    if seen.schema:
        yield from _upkeep(seen)
    if target.replica_url:
        yield _replica(target.replica_url, target.schema)


def _schema(seen: Inspection, schema: str) -> Finding:
    from app.store.migrations import migrations
    from app.store.postgres.migrate import is_contract

    newest, where = migrations("postgres")[-1].version, f"PostgreSQL {seen.version}, schema {schema!r}"
    steps = [step for step in seen.todo if not is_contract(step)]
    if seen.settings.get("server_encoding", "UTF8") != "UTF8":
        detail = f"the database's encoding is {seen.settings['server_encoding']}"
        return Finding("database", FAULT, detail, "Create one with ENCODING 'UTF8' TEMPLATE template0.")
    if seen.read_only:
        detail = f"{where}: the server is a standby, or read-only"
        return Finding("database", FAULT, detail, "Promote it, or set RESCIND_DATABASE_URL to the primary.")
    if not seen.schema:
        detail, todo = f"{where}: it is not there", "Run `rescind migrate`."
        if not seen.may_create_schema:
            detail += f", and the user {seen.user!r} may not create it"
            todo = f'CREATE SCHEMA "{schema}" AUTHORIZATION "{seen.user}", then `rescind migrate`.'
    elif seen.works_with > newest:
        detail = f"{where} works with releases that know {seen.works_with} or later, and this one knows {newest}"
        todo = "Install a later release."
    elif seen.filling:
        detail = f"{where} is being filled from a SQLite database"
        todo = "Wait for `rescind migrate --from`, or run it again: it goes on where it was."
    elif steps:
        detail, todo = (
            f"{where} has number {seen.schema} of {newest}",
            "Run `rescind migrate`; servers may run meanwhile.",
        )
    elif seen.todo:
        detail = f"{where} has number {seen.schema}; {len(seen.todo)} steps wait until no node of another release runs"
        return Finding("database", NOTICE, detail, "Run `rescind migrate` when all nodes have this release.")
    else:
        return Finding("database", OK, f"{where} has number {seen.schema}, the newest")
    return Finding("database", FAULT, detail, todo)


def _rights(seen: Inspection, schema: str) -> Iterator[Finding]:
    if not seen.schema:
        return
    name = '"' + schema.replace('"', '""') + '"'
    if seen.not_usable:
        detail = f"the user {seen.user!r} may not read and write {_some(seen.not_usable)}"
        todo = f'GRANT ALL ON ALL TABLES IN SCHEMA {name} TO "{seen.user}", the same for SEQUENCES.'
        yield Finding("rights", FAULT, detail, todo)
    elif seen.not_owned or not seen.may_create:
        detail = f"the user {seen.user!r} may read and write, and not make or drop the partitions of months"
        todo = "Have the servers use the user that migrates: partitions run out else."
        yield Finding("rights", FAULT, detail, todo)
    else:
        yield Finding("rights", OK, f"the user {seen.user!r} owns the tables")


def _durability(seen: Inspection) -> Iterator[Finding]:
    for name in ("fsync", "full_page_writes"):
        if seen.settings.get(name) == "off":
            detail = f"{name} is off: what was acknowledged is lost, or all of it damaged, when the machine crashes"
            yield Finding("durability", FAULT, detail, f"Set {name} = on in postgresql.conf.")
    names, default = seen.settings.get("synchronous_standby_names", ""), seen.settings.get("synchronous_commit", "")
    if names:
        detail = f"acknowledged events are on a standby, too (synchronous_standby_names = {names})"
        attached = any(sync in ("sync", "quorum", None) for _, _, sync in seen.standbys)
        if not attached:
            todo = "Start the standby: commits wait for it, and webhooks get 503 meanwhile."
            yield Finding("durability", FAULT, f"no synchronous standby is connected ({names})", todo)
            return
        yield Finding("durability", OK, detail)
        return
    told = f" (Rescind's commits are synchronous; the default of others is {default})" if default != "on" else ""
    if seen.standbys:
        who = ", ".join(name or "a standby" for name, *_ in seen.standbys)
        detail = (
            f"{who} follows asynchronously: an acknowledged event is on this server's disk only, and a failover may "
            f"lose the last ones{told}"
        )
        todo = f"Set synchronous_standby_names, or have providers send anew after a failover ({DOCS})."
        yield Finding("durability", NOTICE, detail, todo)
        return
    detail = f"there is no standby: an acknowledged event is on this server's disk only{told}"
    yield Finding("durability", NOTICE, detail, "Archive WAL and test a restore, or add a standby.")


def _connections(seen: Inspection, settings: Settings) -> Finding:
    reserved = sum(
        int(seen.settings.get(name) or 0) for name in ("superuser_reserved_connections", "reserved_connections")
    )
    room = int(seen.settings["max_connections"]) - reserved
    nodes, each = max(1, len(seen.nodes)), settings.database_connections
    detail = (
        f"{nodes} {'node' if nodes == 1 else 'nodes'} with {each} take {nodes * each} of {room}; "
        f"{seen.connections_used} are in use"
    )
    if seen.pooler == "transaction":
        return Finding("connections", OK, f"{detail}, behind the pooler")
    # One more node starts before the one that it replaces ends.
    if (nodes + 1) * each > room:
        todo = "Raise max_connections, lower RESCIND_DATABASE_CONNECTIONS, or put PgBouncer in front."
        return Finding("connections", FAULT if nodes * each > room else NOTICE, detail, todo)
    return Finding("connections", OK, detail)


def _pooler(seen: Inspection, *, has_direct_url: bool) -> Finding:
    if not seen.pooler:
        return Finding("pooler", OK, "none between Rescind and PostgreSQL")
    detail = f"a pooler in {seen.pooler} mode"
    if not has_direct_url:
        todo = "Set RESCIND_DATABASE_DIRECT_URL: without it nodes poll each second, and two may migrate at once."
        return Finding("pooler", NOTICE, f"{detail}, and no way past it", todo)
    return Finding("pooler", OK, f"{detail}; notifications and migrations go past it")


def _clock(seen: Inspection) -> Finding:
    detail = f"the database's clock differs by {round(seen.clock_offset_s * 1000):+} ms"
    if abs(seen.clock_offset_s) > OFFSET_MAX_S:
        return Finding("clock", FAULT, detail, "Correct both clocks (NTP): a server that differs by 1 s is not ready.")
    return Finding("clock", OK, detail)


def _horizon(seen: Inspection) -> Finding:
    horizon = seen.horizon
    age = "" if horizon.age_s is None else f", open for {horizon.age_s:.1f} s"
    detail = f"the oldest open transaction is {horizon.transactions} transactions behind{age}"
    if (horizon.age_s or 0) > HORIZON_MAX_S or horizon.transactions > HORIZON_MAX_TRANSACTIONS:
        who = f" ({horizon.who})" if horizon.who else ""
        todo = (
            "End it (pg_terminate_backend), and set idle_in_transaction_session_timeout: the log is not read past it."
        )
        return Finding("horizon", NOTICE, detail + who, todo)
    return Finding("horizon", OK, detail)


def _upkeep(seen: Inspection) -> Iterator[Finding]:
    if seen.invalid_indexes:
        todo = "Run `rescind migrate`; if it stays, DROP INDEX CONCURRENTLY, and migrate again."
        yield Finding("indexes", FAULT, f"invalid: {_some(seen.invalid_indexes)}", todo)
    else:
        yield Finding("indexes", OK, "all are valid")
    ahead = min(seen.months_ahead.values())
    few = [table for table, months in seen.months_ahead.items() if months == ahead]
    if ahead < 1:
        which = "this month" if ahead < 0 else "the next month"
        todo = "Start a server, which makes them; its log says why if not (`rights` above)."
        yield Finding("partitions", FAULT, f"{_some(few)} have none for {which}", todo)
    else:
        yield Finding("partitions", OK, f"made for {ahead} months ahead")
    if seen.settings.get("autovacuum") == "off":
        yield Finding("vacuum", FAULT, "autovacuum is off: tables grow without end", "Set autovacuum = on.")
    shown = ", ".join(f"{name} ({release})" for name, release in seen.nodes) or "none runs"
    yield Finding("nodes", OK, shown)


def _replica(url: str, schema: str) -> Finding:
    from app.store import StoreError
    from app.store.postgres.inspection import replica_lag

    try:
        lag_s = asyncio.run(replica_lag(url, schema))
    except StoreError as error:
        todo = "Correct RESCIND_DATABASE_REPLICA_URL, or leave it out: lists and searches use it."
        return Finding("replica", FAULT, str(error), todo)
    if lag_s is None:
        return Finding("replica", NOTICE, "RESCIND_DATABASE_REPLICA_URL leads to no standby", "Leave it out, then.")
    if lag_s > LAG_MAX_S:
        todo = "Lists, searches and the console show what was: see why it does not follow."
        return Finding("replica", NOTICE, f"{lag_s:.0f} s behind", todo)
    return Finding("replica", OK, f"{lag_s:.1f} s behind")


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:5])
    return f"{shown} and {len(names) - 5} more" if len(names) > 5 else shown  # noqa: PLR2004 - as many as a line takes
