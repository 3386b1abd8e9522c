"""Commands that work on a machine: what they do, and how they say that they cannot."""

from __future__ import annotations

import json
import os
import platform
import pty
import signal
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest
from e2e.test_cli_support import (
    ADMIN,
    API_KEY,
    PATIENCE_S,
    RESOURCES,
    TOKEN,
    Machine,
    fetch,
    machine,
    stop,
    until,
)
from processes import Process, lasting_port

from app import __version__
from app.store.migrations import migrations


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


def sql(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements:
            db.execute(statement)


def findings(here: Machine, code: int) -> dict[str, tuple[str, str, str]]:
    found = here.json("doctor", code=code)["data"]
    return {each["what"]: (each["state"], each["detail"], each["do"]) for each in found}


# -- serve -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_serve_ends_in_order(here: Machine, ending: signal.Signals):
    process = here.serve()
    process.send_signal(ending)
    assert process.wait(PATIENCE_S) == 0
    last = (here.folder / "serve.log").read_text(encoding="utf-8").splitlines()[-1]
    assert json.loads(last)["event"] == "stopped"


def test_serve_applies_a_file(here: Machine):
    here.serve("--apply", here.write("rescind.yaml", RESOURCES))
    assert [each["id"] for each in here.json("accounts", "list")["data"]] == ["acme-photos"]
    log = (here.folder / "serve.log").read_text(encoding="utf-8")
    assert API_KEY not in log
    assert TOKEN not in log


def test_every_wrong_setting_gets_a_sentence(here: Machine):
    wrong = {
        "RESCIND_PORT": "http",
        "RESCIND_SECRET_KEY": "short-secret",
        "RESCIND_ALLOW_NETWORKS": "10.0.0.0/40",
        "RESCIND_DATABASE_URL": "mysql://x",
        "RESCIND_PUBLIC_URL": "rescind.example.com",
    }
    said = here.run("serve", code=2, env=wrong).err
    assert all(f"{name}: " in said for name in wrong)
    assert "RESCIND_PORT: must be a whole number." in said
    assert len(said.splitlines()) == len(wrong)
    assert "short-secret" not in said


def test_one_database_serves_one_process(here: Machine):
    process = here.serve()
    said = here.run("serve", code=1).err
    assert said == (
        f"error: {here.database} is in use by another rescind process (pid {process.pid}): "
        "stop that one, or set RESCIND_DATABASE_URL to another file.\n"
    )
    assert "in use" in here.run("rebuild", code=1).err


def test_a_port_in_use(here: Machine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = here.run("serve", code=1, env={"RESCIND_PORT": port}).err
    assert said.splitlines()[-1] == (
        f"error: Port {port} of 127.0.0.1 is in use: stop what listens there, or set RESCIND_PORT."
    )


def test_an_address_that_is_not_ours(here: Machine):
    said = here.run("serve", code=1, env={"RESCIND_HOST": "192.0.2.1"}).err
    assert "Cannot listen at 192.0.2.1:0" in said
    assert "RESCIND_HOST" in said


def test_a_file_that_is_no_database(here: Machine):
    here.database.write_text("This is a letter, and not a database at all.\n" * 100, encoding="utf-8")
    here.database.chmod(0o600)
    for command in ("serve", "migrate", "rebuild"):
        said = here.run(command, code=1).err
        assert said.startswith(f"error: {here.database} ")
        assert said.lower().endswith("file is not a database.\n")
    assert findings(here, 1)["database"][0] == "fault"


def test_a_database_of_a_later_release(here: Machine):
    here.run("migrate")
    sql(here.database, "PRAGMA user_version = 99")
    for command in (["serve"], ["migrate"], ["migrate", "--check"]):
        said = here.run(*command, code=1).err
        assert "99" in said
        assert "install" in said
        assert len(said.splitlines()) == 1
    assert findings(here, 1)["database"][0] == "fault"


def test_a_secret_key_that_is_not_the_one(here: Machine):
    stop(here.serve("--apply", here.write("rescind.yaml", RESOURCES)))
    said = here.run("serve", code=1, env={"RESCIND_SECRET_KEY": "x" * 32}).err
    assert "does not open what this database holds: add the former key after a comma" in said
    assert "rebuild" not in said
    assert "does not open" in here.run("rebuild", code=1, env={"RESCIND_SECRET_KEY": "x" * 32}).err


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("accounts: [", "is not YAML"),
        ("accounts:\n  - {id: a, provider: nobody}\n", "there is no provider 'nobody'"),
        ("accounts:\n  - {id: a, provider: planomatic, config: {api_key: '${NOT_SET}'}}\n", "NOT_SET is not set"),
    ],
)
def test_a_resource_file_that_cannot_be_applied(here: Machine, text: str, said: str):
    err = here.run("serve", "--apply", here.write("wrong.yaml", text), code=1).err
    assert said in err
    assert len(err.splitlines()) == 1 + ("line" in err) * (len(err.splitlines()) - 1)


