"""What nodes and PostgreSQL need for a load: so that one knows before.

The constants are what the bench measured (`python -m tests.bench.on_postgres`; the page on capacity says on what); a
figure that is assumed says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

NODE_US = 380.0
"""Processor time of a node for a webhook at full load (request, verdict, store's client)."""
BACKEND_US = 150.0
"""Processor time of PostgreSQL for it, with its share of the commit."""
WAL_BYTES = 3400.0
"""Bytes of write-ahead log for an event with a body of 1 KB that does not deflate, measured with a prototype."""
DISK_BYTES = 2700.0
"""Bytes of tables and indexes for it, until its receipt is emptied or its partition dropped; the same."""
NODE_CONNECTIONS = 12
"""Connections of a node: the default of RESCIND_DATABASE_CONNECTIONS."""
BUSY = 0.6
"""Part of a core that is used at most in the long run, so that peaks and failures find room."""
DIRECT_CONNECTIONS_MAX = 400
"""Assumed: with more, a pooler in transaction mode is better than backends that wait."""
PRIMARY_WAL_MB_PER_S = 150.0
"""Assumed: what one primary writes and sends to its standby in the long run; beyond it, tables are distributed."""
SPARE_NODES = 1
DAY_S = 86_400


@dataclass(frozen=True, slots=True)
class SharedNeeds:
    """What a load takes."""

    nodes: int
    connections: int
    needs_pooler: bool
    backend_cores: float
    wal_mb_per_s: float
    tb_per_day: float
    primaries: int
    """More than one: distributed tables."""


def shared_needs(events_per_s: float) -> SharedNeeds:
    """What so many events a second take, of 1 KB each, all day long."""
    nodes = math.ceil(events_per_s * NODE_US / 1e6 / BUSY) + SPARE_NODES
    wal_mb_per_s = events_per_s * WAL_BYTES / 1e6
    return SharedNeeds(
        nodes=nodes,
        connections=nodes * NODE_CONNECTIONS,
        needs_pooler=nodes * NODE_CONNECTIONS > DIRECT_CONNECTIONS_MAX,
        backend_cores=events_per_s * BACKEND_US / 1e6 / BUSY,
        wal_mb_per_s=wal_mb_per_s,
        tb_per_day=events_per_s * DAY_S * DISK_BYTES / 1e12,
        primaries=math.ceil(wal_mb_per_s / PRIMARY_WAL_MB_PER_S),
    )
