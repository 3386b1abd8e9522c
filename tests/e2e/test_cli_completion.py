"""Completion: what a shell is given for a word, also where the server is away, slow or hostile."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from e2e.test_cli_support import Machine, machine

IDS = ["acme-photos", "acme.video_2", "$(touch owned)", "`id`", "two words", "o'clock", 'say "x"', "line\nfeed", ""]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path) as made:
        yield made


@contextmanager
def server_with(ids: list[str]) -> Iterator[str]:
    """A server whose lists have rows of these ids, one on a page; its URL."""

    class Lists(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.partition("cursor=")[2] or 0)
            page = {"data": [{"id": ids[number]}], "has_more": number + 1 < len(ids), "next_cursor": str(number + 1)}
            body = json.dumps(page).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Lists) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def completed(here: Machine, line: str, *, code: int = 0, **env: str) -> list[str]:
    """What bash is given for the last word of a line."""
    words = line.split(" ")
    asked = {"_RESCIND_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    ran = here.run(env={**asked, **env}, code=code)
    assert ran.err == ""
    return ran.out.split()


def test_commands_options_and_choices(here: Machine):
    assert completed(here, "rescind or") == ["orders"]
    assert {"serve", "version", "completion", "accounts"} <= {*completed(here, "rescind ")}
    assert completed(here, "rescind orders sh") == ["show"]
    assert completed(here, "rescind orders list --acc") == ["--account"]
    assert completed(here, "rescind events list --source ") == ["webhook", "provider", "clock", "operator"]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_given_the_same(here: Machine, shell: str):
    asked = {"_RESCIND_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_ARGS": "rescind orders sh"}
    ran = here.run(env={**asked, "_TYPER_COMPLETE_FISH_ACTION": "get-args"})
    assert "show" in ran.out
    assert "list" not in ran.out
    assert ran.err == ""
    assert f"_RESCIND_COMPLETE=complete_{shell}" in here.run("completion", shell).out


def test_ids_come_from_the_server_and_only_such_as_no_shell_evaluates(here: Machine):
    here.prelude = "from app.cli import completion; completion.PATIENCE_S = 60.0"  # for nine requests in turn
    with server_with(IDS) as url:
        for line in ("accounts show ", "endpoints show ", "orders list --account ", "keys revoke ", "policies show "):
            assert completed(here, f"rescind {line}", RESCIND_URL=url) == ["acme-photos", "acme.video_2"]
        assert completed(here, "rescind subscriptions show acme.", RESCIND_URL=url) == ["acme.video_2"]


def test_without_a_server_there_is_silence(here: Machine):
    assert completed(here, "rescind accounts show ") == []
    assert completed(here, "rescind accounts show ", RESCIND_URL="nonsense") == []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert completed(here, "rescind accounts show ", RESCIND_URL=url) == []
    here.write(".env", "not a variable\n")
    assert completed(here, "rescind or", code=1) == []
