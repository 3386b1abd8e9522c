"""A first day: a folder to begin in, settings that are found again, and a simulated provider that is moved by words."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from e2e.test_cli_support import ACCOUNT, Machine, machine, stop, until
from processes import lasting_port

BEGUN = ("RESCIND_BOOTSTRAP_KEY", "RESCIND_API_KEY", "RESCIND_ALLOW_NETWORKS", "HOOK_SECRET", "PLANOMATIC_API_KEY")


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    """A machine where nothing is set but what a test must choose: ports and the database's place."""
    with machine(tmp_path) as made:
        for name in BEGUN:
            del made.env[name]
        yield made


def test_init_writes_what_serve_and_the_command_line_read(here: Machine):
    assert here.run("init").out.split() == ["rescind.yaml", ".env", ".gitignore"]
    assert stat.S_IMODE((here.folder / ".env").stat().st_mode) == 0o600
    assert {".env", "rescind.db*"} <= set((here.folder / ".gitignore").read_text(encoding="utf-8").split())

    server = here.serve()
    here.env["SANDBOX_URL"] = sandbox = _sandbox(here, "-f", "rescind.yaml")
    file = here.folder / "rescind.yaml"
    file.write_text(file.read_text(encoding="utf-8").replace("http://127.0.0.1:8701", sandbox), encoding="utf-8")
    assert "2 created" in here.run("apply", "-f", "rescind.yaml").err

    made = here.run("sandbox", "act", "planomatic", "create_order", "order_id=4711", "--url", sandbox)
    assert '"order_id": 4711' in made.out
    until(lambda: here.run("orders", "list").out.count("4711"), "the webhook has come in")
    words = ("--reason", "duplicate_order", "--note", "We sent it twice.", "--wait")
    assert here.json("cancel", ACCOUNT, "4711", *words)["state"] == "succeeded"

    stop(server)
    here.serve(log="again.log")
    assert "4711" in here.run("orders", "list").out, "a restart and another terminal know the same key"


def test_another_port_is_set_in_one_place_and_the_sandbox_says_what_did_not_arrive(here: Machine):
    port = lasting_port()
    here.run("init")
    del here.env["RESCIND_URL"], here.env["RESCIND_PORT"]
    with (here.folder / ".env").open("a", encoding="utf-8") as file:
        file.write(f"RESCIND_PORT={port}  # 8700 is taken\n")
    assert f"http://127.0.0.1:{port} " in here.run("orders", "list", code=1).err
    sandbox = _sandbox(here, "-f", "rescind.yaml")
    here.run("sandbox", "act", "planomatic", "create_order", "order_id=1", "--url", sandbox)
    log = here.folder / "sandbox.log"
    target = f"http://127.0.0.1:{port}/webhooks/acme-photos-in"
    until(lambda: f"A webhook to {target} got no response" in log.read_text(encoding="utf-8"), "the failure is told")
    assert "sent again every 360 s" in log.read_text(encoding="utf-8")


def _sandbox(here: Machine, *args: str) -> str:
    process = here.start("sandbox", "--port", "0", *args, log="sandbox.log")
    log = here.folder / "sandbox.log"
    until(lambda: "planomatic: webhooks go to" in log.read_text(encoding="utf-8"), "the sandbox is ready", process)
    return log.read_text(encoding="utf-8").partition("planomatic: base_url ")[2].partition("/planomatic")[0]


def test_init_leaves_what_is_there(here: Machine):
    here.write(".env", "A=1\n")
    assert ".env exists already" in here.run("init", code=1).err
    assert not (here.folder / "rescind.yaml").exists()
    (here.folder / "inner").mkdir()
    here.write("inner/.gitignore", "")
    ignored = b"*.log # caf\xe9"  # of an editor that knows no UTF-8
    (here.folder / "inner/.gitignore").write_bytes(ignored)
    assert here.json("init", "inner")["files"] == ["inner/rescind.yaml", "inner/.env", "inner/.gitignore"]
    assert (here.folder / "inner/.gitignore").read_bytes() == ignored + b"\n.env\nrescind.db*\n"
    assert "There is no folder nowhere" in here.run("init", "nowhere", code=2).err


def test_the_environment_outranks_the_file(here: Machine):
    here.write(".env", "# both\nexport RESCIND_URL='http://127.0.0.1:1'  # a port of nobody's\nRESCIND_API_KEY=x\n")
    assert "http://127.0.0.1:1 " in here.run("orders", "list", code=1).err
    assert "127.0.0.1:9 " in here.run("orders", "list", code=1, env={"RESCIND_URL": "http://127.0.0.1:9"}).err


def test_a_line_that_is_no_variable_is_named(here: Machine):
    here.write(".env", "A=1\n\nRESCIND_API_KEY\n")
    assert ".env, line 3: not NAME=value" in here.run("orders", "list", code=2).err
    here.write(".env", "A=1\n\nwhat is this\n")
    assert ".env, line 3: not NAME=value" in here.run("orders", "list", code=2).err


def test_act_says_what_it_cannot_do(here: Machine):
    here.run("init")
    here.env["RESCIND_URL"] = "http://127.0.0.1:1"
    url = _sandbox(here, "--file", "rescind.yaml")
    said = here.run("sandbox", "act", "planomatic", "fly", "--url", url, code=1).err
    assert "PlanOmatic cannot do 'fly'; it can do " in said
    assert "create_order, " in said
    assert "no provider 'nobody'" in here.run("sandbox", "act", "nobody", "fly", "--url", url, code=1).err
    assert "not NAME=VALUE" in here.run("sandbox", "act", "planomatic", "fly", "high", "--url", url, code=2).err
    here.write(
        "both.yaml",
        (here.folder / "rescind.yaml")
        .read_text(encoding="utf-8")
        .replace("endpoints:", "endpoints:\n  - {id: other, account: acme-photos, verify: {secrets: [x]}}"),
    )
    assert "endpoints other and acme-photos-in" in here.run("sandbox", "-f", "both.yaml", code=2).err
