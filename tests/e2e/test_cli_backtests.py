"""Backtests from the command line: the progress, the summary, and a server that comes and goes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from e2e.test_cli_support import ACCOUNT, ADMIN, PATIENCE_S, Machine, Terminal, connected, fetch, stop, until
from processes import Process, lasting_port

WHEN = 'order.phase == "open" && size(order.appointments) == 0'
CANCEL = {"reason": "duplicate_order", "note": "We sent it twice."}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Machine]:
    with connected(tmp_path, lasting_port()) as made:
        yield made


def write(there: Machine, **more: Any) -> str:
    policy = {"id": "tested", "accounts": [ACCOUNT], "when": WHEN, "cancel": CANCEL, **more}
    return there.write("tested.yaml", json.dumps({"policies": [policy]}))


def summary(out: str) -> dict[str, str]:
    """The names and values above the list of decisions."""
    lines = out.partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition("  ") for line in lines)}


def test_what_it_would_have_done(there: Machine):
    first, second, third = there.order(), there.order(), there.order()
    there.act("deliver", order_id=int(second))
    there.wait_for(second, "order.delivered")
    there.run("cancel", ACCOUNT, third, "--reason", CANCEL["reason"], "--note", CANCEL["note"], "--wait")
    ran = there.run("policies", "backtest", write(there, limits={"per_hour": 2}))
    said = summary(ran.out)
    assert {name: said[name] for name in ("orders", "would cancel", "in time", "unknown", "too late", "failed")} == {
        "orders": "3",
        "would cancel": "3",
        "in time": "3",
        "unknown": "0",
        "too late": "0",
        "failed": "0",
    }
    assert said["already being canceled"] == "0"
    assert said["happened to them"] == "canceled 1, completed 1, open 1"
    assert (said["halted by"], said["before halt"]) == ("per_hour", "2 of 3")
    assert said["halted at"] == said["last at"]
    assert ran.err == ""
    head, *rows = [line.split() for line in ran.out.partition("\nDecisions\n")[2].splitlines()]
    assert head == ["TIME", "ACCOUNT", "ORDER", "OUTCOME", "VERDICT", "STATUS", "THEN", "HAPPENED"]
    assert [row[1:] for row in rows] == [
        [ACCOUNT, first, "shadowed", "yes", "ordered", "open"],
        [ACCOUNT, second, "shadowed", "yes", "ordered", "completed"],
        [ACCOUNT, third, "shadowed", "yes", "ordered", "canceled", "by", "bootstrap"],
    ]


def test_what_would_have_been_in_vain(there: Machine):
    order = there.order()
    there.act("schedule_appointment", order_id=int(order), starts_at="2030-01-31T16:00:00Z")
    there.wait_for(order, "appointment.scheduled")
    out = there.run("policies", "backtest", write(there, when='order.phase == "in_progress"')).out
    assert (summary(out)["would cancel"], summary(out)["too late"]) == ("0", "1")
    head, row = out.partition("\nDecisions\n")[2].splitlines()
    assert head.split()[-1] == "DETAIL"
    assert row.split()[1:5] == [ACCOUNT, order, "refrained", "no"]
    assert "An appointment is confirmed for 2030-01-31 16:00 UTC" in row


def test_how_much_is_listed_and_since_when(there: Machine):
    for _ in range(3):
        there.order()
    file = write(there)
    two = there.run("policies", "backtest", file, "--limit", "2")
    assert len(two.out.partition("\nDecisions\n")[2].splitlines()) == 3
    assert two.err == "These are the first 2 of 3 decisions: --limit lists more.\n"
    assert "Decisions" not in there.run("policies", "backtest", file, "--limit", "0").out
    dates = ("--since", "2026-01-01T00:00:00Z", "--until", "2026-02-01T00:00:00+01:00")
    period = summary(there.run("policies", "backtest", file, *dates).out)["period"]
    assert period == "2026-01-01T00:00:00Z to 2026-01-31T23:00:00Z"
    assert (
        "so nothing is in between"
        in there.run("policies", "backtest", file, "--until", "100d", "--since", "1h", code=2).err
    )
    there.run("policies", "backtest", file, "--limit", "-1", code=2)


def test_json(there: Machine):
    order = there.order()
    run = there.json("policies", "backtest", write(there), "--since", "1h")
    assert (run["state"], run["done"], run["orders"]) == ("done", 1, 1)
    assert [each["order"] for each in run["report"]["decisions"]] == [order]
    assert there.json("policies", "backtest", "nix", code=1)["type"] == "urn:rescind:problem:not-found"


def test_a_backtest_is_what_enforcing_asks_for(there: Machine):
    there.order()  # over an empty log it would show nobody anything
    file = write(there, mode="enforce")
    assert "rescind policies backtest" in there.run("apply", "-f", file, code=1).err
    there.run("policies", "backtest", file)
    there.run("apply", "-f", file)
    assert summary(there.run("policies", "backtest", "tested").out)["policy"] == "tested"


def test_what_cannot_be_tested(there: Machine):
    assert "policy tested: when: " in there.run("policies", "backtest", write(there, when="order."), code=1).err
    elsewhere = there.run("policies", "backtest", write(there, accounts=["nix"]), code=1).err
    assert "there is no account nix" in elsewhere
    assert "nix is neither a file nor a saved policy" in there.run("policies", "backtest", "nix", code=1).err


def test_progress_is_for_terminals(there: Machine):
    there.order()
    with Terminal(there, "policies", "backtest", write(there)) as terminal:
        terminal.sees("Backtest ")
        assert terminal.ends() == 0
        assert "Backtest done" in terminal.seen
        assert "1/1" in terminal.seen
        assert "would cancel" in terminal.seen


def children(there: Machine) -> list[int]:
    """The processes of the backtests that are running."""
    server = there.running[0].pid
    children = Path(f"/proc/{server}/task/{server}/children").read_text(encoding="utf-8").split()
    return [int(pid) for pid in children if "spawn_main" in command_line(pid)]


def command_line(pid: str) -> str:
    """The command line of a process; empty where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def held_up(there: Machine) -> int:
    """Have one backtest take its time, so that others wait for their turn. Gives its process."""
    url = f"{there.env['RESCIND_URL']}/v1/policies/held-up/backtest"
    policy = {"accounts": [ACCOUNT], "when": WHEN, "cancel": CANCEL}
    for _ in range(5):
        assert fetch(url, {"policy": policy}, key=ADMIN)["id"]
    (pid,) = until(lambda: children(there), "a backtest is running")
    os.kill(pid, signal.SIGSTOP)
    return pid


