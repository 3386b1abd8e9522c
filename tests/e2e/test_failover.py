"""A standby is promoted under load: nothing acknowledged is lost, and the former primary is left, though it answers."""

from __future__ import annotations

import os
import secrets
import signal
import time
from asyncio import sleep, to_thread
from functools import partial
from pathlib import Path

import asyncpg
from chaos.faults import Chaos, client_ports
from chaos.run import Setup, run
from postgres import PostgresServer
from providers import until

SEED = int(os.environ.get("CHAOS_SEED", "0")) or secrets.randbits(32)


async def test_promotion_under_load(tmp_path: Path) -> None:
    print(f"CHAOS_SEED={SEED}")  # noqa: T201 - to run it again
    former = PostgresServer()
    await to_thread(former.start)
    standby = await to_thread(former.copy)
    try:
        await to_thread(standby.start)
        synchronous = f"ALTER SYSTEM SET synchronous_standby_names = '{standby.name}'"
        await to_thread(former.execute, synchronous, "SELECT pg_reload_conf()")
        hosts = f"127.0.0.1:{former.port},127.0.0.1:{standby.port}"
        url = f"postgresql://postgres@{hosts}/postgres?target_session_attrs=read-write"
        script = partial(promote, former, standby)
        setup = Setup(nodes=2, postgres=former, url=url)
        verdict = await run(tmp_path, SEED, script, setup)
        verdict.raise_faults()
    finally:
        await to_thread(standby.remove)


async def promote(former: PostgresServer, standby: PostgresServer, chaos: Chaos) -> None:
    """The primary becomes read-only with all its connections open, as where a service changes roles."""
    await sleep(3)  # under load
    read_only = "ALTER SYSTEM SET default_transaction_read_only = on"
    await to_thread(former.execute, read_only, "SELECT pg_reload_conf()")
    await to_thread(standby.execute, "SELECT pg_promote()")
    promoted = time.monotonic()
    connection = await asyncpg.connect(former.url)

    async def left() -> bool:
        # A commit whose client has gone waits there for its standby all the same.
        ports = [port for node in chaos.cluster.nodes for port in client_ports(node.pid)]
        sql = "SELECT count(*) FROM pg_stat_activity WHERE client_port = ANY($1::int[])"
        pings = chaos.told.pings
        acknowledged = all(pings[node.name] and pings[node.name][-1] > promoted for node in chaos.cluster.nodes)
        return acknowledged and await connection.fetchval(sql, ports) == 0

    await until(left, "all nodes to leave the former primary")
    chaos.figures["former primary left after, s"] = round(time.monotonic() - promoted, 2)
    await connection.close()
    await sleep(2)  # under load
    # Up again, it is a standby: whoever connects there finds old rows, and must not stay.
    await to_thread(former.stop, signal.SIGQUIT)
    await to_thread(former.follow, standby)
    await to_thread(former.start)
    await sleep(2)  # under load
