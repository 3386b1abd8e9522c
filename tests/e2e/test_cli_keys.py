"""`rescind keys`: create, restrict, rotate, list and revoke."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from e2e.test_cli_support import RESOURCES, machine


def test_the_life_of_a_key(tmp_path: Path) -> None:
    with machine(tmp_path) as here:
        here.write("rescind.yaml", RESOURCES)
        here.serve("--apply", "rescind.yaml")
        made = here.json(
            "keys", "create", "support", "--scope", "write", "--account", "acme-photos", "--expires-in", "90d"
        )
        assert (made["accounts"], made["scope"]) == (["acme-photos"], "write")
        left = datetime.fromisoformat(made["expires_at"]) - datetime.now(UTC)
        assert timedelta(days=89) < left < timedelta(days=91)
        key = {"RESCIND_API_KEY": made["key"]}
        assert here.run("orders", "list", env=key).code == 0
        assert "concerns all accounts" in here.run("policies", "list", env=key, code=1).err
        shown = here.run("keys", "create", "for people", "--account", "acme-photos")
        assert shown.out.strip().startswith("rk_")
        assert "for acme-photos" in shown.err
        assert "no account 'nix'" in here.run("keys", "create", "x", "--account", "nix", code=1).err
        assert "is not a time" in here.run("keys", "create", "x", "--expires-in", "soon", code=2).err

        rotated = here.json("keys", "rotate", made["id"], "--overlap", "2h", "--expires-in", "30d")
        assert (rotated["rotated_from"], rotated["accounts"]) == (made["id"], ["acme-photos"])
        assert here.run("orders", "list", env={"RESCIND_API_KEY": rotated["key"]}).code == 0
        assert here.run("orders", "list", env=key).code == 0
        assert "is not a duration" in here.run("keys", "rotate", made["id"], "--overlap", "2 hours", code=2).err
        assert "no API key 'key_none' in force" in here.run("keys", "rotate", "key_none", code=1).err
        default = here.json("keys", "rotate", rotated["id"])
        rows = {row["id"]: row for row in here.json("keys", "list")["data"]}
        ends = datetime.fromisoformat(rows[rotated["id"]]["expires_at"]) - datetime.now(UTC)
        assert timedelta(hours=23) < ends < timedelta(hours=25), "24 hours by default"
        assert len(rows) == 4
        table = here.run("keys", "list", env={"COLUMNS": "200"}).out
        for part in ("acme-photos", "LAST USED", "never", "ago)", "(in 1 h"):
            assert part in table, table
        here.run("keys", "revoke", default["id"], "--yes")
        assert "revoked 2" in here.run("keys", "list", env={"COLUMNS": "200"}).out
        for secret in (made["key"], rotated["key"], default["key"]):
            assert secret not in table
