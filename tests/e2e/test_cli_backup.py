"""`rescind backup` and `restore` with a real server: what was acknowledged before a backup is in it, log and all."""

from __future__ import annotations

import json
import re
from datetime import datetime
from pathlib import Path
from urllib.request import Request, urlopen

from e2e.test_cli_support import ADMIN, RESOURCES, Machine, machine, stop

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


def test_a_backup_beside_a_running_server_is_put_back(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        made.write("rescind.yaml", RESOURCES)
        made.serve("--apply", "rescind.yaml")
        deliver(made, "o", ORDERS)
        copied = made.json("backup", "copy.db", "--check")
        assert copied["check"] == {"orders": ORDERS, "events": ORDERS, "found": 0, "repaired": 0, "mismatches": []}
        assert copied["key_file"] == "copy.db.key"
        assert "in use" in made.run("restore", "copy.db", "--force", code=1).err
        deliver(made, "later", 3)

        stop(made.running[0])
        before = made.database.read_bytes()
        put_back = made.json("restore", "copy.db", "--force")
        assert Path(put_back["kept"]).read_bytes() == before
        made.serve(log="again.log")
        assert orders(made) == {f"o-{n}" for n in range(ORDERS)}
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
