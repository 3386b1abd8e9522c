"""`rescind serve --workers N`: several nodes behind one port, started again when they end, stopped in order."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path
from urllib.request import Request, urlopen

from e2e.test_cli_support import ADMIN, Machine, machine, until
from postgres import new_target

from app.web.worker_metrics import merge


def on_postgres(made: Machine) -> None:
    target = new_target()
    given = {"DATABASE_URL": target.url, "DATABASE_SCHEMA": target.schema, "SECRET_KEY": "k" * 40, "MIGRATE": "1"}
    made.env |= {f"RESCIND_{name}": value for name, value in given.items()}


def logged(made: Machine, event: str) -> list[dict[str, object]]:
    # Not what the last line has so far: somebody may be writing it.
    *written, _ = (made.folder / "serve.log").read_text(encoding="utf-8").split("\n")
    lines = [json.loads(line) for line in written if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def workers_up(made: Machine) -> dict[str, float]:
    asked = Request(f"{made.env['RESCIND_URL']}/metrics", headers={"Authorization": f"Bearer {ADMIN}"})  # noqa: S310
    with urlopen(asked) as answer:  # noqa: S310 - our own server
        page = answer.read().decode()
    assert len(re.findall(r"^# TYPE rescind_build_info gauge$", page, re.MULTILINE)) == 1
    shown = set(re.findall(r'^rescind_build_info\{worker="(\d)",', page, re.MULTILINE))
    up = dict(re.findall(r'^rescind_worker_up\{worker="(\d)"\} (\S+)$', page, re.MULTILINE))
    assert shown == {number for number, value in up.items() if float(value)}
    return {number: float(value) for number, value in up.items()}


def test_workers_share_a_port_and_are_started_again(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        on_postgres(made)
        supervisor = made.serve("--workers", "2")
        until(lambda: workers_up(made) == {"1": 1.0, "2": 1.0}, "both work", supervisor)
        (url,) = {line["url"] for line in logged(made, "listening")}
        assert url == made.env["RESCIND_URL"]
        # Both accept: the system spreads new connections over them.
        pids = [line["pid"] for line in logged(made, "worker_started")]
        assert len(pids) == 2
        os.kill(int(str(pids[1])), signal.SIGKILL)
        until(lambda: len(logged(made, "worker_started")) == 3, "it is started again", supervisor)
        until(lambda: workers_up(made) == {"1": 1.0, "2": 1.0}, "both work again", supervisor)
        (ended,) = logged(made, "worker_ended")
        assert (ended["worker"], ended["signal"]) == (2, "SIGKILL")
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(60) == 0
        assert len(logged(made, "stopped")) == 2


def test_what_keeps_workers_from_starting_is_said_once(tmp_path: Path) -> None:
    with machine(tmp_path) as made:
        assert "a SQLite file has one writer" in made.run("serve", "--workers", "2", code=1).err
        on_postgres(made)
        made.env["RESCIND_MIGRATE"] = "0"
        refused = made.run("serve", "--workers", "3", code=1)
        assert refused.err.count("run `rescind migrate`") == 1


def test_pages_of_metrics_are_merged_by_metric() -> None:
    page = b'# HELP a A.\n# TYPE a counter\na_total{x="}"} 1.0\n# HELP b B {.\n# TYPE b gauge\nb 2.0\n'
    assert merge({1: page, 2: page, 3: None}).decode() == (
        "# HELP a A.\n# TYPE a counter\n"
        'a_total{worker="1",x="}"} 1.0\na_total{worker="2",x="}"} 1.0\n'
        '# HELP b B {.\n# TYPE b gauge\nb{worker="1"} 2.0\nb{worker="2"} 2.0\n'
        "# HELP rescind_worker_up 1 if the worker behind this port responds, else 0.\n"
        "# TYPE rescind_worker_up gauge\n"
        'rescind_worker_up{worker="1"} 1.0\nrescind_worker_up{worker="2"} 1.0\nrescind_worker_up{worker="3"} 0.0\n'
    )
