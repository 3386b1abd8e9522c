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
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VERSION_MIN, POOLER_MIN = 15, (1, 21)
SUITE = ("test_store*.py", "test_postgres_*.py", "test_nodes.py")
"""Of tests/contract: what is asked of a store on PostgreSQL."""
POOLED = ("test_nodes.py", "test_store.py", "test_store_jobs.py", "test_store_rows.py")
"""Through the pooler: each kind of transaction."""
POOLED_ALSO = "not as_many_connections"
"""A node's connections are counted at the server, which sees the pooler's."""


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
    run_suite(name, sys.argv[1:], SUITE)
    through = f"{name} through PgBouncer in transaction mode"
    run_suite(through, sys.argv[1:], POOLED, RESCIND_TEST_PGBOUNCER=command)


if __name__ == "__main__":
    main()