# -- migrate, doctor, rebuild ------------------------------------------------------------------


def test_migrate(here: Machine):
    assert "to do" in here.run("migrate", "--check", code=1).out
    assert not here.database.exists()
    done = here.json("migrate")
    assert done["done"] is True
    assert done["steps"][0] == {"version": 1, "name": "initial"}
    assert "up to date" in here.run("migrate", "--check").err
    assert here.json("migrate")["steps"] == []


def test_doctor_before_the_first_start(here: Machine):
    found = findings(here, 1)
    assert {what for what, (state, _, _) in found.items() if state == "fault"} == {"server"}
    assert "RESCIND_URL" in found["server"][2]
    assert not here.database.exists(), "looking must change nothing"
    assert "planomatic" in found["handlers"][1]


def test_doctor_finds_everything_in_order(here: Machine):
    here.serve("--apply", here.write("rescind.yaml", RESOURCES))
    assert findings(here, 0).pop("backup")[:2] == ("notice", "there is none")
    here.run("backup", "copy.db")
    found = findings(here, 0)
    assert {state for state, _, _ in found.values()} == {"ok"}
    assert "all 5 stored secrets" in found["secret key"][1]
    assert found["API key"][0] == "ok"
    record = Path(f"{here.database}.backup")
    for hours, state in ((35, "ok"), (37, "notice")):  # as the alert RescindBackupOld
        noted = json.loads(record.read_bytes()) | {"at": (datetime.now(UTC) - timedelta(hours=hours)).isoformat()}
        record.write_text(json.dumps(noted))
        assert findings(here, 0)["backup"][:2] == (state, f"{hours} hours old: {here.folder / 'copy.db'}")
    table = here.run("doctor").out
    assert [line.split()[0] for line in table.splitlines()][:3] == ["WHAT", "settings", "database"]
    assert ADMIN not in table


def test_doctor_finds_what_is_wrong(here: Machine):
    stop(here.serve("--apply", here.write("rescind.yaml", RESOURCES)))
    key_file = Path(f"{here.database}.key")
    key_file.chmod(0o644)
    here.env["RESCIND_PROT"] = "8700"
    found = findings(here, 1)
    assert found["secret key"][0::2] == ("fault", f"chmod 600 {key_file}")
    assert found["settings"] == ("fault", "unknown: RESCIND_PROT", "Is RESCIND_PROT meant to be RESCIND_PORT?")
    key_file.unlink()
    assert "is missing" in findings(here, 1)["secret key"][1]
    assert not key_file.exists(), "looking must change nothing"
    here.env["RESCIND_SECRET_KEY"] = "y" * 32
    assert "does not decrypt" in findings(here, 1)["secret key"][1]
    here.env["RESCIND_LOG_LEVEL"] = "loud"
    assert "RESCIND_LOG_LEVEL" in findings(here, 1)["settings"][1]


def test_doctor_says_what_is_wrong_with_the_key(here: Machine):
    here.serve()
    here.env["RESCIND_API_KEY"] = "rk_wrong"
    found = findings(here, 1)
    assert found["server"][0] == "ok"
    assert found["API key"][0] == "fault"
    assert "RESCIND_API_KEY" in found["API key"][1]


