"""`rescind backup` and `restore` with a real server: what was acknowledged before a backup is in it, log and all."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from e2e.test_cli_support import ADMIN, RESOURCES, Machine, machine, stop, until

ORDERS = 40


def deliver(made: Machine, name: str, number: int) -> None:
    for n in range(number):
        body = {"event": "order.processed", "order_id": f"{name}-{n}", "occurred_at": "2026-03-01T12:00:00Z"}
        assert made.webhook(json.dumps(body).encode())["status"] == "accepted"


def orders(made: Machine) -> set[str]:
    return {each["id"] for each in made.api("/v1/orders?limit=500")["data"]}


def backup_timestamp(made: Machine) -> float:
    asked = Request(f"{made.env['RESCIND_URL']}/metrics", headers={"Authorization": f"Bearer {ADMIN}"})  # noqa: S310
    with urlopen(asked) as answer:  # noqa: S310 - our own server
        (value,) = re.findall(r"^rescind_backup_timestamp_seconds (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(value)


def states(verification: dict[str, Any]) -> dict[str, str]:
    return {check["check"]: check["state"] for check in verification["checks"]}


def check_verified(made: Machine, verification: dict[str, Any], events: int = ORDERS) -> None:
    assert {*states(verification).values()} == {"ok"}, verification
    assert list(states(verification)) == ["file", "schema", "key", "log", "orders"]
    assert (verification["found"], verification["faults"]) == (0, [])
    counts = {"orders": ORDERS, "events": events, "receipts": ORDERS, "cancellations": 0}
    assert verification["counts"] == counts
    assert verification["newest_event_at"] == made.api("/v1/events?limit=1")["data"][0]["received_at"]


def test_a_backup_beside_a_running_server_is_put_back(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        made.write("rescind.yaml", RESOURCES)
        made.serve("--apply", "rescind.yaml")
        deliver(made, "o", ORDERS)
        until(lambda: made.json("log", "verify")["unsealed"] == 0, "the log is not sealed")
        copied = made.json("backup", "copy.db", "--check")
        assert copied["key_file"] == "copy.db.key"
        check_verified(made, copied["check"])
        assert "in use" in made.run("restore", "copy.db", "--force", code=1).err
        deliver(made, "later", 3)

        stop(made.running[0])
        before = made.database.read_bytes()
        put_back = made.json("restore", "copy.db", "--force")
        assert Path(put_back["kept"]).read_bytes() == before
        made.serve(log="again.log")
        assert orders(made) == {f"o-{n}" for n in range(ORDERS)}
        check_verified(made, made.json("verify", str(made.database)), ORDERS + 1)  # and the pause
        found = made.json("doctor", code=1)["data"]
        assert [each["state"] for each in found if each["what"] == "backup"] == ["ok"]
        assert any("restored from a backup that ends 2" in each["detail"] for each in found)


def test_backups_into_a_directory_are_seen_by_the_server_and_by_doctor(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        made.write("rescind.yaml", RESOURCES)
        made.serve("--apply", "rescind.yaml")
        assert made.api("/v1/status")["last_backup_at"] is None
        assert backup_timestamp(made) == 0
        (tmp_path / "backups").mkdir()
        first, second = (made.json("backup", "--into", "backups", "--keep", "1", "--check") for _ in range(2))
        assert second["removed"] == [first["file"]]
        assert (tmp_path / second["file"]).is_file()
        assert made.api("/v1/status")["last_backup_at"] == second["at"]
        at = datetime.fromisoformat(second["at"]).timestamp()
        assert abs(backup_timestamp(made) - at) < 0.001
        apart = made.run("backup", "--into", "backups", "--without-key").err
        assert "which is not beside it" in " ".join(apart.split())
        for misused in (
            ["backup"],
            ["backup", "f.db", "--into", "backups"],
            ["backup", "f.db", "--keep", "2"],
            ["backup", "--into", "backups", "--keep", "0"],
            ["backup", "--into", "backups", "--force"],
        ):
            made.run(*misused, code=2)
        made.run("backup", "--into", "nowhere", code=1)


def spoil(made: Machine, name: str, sql: str) -> str:
    """A copy of the backup in which somebody changed something."""
    for suffix in ("", ".key"):
        shutil.copy(made.folder / f"copy.db{suffix}", made.folder / f"{name}{suffix}")
    with closing(sqlite3.connect(made.folder / name, isolation_level=None)) as db:
        db.execute(sql)
    return name


def faulty(made: Machine, *args: str) -> tuple[str, str]:
    """The check that finds a fault, and the fault."""
    found = made.json("verify", *args, code=1)
    (check,) = (name for name, state in states(found).items() if state == "fault")
    return check, found["faults"][0]


def test_what_is_wrong_with_a_backup_is_said_and_the_file_stays_as_it_was(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        made.write("rescind.yaml", RESOURCES)
        made.serve("--apply", "rescind.yaml")
        deliver(made, "o", 3)
        until(lambda: made.json("log", "verify")["unsealed"] == 0, "the log is not sealed")
        made.run("backup", "copy.db")
        before = {path.name: path.read_bytes() for path in tmp_path.glob("copy.db*")}
        assert "is sound: 3 orders" in made.run("verify", "copy.db").out
        assert {path.name: path.read_bytes() for path in tmp_path.glob("copy.db*")} == before

        order = spoil(made, "order.db", "UPDATE orders SET phase = 'canceled' WHERE id = 'o-1'")
        assert faulty(made, order) == ("orders", "order acme-photos o-1: order different")
        assert "has 1 fault: 3 orders" in made.run("verify", order, code=1).out
        made.run("verify", "none.db", code=1)
        assert before == {path.name: path.read_bytes() for path in tmp_path.glob("copy.db*")}


def test_the_newest_of_a_directory_is_restored(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        made.write("rescind.yaml", RESOURCES)
        server = made.serve("--apply", "rescind.yaml")
        (tmp_path / "backups").mkdir()
        assert "no backup" in made.run("restore", "--from", "backups", code=1).err
        for name in ("first", "second"):
            deliver(made, name, 1)
            newest = made.json("backup", "--into", "backups")["file"]
        stop(server)
        assert f"is restored from {newest}" in made.run("restore", "--from", "backups", "--force").out
        (tmp_path / newest).write_bytes(b"")
        failed = made.run("restore", "--from", "backups", "--force", code=1).err
        assert re.search(r"Older backups there: rescind-\d{8}T\d{6}Z\.db\.", failed)
        made.run("restore", code=2)
        made.run("restore", "a.db", "--from", "backups", code=2)
        made.serve(log="again.log")
        assert orders(made) == {"first-0", "second-0"}
