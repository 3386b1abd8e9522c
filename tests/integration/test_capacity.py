"""`rescind doctor --capacity`: what a log says of its growth, and what the command makes of it."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from app.cli.doctor import doctor
from app.cli.failure import Failure
from app.engine.growth import traffic
from app.runtime import machine
from app.store.codec import micros
from app.store.sqlite import open_sqlite

EVENT = "INSERT INTO events (order_pk, key, account, name, type, source, occurred_at, received_at, body)"
ORDER = "INSERT INTO orders"
ORDERS = 40


async def database(folder: Path, now: datetime, *, hours: int, each: int, busy: int = 0) -> Path:
    """A database with so many events in each hour before `now`, and in one of these so many."""
    path = folder / "rescind.db"
    await (await open_sqlite(path)).close()
    with closing(sqlite3.connect(path)) as db:
        number = 0
        for hour in range(hours, 0, -1):
            for n in range(busy if busy and hour == 5 else each):
                number += 1
                at = micros(now - timedelta(hours=hour) + timedelta(minutes=20, seconds=n))
                row = (
                    number % ORDERS + 1,
                    number,
                    "acme",
                    f"o-{number % ORDERS}",
                    "order.processed",
                    "webhook",
                    at,
                    at,
                )
                db.execute(f"{EVENT} VALUES (?, ?, ?, ?, ?, ?, ?, ?, '{{}}')", row)
        columns = [row[1] for row in db.execute("PRAGMA table_info(orders)") if row[3] and not row[5]]
        for order in range(ORDERS):
            values = dict.fromkeys(columns, 0) | {"pk": order + 1, "account": f"a-{order}", "state": "{}"}
            names = ", ".join(values)
            db.execute(f"{ORDER} ({names}) VALUES ({', '.join('?' * len(values))})", tuple(values.values()))
        db.commit()
    return path


async def test_the_log_says_how_it_grows(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    path = await database(tmp_path, now, hours=240, each=10, busy=100)
    seen = traffic(path, now)
    assert seen is not None
    of_a_week = 167 * 10 + 100
    assert seen.growth.events == 239 * 10 + 100
    assert (seen.growth.days, seen.growth.events_per_day) == (7.0, pytest.approx(of_a_week / 7))
    assert seen.peak == pytest.approx(100 * 168 / of_a_week)
    assert seen.events_per_order == pytest.approx(seen.growth.events / ORDERS)
    assert seen.growth.database_bytes >= path.stat().st_size


async def test_a_log_of_hours_tells_no_growth_and_an_empty_one_nothing(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    path = await database(tmp_path, now, hours=5, each=10)
    seen = traffic(path, now)
    assert seen is not None
    assert seen.growth.days == 0
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM events")
        db.commit()
    assert traffic(path, now) is None


def shown(capsys: pytest.CaptureFixture[str], **options: Any) -> dict[str, Any]:
    """What the command prints as JSON."""
    with suppress(typer.Exit):  # where something is short
        doctor(capacity=True, json=True, **options)
    return dict(json.loads(capsys.readouterr().out))


async def test_the_command_compares_the_load_of_the_log_or_the_one_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The command looks at its own clock: what was made when the tests were collected would be too old by now.
    path = await database(tmp_path, datetime.now(UTC), hours=240, each=10)
    monkeypatch.setenv("RESCIND_DATABASE_URL", f"sqlite:///{path}")
    found = shown(capsys)
    compared = [row["what"] for row in found["data"]]
    assert compared == ["processor", "memory", "durable write", "file descriptors", "disk"]
    assert found["load"]["orders_per_day"] == pytest.approx(240 / found["load"]["events_per_order"])
    assert "as in the last 7 days" in found["data"][-1]["detail"]
    assert found["machine"]["fsync_ms"] > 0
    assert found["machine"]["disk_kind"], "of /proc/self/mounts"
    assert not [name for name in os.listdir(tmp_path) if "write-test" in name]  # noqa: PTH208 - of a test
    given = shown(capsys, orders_per_day=1e9, events_per_order=10.0)
    assert given["load"]["orders_per_day"] == 1e9
    assert {row["what"]: row["state"] for row in given["data"]}["processor"] == "fault"
    assert "by the load given" in given["data"][-1]["detail"]
    with pytest.raises(typer.BadParameter, match="--capacity"):
        doctor(orders_per_day=5.0)


async def test_a_directory_that_takes_no_write_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_directory: Path) -> float:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("RESCIND_DATABASE_URL", f"sqlite:///{tmp_path}/none/rescind.db")
    monkeypatch.setattr(machine, "durable_write_ms", full)
    with pytest.raises(Failure, match=rf"{tmp_path} takes no write \(No space left on device\)"):
        doctor(capacity=True)


def test_limits_of_a_container_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text("268435456\n")
    monkeypatch.setattr(machine, "_CGROUP", tmp_path)
    limited = machine.machine(tmp_path)
    assert (limited.cores, limited.memory_bytes) == (1, 2**28)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert machine.machine(tmp_path).memory_bytes > 2**28