def test_doctor_asks_the_server_what_waits_for_a_person(here: Machine):
    assert findings(here, 1)["server"][1].endswith("; only this machine was checked")
    here.serve("--apply", here.write("rescind.yaml", RESOURCES))
    assert findings(here, 0)["resources"][1] == "1 accounts, 1 endpoints, 0 policies, 0 subscriptions"
    here.webhook(b'{"event":"order.flown","order_id":1}')
    here.run("pause", "--account", "acme-photos", "--reason", "stock-taking")
    found = findings(here, 1)
    assert found["receipts"][:2] == ("fault", "1 are in quarantine, because they could not be parsed")
    assert found["account acme-photos"][0] == "fault"
    assert "stock-taking" in found["account acme-photos"][1]
    assert found["account acme-photos"][2].startswith("`rescind resume --account acme-photos`")


def test_rebuild(here: Machine):
    process = here.serve("--apply", here.write("rescind.yaml", RESOURCES))
    for order in range(5):
        here.webhook(b'{"event":"order.processed","order_id":%d,"status":"ordered"}' % order)
    assert here.run("rebuild", "--check").err == "5 orders, 5 events: no mismatch.\n"
    stop(process)
    assert here.json("rebuild") == {"orders": 5, "events": 5, "found": 0, "repaired": 0, "mismatches": []}
    sql(here.database, "UPDATE orders SET phase = 'canceled' WHERE id = '3'", "DELETE FROM orders WHERE id = '4'")
    ran = here.run("rebuild", "--check", code=1)
    assert ran.out == "order acme-photos 3: order different\norder acme-photos 4: order missing\n"
    assert ran.err == "5 orders, 5 events: 2 mismatches, 0 repaired.\n"
    repaired = here.json("rebuild")
    assert (repaired["found"], repaired["repaired"]) == (2, 2)
    assert repaired["mismatches"][0] == {
        "account": "acme-photos",
        "order": "3",
        "what": "order",
        "problem": "different",
    }
    assert here.run("rebuild", "--check").out == ""


def test_rebuild_wants_a_database(here: Machine):
    assert "There is no database" in here.run("rebuild", code=1).err
    assert not here.database.exists()


# -- A server that is not there, or is another --------------------------------------------------


def test_no_server(here: Machine):
    url = f"http://127.0.0.1:{lasting_port()}"
    said = here.run("orders", "list", code=1, env={"RESCIND_URL": url})
    assert said.out == ""
    assert said.err == (
        f"error: No server responds at {url} (Connection refused). "
        "Start one with `rescind serve`, or set RESCIND_URL to its URL.\n"
    )
    version = here.run("version", env={"RESCIND_URL": url}).out
    assert version.startswith("rescind ")
    assert url in version
    shown = here.run("version", "--json", env={"RESCIND_URL": url}).json
    assert (shown["server"], shown["url"]) == (None, url)
    assert shown["fault"].startswith(f"No server responds at {url}")
    shown = here.run("version", "--json", env={"RESCIND_URL": "nonsense"}).json
    assert (shown["server"], shown["url"]) == (None, None)
    assert "RESCIND_URL" in shown["fault"]


def test_a_server_that_says_nothing_does_not_hold_up_the_version(here: Machine):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        shown = here.run("version", "--json", env={"RESCIND_URL": url}).json
    assert (shown["server"], shown["fault"]) == (None, f"The server at {url} sent no response within 2 s.")


@pytest.mark.parametrize("url", ["localhost", "ftp://x", "http://", "http://x:y", "http://x?y"])
def test_a_url_that_is_none(here: Machine, url: str):
    assert "RESCIND_URL: " in here.run("orders", "list", code=2, env={"RESCIND_URL": url}).err


