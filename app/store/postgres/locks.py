"""Advisory locks, all of which end with their transaction. They are taken in one order everywhere.

1. the row of the node's lease,
2. `CONFIGURATION`, `PAUSES`, shared (a change of either takes it exclusively),
3. rows of orders, by number,
4. `fingerprint`, sorted by key,
5. `limits` of policies, sorted by key.

Those of other purposes are taken alone, as the first of their transaction.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from zlib import crc32

from app.store.postgres.connection import Session

CONFIGURATION = "configuration"
PAUSES = "pauses"


@lru_cache(maxsize=4096)
def lock_key(schema: str, purpose: str, *of: str) -> int:
    """The key of a lock. Advisory locks are of the whole database, so that the schema is a part of it."""
    text = "\0".join((schema, purpose, *of))
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big", signed=True)


FINGERPRINT_LOCKS = 4096
"""Locks for all fingerprints: a server has room for a few thousand locks, and a commit may touch a thousand."""


def fingerprint(schema: str, account: str, value: int) -> int:
    """The key of the lock of all duplicates with a fingerprint."""
    return lock_key(schema, "fingerprint", str(crc32(f"{account}\0{value}".encode()) % FINGERPRINT_LOCKS))


def limits(schema: str, policy: str) -> int:
    """The key of the lock of what a policy with limits has made."""
    return lock_key(schema, "limits", policy)


async def lock(session: Session, purpose: str, *of: str) -> None:
    """Take a lock exclusively until the transaction ends."""
    await session.run("SELECT pg_advisory_xact_lock($1)", lock_key(session.schema, purpose, *of))


async def lock_shared(session: Session, purpose: str, *of: str) -> None:
    """Take a lock until the transaction ends, beside others that share it."""
    await session.run("SELECT pg_advisory_xact_lock_shared($1)", lock_key(session.schema, purpose, *of))
