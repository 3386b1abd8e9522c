"""`rescind events export`: the whole log as a file, or none at all."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from e2e.test_cli_support import ACCOUNT, ENDPOINT, RESOURCES, TOKEN, Machine, fetch, machine


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        made.serve()
        made.write("rescind.yaml", RESOURCES)
        made.run("apply", "-f", "rescind.yaml")
        yield made


def tell(there: Machine, order: str) -> None:
    url = f"{there.env['RESCIND_URL']}/webhooks/{ENDPOINT}?token={TOKEN}"
    fetch(url, {"event": "order.processed", "order_id": order, "occurred_at": "2026-03-02T09:30:00Z"})


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def files(there: Machine) -> set[str]:
    return {file.name for file in there.folder.iterdir() if "events" in file.name}


def test_json_lines_in_the_order_of_the_log(there: Machine):
    for n in range(5):
        tell(there, f"o-{n}")
    listed = there.json("events", "list", "--all")["data"][::-1]
    file = there.folder / "events.jsonl"
    said = there.json("events", "export", "-o", str(file), "--json")
    assert lines(file) == listed
    assert (said["events"], said["first_at"], said["last_at"]) == (
        5,
        listed[0]["received_at"],
        listed[-1]["received_at"],
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    tell(there, "o-5")
    later = there.folder / "events-2.jsonl"
    there.run("events", "export", "-o", str(later), "--after", said["cursor"])
    assert [event["order"] for event in lines(later)] == ["o-5"], "and nothing twice"
    only = there.run("events", "export", "-o", "-", "--account", ACCOUNT, "--order", "o-2", "--type", "order.*").out
    assert [json.loads(line)["order"] for line in only.splitlines()] == ["o-2"]
    third = listed[3]["received_at"]
    early = there.json("events", "export", "-o", str(file), "--until", third, "--json")
    assert lines(file) == listed[:3]
    there.run("events", "export", "-o", str(file), "--after", early["cursor"])
    assert [event["order"] for event in lines(file)] == ["o-3", "o-4", "o-5"], "it goes on where the other ended"
    there.run("events", "export", "-o", str(file), "--since", third)
    assert [event["order"] for event in lines(file)] == ["o-3", "o-4", "o-5"]
    assert files(there) == {"events.jsonl", "events-2.jsonl"}


def test_parquet_has_typed_columns(there: Machine):
    for n in range(3):
        tell(there, f"o-{n}")
    file = there.folder / "events.parquet"
    assert "Exported 3 events" in there.run("events", "export", "--format", "parquet", "-o", str(file)).err
    table = pyarrow.parquet.read_table(file)
    rows = table.to_pylist()
    listed = there.json("events", "list", "--all")["data"][::-1]
    assert [row["id"] for row in rows] == [event["id"] for event in listed]
    assert str(table.schema.field("received_at").type) == "timestamp[us, tz=UTC]"
    for row, event in zip(rows, listed, strict=True):
        assert (json.loads(row["facts"]), json.loads(row["data"])) == (event["facts"], event["data"])
        assert (row["type"], row["receipt"]) == (event["type"], event["receipt"])
        assert row["received_at"].isoformat().replace("+00:00", "Z") == event["received_at"]
    empty = there.folder / "events-none.parquet"
    there.run("events", "export", "--format", "parquet", "-o", str(empty), "--type", "none.*")
    assert pyarrow.parquet.read_table(empty).num_rows == 0


def test_what_is_refused_leaves_the_file_alone(there: Machine):
    file = there.folder / "events.jsonl"
    file.write_text("mine")
    export = ("events", "export", "-o", str(file))
    assert "Nothing was written" in there.run(*export, "--after", "0123456789abcdef.3", code=1).err
    assert "no account 'nobody'" in there.run(*export, "--account", "nobody", code=1).err
    assert "No server responds" in there.run(*export, env={"RESCIND_URL": "http://127.0.0.1:1"}, code=1).err
    there.run(*export, "--after", "x", "--since", "1h", code=2)
    there.run("events", "export", "-o", "-", "--format", "parquet", code=2)
    assert (file.read_text(), files(there)) == ("mine", {"events.jsonl"})