def test_a_backtest_that_fails(there: Machine):
    command = ["policies", "backtest", write(there), "--json"]
    with Process(command, env=there.env, cwd=there.folder) as running:

        def killed() -> int | None:
            for pid in children(there):
                with suppress(ProcessLookupError):  # it may have ended meanwhile
                    os.kill(pid, signal.SIGKILL)
            return running.poll()

        until(killed, "it ended")
        out, err = running.communicate(timeout=PATIENCE_S)
    assert (running.returncode, json.loads(out)["state"]) == (1, "failed")
    assert err.startswith("error: The backtest failed: ")


def test_its_processes_end_with_a_server_that_is_killed(there: Machine):
    pid = held_up(there)
    there.running[0].kill()
    os.kill(pid, signal.SIGCONT)
    until(lambda: not command_line(str(pid)), "the process of the backtest ended")


def test_waiting_can_be_broken_off(there: Machine):
    held_up(there)
    with Terminal(there, "policies", "backtest", write(there)) as terminal:
        terminal.sees("Backtest queued")
        terminal.breaks_off()
        assert terminal.ends() == 130
        assert "error: Stopped waiting; the server continues. Its id is bkt_" in terminal.seen


def test_a_restart_begins_it_anew(there: Machine):
    order = there.order()
    held_up(there)
    with Terminal(there, "policies", "backtest", write(there)) as terminal:
        terminal.sees("Backtest queued")
        assert stop(there.running[0]) == 0
        there.serve(log="again.log")
        assert terminal.ends() == 0
        assert order in terminal.seen.partition("Decisions\n")[2]
