"""`rescind log`: an auditor verifies the log beside a running server, and finds what was changed or put back."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from e2e.test_cli_support import RESOURCES, Machine, machine, stop, until


def deliver(made: Machine, *names: str) -> None:
    for name in names:
        body = {"event": "order.processed", "order_id": name, "occurred_at": "2026-03-01T12:00:00Z"}
        assert made.webhook(json.dumps(body).encode())["status"] == "accepted"


def sealed(made: Machine) -> None:
    until(lambda: made.json("log", "verify")["unsealed"] == 0, "the log is not sealed")


def prove(made: Machine, public_key: str) -> None:
    """The newest event, the fourth, is proven to somebody without the database."""
    event = made.json("events", "list")["data"][0]["id"]
    proof = made.run("log", "prove", event, "--json")
    (made.folder / "proof.json").write_text(proof.out)
    for command in (("prove", event), ("check-proof", "proof.json")):
        assert f"{event} is in the log at position 4" in made.run("log", *command).out
    assert made.json("log", "check-proof", "proof.json")["checkpoint"] == proof.json["checkpoint"]
    made.run("log", "check-proof", "proof.json", "--public-key", public_key)
    changed = {**proof.json, "columns": [*proof.json["columns"][:-1], "{}"]}
    (made.folder / "changed.json").write_text(json.dumps(changed))
    assert "not the one that was sealed" in made.run("log", "check-proof", "changed.json", code=1).err
    other = "A" * 43 + "="
    assert "not signed" in made.run("log", "check-proof", "proof.json", "--public-key", other, code=1).err
    assert "holds no proof" in made.run("log", "check-proof", "rescind.yaml", code=1).err
    assert "There is no event" in made.run("log", "prove", event[:-4] + "0000", code=1).err


def test_a_log_is_verified_kept_proven_and_what_was_changed_is_named(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        assert "There is no database" in made.run("log", "verify", code=1).err
        made.write("rescind.yaml", RESOURCES)
        made.serve("--apply", "rescind.yaml")
        deliver(made, "o-1", "o-2", "o-3")
        sealed(made)
        made.json("backup", "before.db")
        deliver(made, "o-4")
        sealed(made)
        checkpoint = made.run("log", "checkpoint", "--json")
        (tmp_path / "kept.json").write_text(checkpoint.out)
        kept = checkpoint.json
        assert kept == made.api("/v1/log/checkpoints?limit=1")["data"][0]
        assert kept["last_position"] == 4
        assert kept["root"] in made.run("log", "checkpoint").out

        verified = made.json("log", "verify", "--against", "kept.json", "--from", "1h")
        assert {name: verified[name] for name in ("events", "erased", "unsealed", "found")} == {
            "events": 4,
            "erased": 0,
            "unsealed": 0,
            "found": 0,
        }
        assert (verified["root"], verified["public_key"]) == (kept["root"], kept["public_key"])
        assert made.json("log", "verify", "--to", "1h")["events"] <= 4
        made.run("log", "verify", "--against", kept["root"], "--public-key", kept["public_key"])
        said = made.run("log", "verify").out
        assert "4 events in" in said
        assert "as they were sealed" in said
        assert "--from and --to" in made.run("log", "verify", "--from", "1h", "--to", "2h", code=2).err
        assert "neither" in made.run("log", "verify", "--against", "z" * 64, code=2).err
        assert "--against" in made.run("log", "verify", "--against", "rescind.yaml", code=2).err
        assert "32 bytes" in made.run("log", "verify", "--public-key", "AAAA", code=2).err

        prove(made, kept["public_key"])

        with closing(sqlite3.connect(made.database, isolation_level=None)) as db:
            db.execute("UPDATE events SET body = '{}' WHERE seq = 2")
        faults = made.run("log", "verify", "--json", code=1).json["faults"]
        assert [(fault["problem"], fault["position"]) for fault in faults] == [("changed", 2)]
        assert f"event {faults[0]['event']} at position 2 was changed" in made.run("log", "verify", code=1).out
        assert [each["state"] for each in made.json("doctor", code=1)["data"] if each["what"] == "log"] == ["fault"]

        stop(made.running[0])
        made.json("restore", "before.db", "--force")
        said = made.run("log", "verify", "--against", "kept.json", code=1).out
        assert "an older backup restored" in said
        assert "the database says so of 2" in said
        made.run("log", "verify")
        made.serve(log="again.log")
        deliver(made, "o-4")
        sealed(made)
        assert made.run("log", "verify", "--against", kept["root"], code=1).out
        assert [each["state"] for each in made.json("doctor", code=1)["data"] if each["what"] == "log"] == ["ok"]
