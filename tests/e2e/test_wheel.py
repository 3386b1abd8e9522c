"""From an installed wheel, outside the repository: everything a user does first, with nothing but what it requires."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest
from e2e.installed import ROOT, Installed, extra, install, link
from e2e.test_cli_support import PATIENCE_S, fetch, until
from e2e.test_demo import all_claims_hold

NAME = "acme_shop"
SOUND = """\
from dataclasses import replace
from handlers.planomatic import HANDLER as theirs
HANDLER = replace(theirs, name="acme_photos")
"""
WEBHOOK = {"event": "order.processed", "order_id": 4711, "status": "ordered"}


def listening(log: Path) -> str | None:
    """The URL at which the server listens, once its log says so."""
    # Not what the last line has so far: the server may be writing it.
    *written, _ = log.read_text(encoding="utf-8").split("\n")
    for line in written:
        if line.startswith("{") and (entry := json.loads(line))["event"] == "listening":
            return str(entry["url"])
    return None


def files(folder: Path) -> set[Path]:
    """The files below a folder, without what Python compiled, or is about to: that has another name at first."""
    found = (path for path in folder.rglob("*") if "__pycache__" not in path.parts and path.is_file())
    return {path.relative_to(folder) for path in found}


def completed(here: Installed, *words: str, **env: str) -> list[str]:
    """What bash completes the last of these words to, by the script that `rescind completion` prints."""
    call = 'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _rescind_completion rescind; echo "${COMPREPLY[@]}"'
    path = f"{here.environment / 'bin'}:{here.variables['PATH']}"
    script = f"source <(rescind completion bash); {call}"
    return here.run("--norc", "-c", script, "bash", *words, program="bash", PATH=path, **env)[0].split()


def page(url: str) -> str:
    with urlopen(url, timeout=PATIENCE_S) as response:  # noqa: S310 - our own server
        return str(response.read().decode())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return install(tmp_path_factory.mktemp("wheel"))


def test_the_sdist_builds_the_same_wheel_byte_for_byte(installed: Installed):
    folder = installed.folder.parent
    (wheel,), (second,) = ((folder / name).glob("rescind-*.whl") for name in ("dist", "again"))
    assert wheel.read_bytes() == second.read_bytes()


def test_everything_that_runs_a_server_is_in_it(installed: Installed):
    share = installed.environment / "share/rescind"
    expected = {path for path in files(ROOT / "deploy") if path.parts[0] != "checks"}
    assert expected
    assert files(share) == expected
    for package in ("app", "handlers", "rescind_client"):
        assert files(ROOT / package) == files(installed.site / package)
        assert (installed.site / package / "py.typed").is_file()


def test_the_demo_holds_what_it_claims(installed: Installed, tmp_path: Path):
    all_claims_hold([installed.program, "demo"], installed.variables, tmp_path)


def test_an_empty_folder_gets_a_server_that_takes_a_webhook(installed: Installed, tmp_path: Path):
    # Nothing is set yet.
    here = Installed(installed.environment, tmp_path)
    assert "Usage: rescind" in here.run(code=2)[0]
    assert completed(here, "rescind", "handl") == ["handlers"]
    here.run("init")
    settings = {**here.variables, "RESCIND_PORT": "0"}
    with (
        (tmp_path / "serve.log").open("wb") as log,
        subprocess.Popen(
            [here.program, "serve", "--apply", "rescind.yaml"], cwd=tmp_path, env=settings, stdout=log, stderr=log
        ) as server,
    ):
        try:
            url = until(lambda: listening(tmp_path / "serve.log"), "the server is listening", server)
            until(lambda: fetch(f"{url}/readyz"), "the server is ready", server)
            secret = re.search(r"HOOK_SECRET=(\w+)", (tmp_path / ".env").read_text(encoding="utf-8"))
            assert secret is not None
            assert fetch(f"{url}/webhooks/acme-photos-in", WEBHOOK, key=secret[1])["status"] == "accepted"
            (row,) = json.loads(here.run("orders", "list", "--json", RESCIND_URL=url)[0])["data"]
            assert row["account"] == "acme-photos"
            assert completed(here, "rescind", "accounts", "show", "ac", RESCIND_URL=url) == ["acme-photos"]
            # The console's pages and the page of the API are files of the package.
            assert "<html" in page(f"{url}/sign-in")
            assert "<html" in page(f"{url}/docs")
        finally:
            server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_S) == 0


def test_a_handler_of_ones_own_is_laid_out_found_and_tested(installed: Installed):
    said = installed.run("new-handler", NAME, code=2)[1]
    assert "give --into DIR" in said
    installed.run("new-handler", NAME, "--into", ".")
    assert NAME not in installed.run("handlers", "list")[0]
    path = {"RESCIND_HANDLERS_PATH": str(installed.folder)}
    listed = installed.run("handlers", "list", "--json", **path)[0]
    assert {each["name"]: each["source"] for each in json.loads(listed)["data"]}[NAME] == str(installed.folder)
    assert "rescind[test]" in installed.run("handlers", "test", NAME, code=1, **path)[1]
    link(installed, extra("test"))
    passed = installed.run("handlers", "test", NAME, **path)[0]
    assert " passed" in passed
    assert "skipped" not in passed
    assert "planomatic" not in passed
    words = installed.folder / NAME / "README.md"
    words.write_text("no heading\n", encoding="utf-8")
    out, said = installed.run("handlers", "test", NAME, code=1, **path)
    assert "test_every_handler_is_described" in out
    assert f"The handler {NAME} fails its contract tests" in said
    assert "there is no provider 'nobody'" in installed.run("handlers", "test", "nobody", code=1)[1]


def test_packages_bring_handlers_and_a_broken_one_is_named(installed: Installed):
    (installed.folder / "acme_photos.py").write_text(SOUND, encoding="utf-8")
    (installed.folder / "acme_broken.py").write_text("import no_such_module\n", encoding="utf-8")
    about = installed.folder / "acme-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n", encoding="utf-8")
    points = "[rescind.handlers]\nacme_photos = acme_photos:HANDLER\nacme_broken = acme_broken\n"
    (about / "entry_points.txt").write_text(points, encoding="utf-8")
    path = {"PYTHONPATH": str(installed.folder)}
    rows = {
        each["name"]: each
        for each in json.loads(installed.run("handlers", "list", "--json", code=1, **path)[0])["data"]
    }
    assert (rows["acme_photos"]["source"], rows["acme_photos"]["error"]) == ("package acme", None)
    assert rows["planomatic"]["source"] == "built in"
    assert "No module named 'no_such_module'" in rows["acme_broken"]["error"]
    said = installed.run("handlers", "test", "acme_broken", code=1, **path)[1]
    assert "the handler 'acme_broken' (package acme) is broken: ModuleNotFoundError" in said
    found = json.loads(installed.run("doctor", "--json", code=1, **path)[0])["data"]
    assert [each["state"] for each in found if each["what"] == "handler acme_broken"] == ["fault"]
    assert "acme_photos, generic" in next(each["detail"] for each in found if each["what"] == "handlers")


def test_a_handler_whose_name_is_taken_is_named(installed: Installed):
    own = installed.folder / "own"
    own.mkdir()
    (own / "planomatic.py").write_text("from handlers.kibo import HANDLER\n", encoding="utf-8")
    listed = installed.run("handlers", "list", "--json", code=1, RESCIND_HANDLERS_PATH=str(own))[0]
    sources = {(each["name"], each["source"]): each["error"] for each in json.loads(listed)["data"]}
    assert sources["planomatic", "built in"] is None
    assert "there is a handler of that name already (built in)" in sources["planomatic", str(own)]


def test_the_client_needs_its_extra_and_nothing_of_the_server(installed: Installed):
    program = "import rescind_client, sys; print(sorted({'app', 'handlers'} & set(sys.modules)))"
    python = str(installed.environment / "bin/python")
    assert "No module named 'httpx'" in installed.run("-c", program, program=python, code=1)[1]
    link(installed, extra("client"))
    assert installed.run("-c", program, program=python)[0] == "[]\n"
