"""The way of `docs/operations/upgrade.md` with real processes, on a database that release 0.1 left; and back again.

The program of release 0.1 is not here. What it needs to go back is: the backup, unchanged, in its own schema.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from e2e.test_cli_support import ACCOUNT, Machine, connected, machine, stop, until
from integration.test_rebuild import gather
from integration.test_release_0_1 import RENAMED, SCHEMA, SECRET_KEY, restore
from processes import Process

from app.engine.rebuild import check
from app.store.migrations import migrations
from app.store.sqlite import open_sqlite

STEPS = [step.version for step in migrations("sqlite") if step.version > SCHEMA]
KILLED_BEFORE_THE_COMMIT = """
import os, signal
from aiosqlite import Connection
run = Connection.executescript
async def executescript(self, script):
    if "PRAGMA user_version = {version};" not in script:
        return await run(self, script)
    await run(self, script.removesuffix("COMMIT;"))
    os.kill(os.getpid(), signal.SIGKILL)
Connection.executescript = executescript
"""


def content(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as db:
        return list(db.iterdump())


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("PRAGMA user_version").fetchone()[0])


def verdicts(made: Machine) -> dict[str, Any]:
    """What the API says of every order, as release 0.1 left it."""
    return {order["id"]: (order["phase"], order["account"]) for order in made.api("/v1/orders?limit=500")["data"]}


def test_an_old_database_goes_the_documented_way_and_back(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        made.env["RESCIND_SECRET_KEY"] = SECRET_KEY
        before = content(restore("server", made.database))
        with closing(sqlite3.connect(made.database)) as db:
            orders = {
                id: (phase, account) for id, phase, account in db.execute("SELECT id, phase, account FROM orders")
            }
        made.write(".env", "RESCIND_RETENTION_DAY=30\n")
        said = made.json("upgrade", "--check", code=1)
        assert [row["what"] for row in said["data"] if row["state"] == "fault"] == ["backup", "settings"]
        assert "meant to be RESCIND_RETENTION_DAYS?" in json.dumps(said)
        made.write(".env", "RESCIND_RETENTION_DAYS=30\n")

        (tmp_path / "backups").mkdir()
        done = made.json("upgrade", "--into", "backups")
        assert (done["check"]["found"], done["schema"]) == (0, {"from": SCHEMA, "to": STEPS[-1]})
        assert made.json("upgrade", "--check")["ready"]
        server = made.serve()
        assert verdicts(made) == orders
        events = made.api("/v1/events?limit=500")["data"]
        assert not RENAMED & {name for event in events for name in event["data"]}
        stop(server)
        assert made.json("rebuild", "--check")["mismatches"] == []

        backup = Path(done["backup"])
        assert content(tmp_path / backup) == before
        assert version(tmp_path / backup) == SCHEMA, "release 0.1 opens it"
        restored = made.json("restore", str(backup), "--force")
        assert content(tmp_path / backup) == before, "restoring it does not change it"
        assert version(Path(restored["kept"])) == STEPS[-1]
        server = made.serve(log="again.log")
        assert verdicts(made) == orders
        assert "paused" in {finding["code"] for finding in made.api("/v1/status")["findings"]}


def test_a_server_that_is_killed_in_any_migration_goes_on_from_the_step_before(tmp_path: Path) -> None:
    database = restore("server", tmp_path / "rescind.db")
    env = {name: value for name, value in os.environ.items() if not name.startswith("RESCIND_")}
    env |= {"RESCIND_DATABASE_URL": f"sqlite:///{database}", "RESCIND_SECRET_KEY": SECRET_KEY}
    for step in STEPS:
        prelude = KILLED_BEFORE_THE_COMMIT.format(version=step)
        process = Process(["migrate"], env=env, cwd=tmp_path, prelude=prelude)
        assert process.wait() == -signal.SIGKILL
        assert version(database) == step - 1, "what was done before stays, what was begun is gone"

    async def finished() -> list[Any]:
        store = await open_sqlite(database)
        try:
            return (await gather(check(store)))[0]
        finally:
            await store.close()

    assert asyncio.run(finished()) == []
    assert version(database) == STEPS[-1]


def test_orders_of_after_the_backup_are_asked_for_after_the_way_back(tmp_path: Path) -> None:
    with connected(tmp_path) as made:
        made.order()
        (tmp_path / "backups").mkdir()
        copied = made.json("backup", "--into", "backups")
        later = [made.order() for _ in range(2)]
        made.run("events", "export", "--account", ACCOUNT, "--source", "webhook", "--since", "1h", "-o", "later.jsonl")
        exported = [json.loads(line)["order"] for line in (tmp_path / "later.jsonl").read_text().splitlines()]
        assert set(later) <= set(exported)
        stop(made.running[0])
        made.run("restore", copied["file"], "--force")
        made.serve(log="again.log")
        assert not set(later) & set(verdicts(made))
        made.run("orders", "import", ACCOUNT, "later.jsonl", "--no-wait")
        made.run("resume")  # until then no provider is asked
        for order in later:
            path = f"/v1/accounts/{ACCOUNT}/orders/{order}/verdict"
            until(lambda: made.api(path)["cancelable"] == "yes", f"the provider was asked for {order}")  # noqa: B023 - at once
