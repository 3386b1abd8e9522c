"""Writing resources, as a function that runs on the writing connection's thread, in a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from app.store import codec
from app.store.protocol import AccountInUse, StoreConflict
from app.store.records import RecheckOrders, Resource, ResourceChange
from app.store.sqlite import deliveries, traffic
from app.store.sqlite.rechecks import recheck_statements


def save(
    db: sqlite3.Connection,
    put: Sequence[Resource],
    removed: Sequence[tuple[str, str]],
    trail: Sequence[ResourceChange],
    rechecks: Sequence[RecheckOrders],
) -> None:
    """See `ConfigurationStore.save_resources`."""
    for kind, id in removed:
        sql = "SELECT 1 FROM jobs WHERE account = ? AND cancellation IS NOT NULL LIMIT 1"
        if kind == "accounts" and db.execute(sql, (id,)).fetchone():
            raise AccountInUse(id)
    for resource in put:
        updated_at = codec.micros(resource.updated_at)
        row = (resource.kind, resource.id, resource.version, updated_at, resource.updated_by, resource.body)
        db.execute("INSERT OR REPLACE INTO resources VALUES (?, ?, ?, ?, ?, ?)", row)
    db.executemany("DELETE FROM resources WHERE kind = ? AND id = ?", removed)
    # A later account of the same id may have another provider.
    accounts = [(id,) for kind, id in removed if kind == "accounts"]
    db.executemany("DELETE FROM lanes WHERE account = ?", accounts)
    db.executemany("DELETE FROM account_secrets WHERE account = ?", accounts)
    traffic.remove(db, [id for kind, id in removed if kind == "endpoints"])
    deliveries.remove_subscriptions(db, [id for kind, id in removed if kind == "subscriptions"])
    for change in trail:
        body, at = codec.to_json(change.body), codec.micros(change.at)
        entry = (change.kind, change.id, change.version, at, change.by, change.action, body)
        db.execute("INSERT INTO resource_changes VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)", entry)
    for sql, values in recheck_statements(rechecks):
        db.execute(sql, values)


def save_account_secrets(db: sqlite3.Connection, account: str, sealed: bytes) -> None:
    """See `Store.save_account_secrets`."""
    sql = """INSERT OR REPLACE INTO account_secrets SELECT ?, ?
             WHERE EXISTS (SELECT 1 FROM resources WHERE kind = 'accounts' AND id = ?)"""
    if not db.execute(sql, (account, sealed, account)).rowcount:
        raise StoreConflict(f"the account {account} was removed")