def test_keys_that_do_not_fit(here: Machine):
    here.serve()
    no_key, wrong = {"RESCIND_API_KEY": ""}, {"RESCIND_API_KEY": "rk_wrong"}
    assert "set RESCIND_API_KEY" in here.run("orders", "list", code=1, env=no_key).err
    said = here.run("orders", "list", code=1, env=wrong).err
    assert "refuses the key in RESCIND_API_KEY: the API key is mistyped or incomplete" in said
    assert "rk_wrong" not in said
    assert "RESCIND_API_KEY: " in here.run("orders", "list", code=2, env={"RESCIND_API_KEY": "a\nb"}).err
    reader = here.run("keys", "create", "reader").out.strip()
    said = here.run("pause", code=1, env={"RESCIND_API_KEY": reader}).err
    assert "requires scope write" in said


def test_something_else_answers(here: Machine):
    here.env["RESCIND_URL"] = "http://127.0.0.1:1"
    here.start("sandbox", "--port", "0", log="sandbox.log")
    log = here.folder / "sandbox.log"

    def listening() -> str:
        return log.read_text(encoding="utf-8").partition("planomatic: base_url ")[2].partition("/planomatic")[0]

    url = until(listening, "it is up")
    said = here.run("orders", "list", code=1, env={"RESCIND_URL": url}).err
    assert f"The server at {url} is not Rescind" in said


@pytest.mark.parametrize("document", [b"{}", b"[]", b'{"info": 1}'])
def test_a_document_of_something_else_is_no_version(here: Machine, document: bytes):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(document)

        def log_message(self, *_: object) -> None:
            """Not into the test's output."""

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        Thread(target=server.handle_request, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        shown = here.run("version", "--json", env={"RESCIND_URL": url}).json
    assert (shown["server"], shown["fault"]) == (None, f"What responds at {url} is not Rescind.")


def test_misuse_is_told_from_failure(here: Machine):
    for args in (["nothing"], ["orders", "show"], ["cancel", "a"], ["orders", "list", "--limit", "0"], ["apply"]):
        assert here.run(*args, code=2).out == ""
    assert "--order needs --account" in here.run("events", "list", "--order", "1", code=2).err
    assert "not a time" in here.run("events", "list", "--since", "yesterday", code=2).err


# -- On a terminal ------------------------------------------------------------------------------


def on_terminal(here: Machine, *args: str, **env: str) -> str:
    """What a person at a terminal of 100 columns sees."""
    main, other = pty.openpty()
    settings = {**here.env, "TERM": "xterm-256color", "COLUMNS": "100", **env}
    with Process(args, env=settings, cwd=here.folder, stdin=other, stdout=other, stderr=other) as process:
        os.close(other)
        seen = b""
        while True:
            try:
                part = os.read(main, 65536)
            except OSError:  # the other side is closed
                break
            if not part:
                break
            seen += part
        process.wait(PATIENCE_S)
    os.close(main)
    return seen.decode()


def test_colors_are_for_terminals_that_want_them(here: Machine):
    here.serve("--apply", here.write("rescind.yaml", RESOURCES))
    here.webhook(b'{"event":"order.processed","order_id":6,"status":"ordered"}')
    here.webhook(b'{"event":"order.processed","order_id":7,"status":"\\u001b[31mordered"}')
    seen = on_terminal(here, "orders", "list")
    assert "\x1b[32myes" in seen
    assert "\x1b[31mordered" not in seen
    assert "\\x1b[31mordered" in seen.replace("\n", "")
    assert "\x1b[3" not in on_terminal(here, "orders", "list", NO_COLOR="1")
    assert "\x1b" not in here.run("orders", "list").out
    assert "\x1b[3" not in on_terminal(here, "orders", "list", "--json")


def test_the_server_answers_while_it_is_asked(here: Machine):
    here.serve()
    here.prelude = "from app.cli import version; version.PATIENCE_S = 60.0"
    assert fetch(f"{here.env['RESCIND_URL']}/healthz") == {"status": "ok"}
    version = here.json("version")
    assert version["client"] == version["server"] == __version__
    assert (version["url"], version["fault"]) == (here.env["RESCIND_URL"], None)
    assert version["python"] == platform.python_version()
    assert version["sqlite"] == sqlite3.sqlite_version
    assert version["schema"] == migrations("sqlite")[-1].version
    assert (Path(version["installed"]) / "app/cli/version.py").is_file()
