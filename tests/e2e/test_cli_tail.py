"""`rescind events tail`: the log as it grows, through restarts, until Ctrl-C."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.test_cli_support import (
    ACCOUNT,
    ENDPOINT,
    PATIENCE_S,
    RESOURCES,
    TOKEN,
    Machine,
    Terminal,
    fetch,
    machine,
    until,
)
from processes import Process, lasting_port


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        made.env["RESCIND_PORT"] = str(lasting_port())  # for a restart
        made.serve()
        made.write("rescind.yaml", RESOURCES)
        made.run("apply", "-f", "rescind.yaml")
        yield made


def tell(there: Machine, order: str) -> None:
    url = f"{there.env['RESCIND_URL']}/webhooks/{ENDPOINT}?token={TOKEN}"
    fetch(url, {"event": "order.processed", "order_id": order, "occurred_at": "2026-03-02T09:30:00Z"})


def lines(there: Machine, log: str) -> list[str]:
    return (there.folder / log).read_text(encoding="utf-8").splitlines()


def test_the_latest_events_are_printed_oldest_first(there: Machine):
    assert there.run("events", "tail").out == ""
    for n in range(4):
        tell(there, f"o-{n}")
    printed = there.run("events", "tail", "-n", "3").out.splitlines()
    assert [re.findall(r"o-\d", line) for line in printed] == [["o-1"], ["o-2"], ["o-3"]]
    assert all(
        re.search(r"Z  order.processed  acme-photos o-\d  phase open.*evt_[0-9a-f]{32}$", line) for line in printed
    )
    rows = [json.loads(line) for line in there.run("events", "tail", "--since", "1h", "--json").out.splitlines()]
    assert [row["order"] for row in rows] == ["o-0", "o-1", "o-2", "o-3"]
    one = there.run("events", "tail", "--account", ACCOUNT, "--order", "o-2", "--type", "order.*,x").out
    assert re.findall(r"o-\d", one) == ["o-2"]
    assert there.run("events", "tail", "--source", "operator").out == ""
    assert "--order needs --account" in there.run("events", "tail", "--order", "o-1", code=2).err
    assert "no account 'nobody'" in there.run("events", "tail", "-f", "--account", "nobody", code=1).err
    assert (
        "No server responds" in there.run("events", "tail", "-f", env={"RESCIND_URL": "http://127.0.0.1:1"}, code=1).err
    )


def test_a_closed_pipe_ends_it(there: Machine):
    for n in range(3):
        tell(there, f"o-{n}")
    for args in (["tail", "--since", "1h"], ["tail", "-f"], ["list"], ["list", "--json"], ["export", "-o", "-"]):
        reading, writing = os.pipe()
        os.close(reading)
        with (there.folder / "pipe.log").open("wb") as errors:
            process = Process(["events", *args], env=there.env, cwd=there.folder, stdout=writing, stderr=errors)
        os.close(writing)
        assert process.wait(PATIENCE_S) == 1, args
        assert lines(there, "pipe.log") == [], "no traceback, and no other try"


def test_on_a_narrow_terminal_an_event_takes_two_lines_and_nothing_is_cut(there: Machine):
    tell(there, "o-1")
    with Terminal(there, "events", "tail", columns=80) as narrow:
        assert narrow.ends() == 0
    first, second = narrow.seen.splitlines()
    assert re.search(r"Z  order.processed  acme-photos o-1  phase open", first)
    assert re.fullmatch(r"  evt_[0-9a-f]{32}", second)


def test_it_goes_on_where_it_was_when_the_server_is_back_until_ctrl_c(there: Machine):
    tell(there, "o-0")
    tailing = there.start("events", "tail", "-f", log="tail.log")
    until(lambda: len(lines(there, "tail.log")) == 1, "the event before", tailing)
    tell(there, "o-1")
    until(lambda: len(lines(there, "tail.log")) == 2, "the event after", tailing)
    there.running[0].kill()
    there.running[0].wait()
    until(lambda: "Trying again" in lines(there, "tail.log")[-1], "it says that the server is away", tailing)
    there.serve(log="again.log")
    tell(there, "o-2")
    until(lambda: len(lines(there, "tail.log")) >= 5, "it goes on", tailing)
    printed = lines(there, "tail.log")
    assert [order for line in printed for order in re.findall(r"\bo-\d", line)] == ["o-0", "o-1", "o-2"]
    tailing.send_signal(signal.SIGINT)
    assert tailing.wait() == 0
    assert lines(there, "tail.log") == printed


def test_an_event_is_shown_with_where_it_leads(there: Machine):
    there.run("subscriptions", "create", "--id", "crm", "--events", "*")
    tell(there, "o-1")
    [event] = there.json("events", "list")["data"]
    shown = there.run("events", "show", event["id"]).out
    assert event["receipt"] in shown
    assert re.search(r"Messages to subscribers\n  msg_[0-9a-f]{16}  order.verdict_changed\n    crm  pending", shown)
    there.run("cancel", ACCOUNT, "o-1", "--reason", "duplicate_order", "--note", "x")
    [cancellation] = there.json("cancellations", "list")["data"]
    assert f"cancellations  {cancellation['id']}" in there.run("events", "show", event["id"]).out


def test_json_is_one_event_on_a_line(there: Machine):
    tailing = there.start("events", "tail", "-f", "-n", "0", "--json", "--type", "order.*", log="tail.log")
    numbers = iter(range(1000))

    def printed() -> bool:
        tell(there, f"o-{next(numbers)}")  # what comes before it listens is not printed
        return len(lines(there, "tail.log")) >= 2

    until(printed, "events", tailing)
    rows = [json.loads(line) for line in lines(there, "tail.log")]
    assert {row["type"] for row in rows} == {"order.processed"}
    tailing.send_signal(signal.SIGTERM)
    assert tailing.wait() == 0
