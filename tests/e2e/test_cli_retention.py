"""`rescind orders erase` and `rescind prune`: at a server, on the file, with an export first."""

from __future__ import annotations

import json
from pathlib import Path

from e2e.test_cli_support import ACCOUNT, RESOURCES, Machine, Terminal, machine, stop
from servers import stored_in

SECRET = "Mx-Quibble"


def deliver(made: Machine, order: str, event: str = "order.processed") -> None:
    body = {"event": event, "order_id": order, "property": {"street": f"1 {SECRET} Street"}, "client": {"n": SECRET}}
    assert made.webhook(json.dumps(body).encode())["status"] == "accepted"


def declined(made: Machine, command: tuple[str, ...], asked: str, typed: str) -> str:
    """What a person sees who types that when the command asks."""
    with Terminal(made, *command) as person:
        person.sees(asked)
        person.types(f"{typed}\n")
        assert person.ends() == 1
        return person.seen


def test_an_order_is_erased_once_its_id_is_typed_and_what_is_old_is_pruned(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        made.write("rescind.yaml", RESOURCES)
        made.serve("--apply", "rescind.yaml")
        deliver(made, "o-1")
        counted = made.json("orders", "erase", ACCOUNT, "o-1", "--dry-run")
        assert (counted["events"], counted["receipts"], counted["digest"]) == (1, 1, None)
        erase = ("orders", "erase", ACCOUNT, "o-1", "--reason", "request 17")
        assert "That is not o-1. Nothing was changed." in declined(made, erase, "Type the order's id (o-1)", "o-2")
        assert "1 events and 1 receipts lose their personal data for good" in made.run(*erase, code=2).err
        assert SECRET.encode() in stored_in(tmp_path)
        said = made.run(*erase, "--yes")
        assert "1 events and 1 receipts of order o-1 were erased." in said.out
        assert SECRET.encode() not in stored_in(tmp_path)
        assert made.json("receipts", "list")["data"][0]["expunged_at"]

        for number in range(3):
            deliver(made, f"p-{number}")
            deliver(made, f"p-{number}", "order.delivered")
        assert made.json("prune", "--older-than", "0", "--dry-run")["receipts"] == 6
        assert made.json("prune", "--older-than", "1")["receipts"] == 0, "nothing to ask about"
        prune = ("prune", "--older-than", "0", "--export", "old.jsonl")
        refused = made.run(*prune, code=2).err
        assert "This expunges the personal data of 6 receipts, 0 attempts, 0 messages and 3 orders" in refused
        assert "give --yes" in refused
        declined(made, prune, "Expunge it?", "n")
        assert SECRET.encode() in stored_in(tmp_path)
        assert not Path(tmp_path, "old.jsonl").exists()
        pruned = made.json(*prune, "--yes")
        assert (pruned["receipts"], pruned["orders"], pruned["error"]) == (6, 3, "")
        assert SECRET.encode() not in stored_in(tmp_path)
        lines = [json.loads(line) for line in Path(tmp_path, "old.jsonl").read_text().splitlines()]
        assert [line["kind"] for line in lines] == ["receipt"] * 6 + ["event"] * 6
        assert all(SECRET in json.dumps(line) for line in lines)
        assert Path(tmp_path, "old.jsonl").stat().st_mode & 0o077 == 0
        assert "exists already" in made.run(*prune, "--yes", code=1).err
        assert "in use" in made.run("prune", "--older-than", "0", "--vacuum", "--yes", code=1).err

        deliver(made, "q-1")
        stop(made.running[0])
        made.env["RESCIND_URL"] = "http://127.0.0.1:1"
        assert "say how old" in made.run("prune", code=2, env={"RESCIND_RETENTION_DAYS": "0"}).err
        left = made.json("prune", "--older-than", "0", "--vacuum", "--yes")
        assert (left["receipts"], left["orders"]) == (1, 0)
        assert made.json("rebuild", "--check")["found"] == 0
        verified = made.json("log", "verify")
        assert verified["erased"] > 3, verified
        assert not verified["found"], verified
