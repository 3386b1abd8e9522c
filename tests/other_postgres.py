"""Run the suite of the store on the PostgreSQL that is installed, directly and through PgBouncer in transaction mode.

By `make test-postgres`. `RESCIND_TEST_POSTGRES` names another `bin` folder than that of the oldest PostgreSQL in
/usr/lib/postgresql from 15 on. Arguments go to pytest.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.postgres import FAST, WAIT_S, PostgresServer, free_port, server_user

ROOT = Path(__file__).resolve().parents[1]
VERSION_MIN, POOLER_MIN = 15, (1, 21)
SUITE = ("test_store*.py", "test_postgres_*.py", "test_nodes.py")
"""Of tests/contract: what is asked of a store on PostgreSQL."""
POOLED = ("test_nodes.py", "test_store.py", "test_store_rows.py")
"""Through the pooler: each kind of transaction. All workers share a server there, so nothing that follows the log."""
POOLED_ALSO = "not as_many_connections and not log_comes_whole"
"""A node's connections are counted at the server, which sees the pooler's; others on the server delay the log."""


def find_postgres() -> Path:
    """The `bin` folder to use."""
    given = os.environ.get("RESCIND_TEST_POSTGRES")
    if given:
        return Path(given)
    installed = {int(path.parents[1].name): path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")}
    recent = [installed[version] for version in sorted(installed) if version >= VERSION_MIN]
    if not recent:
        sys.exit(f"There is no PostgreSQL from {VERSION_MIN} on in /usr/lib/postgresql: run .ci/install-postgres")
    return recent[0]


def find_pooler() -> str:
    """The command of a PgBouncer that knows prepared statements in transaction mode."""
    path = f"{ROOT / '.tools' / 'bin'}:{os.environ['PATH']}:/usr/sbin"
    command = shutil.which("pgbouncer", path=path)
    if command is None:
        sys.exit("There is no PgBouncer: run .ci/install-postgres")
    said = subprocess.run([command, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"PgBouncer (\d+)\.(\d+)", said)
    if version is None or tuple(map(int, version.groups())) < POOLER_MIN:
        sys.exit(f"{command} is too old for prepared statements in transaction mode ({said.splitlines()[0]}): 1.21")
    return command


@contextmanager
def pooler(server: PostgresServer, command: str) -> Iterator[str]:
    """PgBouncer in transaction mode before a server; gives its URL."""
    folder, port = Path(tempfile.mkdtemp(prefix="rescind-pooler-")), free_port()
    folder.chmod(0o755)
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
* = host=127.0.0.1 port={server.port} user=postgres
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
    url = f"postgresql://postgres@127.0.0.1:{port}/postgres"
    try:
        until = time.monotonic() + WAIT_S
        while subprocess.run([find_postgres() / "pg_isready", "-q", "-d", url], check=False).returncode:
            if process.poll() is not None or time.monotonic() > until:
                sys.exit((folder / "log").read_text())
            time.sleep(0.02)  # until it listens
        yield url
    finally:
        process.terminate()
        process.wait(WAIT_S)
        shutil.rmtree(folder)


def run_suite(what: str, arguments: list[str], suite: tuple[str, ...], **environment: str) -> None:
    """Run the suite, and end the program if it fails."""
    began = time.monotonic()
    sys.stdout.write(f"The suite of the store on {what}\n")
    sys.stdout.flush()
    files = sorted(str(path) for pattern in suite for path in (ROOT / "tests" / "contract").glob(pattern))
    chosen_tests = ["-k", POOLED_ALSO] if suite is POOLED else []
    given = arguments or ["-n", "auto", "--dist", "load", *chosen_tests, *files]
    pytest = [sys.executable, "-m", "pytest", "-q", *given]
    chosen = {"RESCIND_TEST_STORE": "postgres", **environment}
    done = subprocess.run(pytest, cwd=ROOT, env={**os.environ, **chosen}, check=False)
    sys.stdout.write(f"On {what}: exit code {done.returncode} after {time.monotonic() - began:.0f} s\n")
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    """Find all programs first, then run the suite twice."""
    binaries, command = find_postgres(), find_pooler()
    os.environ["RESCIND_TEST_POSTGRES"] = str(binaries)
    said = subprocess.run([binaries / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    name = "PostgreSQL " + said.split()[2]
    # Each worker has a server of its own there: what one test does delays the log of all others on its server.
    run_suite(name, sys.argv[1:], SUITE)
    server = PostgresServer(**FAST)
    server.start()
    with pooler(server, command) as url:
        run_suite(
            f"{name} through PgBouncer in transaction mode",
            sys.argv[1:],
            POOLED,
            RESCIND_TEST_DATABASE_URL=url,
            RESCIND_TEST_DATABASE_DIRECT_URL=server.url,
        )


if __name__ == "__main__":
    main()
