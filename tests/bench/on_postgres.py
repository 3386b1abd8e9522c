"""Servers of the bench whose database is a PostgreSQL beside them, on the same disk as SQLite's file."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg

from tests.bench.processes import free_port, running
from tests.postgres import PostgresServer

COMMAND = "from app.cli.main import main; main()"
SECRET_KEY = "bench-secret-0123456789-abcdefghijklmnop"
SETTINGS = {"shared_buffers": "256MB", "max_wal_size": "4GB"}
"""Of `postgresql.conf`; what makes commits durable stays as it is by default."""


@dataclass(frozen=True, slots=True)
class Database:
    """A PostgreSQL that the bench started."""

    server: PostgresServer

    @property
    def pid(self) -> int:
        """Of its first process, which started all others."""
        return self.server.pid

    @property
    def url(self) -> str:
        """Of its database."""
        return self.server.url

    def bytes_of(self, schema: str) -> int:
        """Bytes on disk of a schema's tables and indexes."""
        sql = """SELECT sum(pg_total_relation_size(pg_class.oid))::bigint FROM pg_class
                 JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE nspname = $1 AND relkind = 'r'"""
        return int(asyncio.run(self._value(sql, schema)))

    async def _value(self, sql: str, *values: str) -> Any:
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetchval(sql, *values)
        finally:
            await connection.close()


@contextlib.contextmanager
def database(folder: Path, **settings: str) -> Iterator[Database]:
    """A new cluster in the folder."""
    folder.chmod(0o711)  # it runs as another user
    server = PostgresServer(folder, **SETTINGS, **settings)
    server.start()
    try:
        yield Database(server)
    finally:
        server.remove()


def environment(url: str, schema: str, port: int) -> dict[str, str]:
    """Of a server on a schema of its own."""
    return {
        "PYTHONPATH": str(Path.cwd()),
        "RESCIND_DATABASE_URL": url,
        "RESCIND_DATABASE_SCHEMA": schema,
        "RESCIND_MIGRATE": "true",
        "RESCIND_SECRET_KEY": SECRET_KEY,
        "RESCIND_PORT": str(port),
        "RESCIND_ENDPOINT_RATE_PER_S": "1000000",  # the limit counts, and lets all pass
    }


@contextlib.contextmanager
def serving(url: str, schema: str, resources: Path | None, workers: int) -> Iterator[tuple[int, int]]:
    """(port, process id) of a server with so many processes."""
    port = free_port()
    arguments = ["serve", *(["--apply", str(resources)] if resources else [])]
    arguments += ["--workers", str(workers)] if workers > 1 else []
    command = [sys.executable, "-P", "-c", COMMAND, *arguments]
    with running(command, port, environment(url, schema, port)) as pid:
        yield port, pid
