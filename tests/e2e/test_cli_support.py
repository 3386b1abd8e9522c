"""What the tests of the command line share: a machine with real processes on it, and a person who types.

Everything is run as its users run it: the installed command, its exit code, its two streams.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Self, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

from processes import Process

RESCIND = str(Path(sys.executable).with_name("rescind"))
ADMIN = "bootstrap-key-of-the-tests-of-the-cli"
TOKEN = "token-of-the-webhooks"
API_KEY = "y0Ur-AP1-k3y"
ACCOUNT, ENDPOINT = "acme-photos", "acme-photos-in"
PATIENCE_S = 120.0
"""This only ends what hangs: no test passes or fails by it on a machine that is busy."""

T = TypeVar("T")

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")

RESOURCES = """\
accounts:
  - id: acme-photos
    provider: planomatic
    config: {base_url: "${SANDBOX_URL}/planomatic", api_key: "${PLANOMATIC_API_KEY}"}
endpoints:
  - id: acme-photos-in
    account: acme-photos
    verify: {scheme: token, secrets: ["${HOOK_SECRET}"]}
"""


@dataclass(frozen=True)
class Ran:
    """What came of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass
class Machine:
    """A folder, an environment, and the processes in it."""

    folder: Path
    env: dict[str, str] = field(default_factory=dict)
    running: list[Process] = field(default_factory=list)
    installed: bool = False
    """Run the command as it is installed, although its start takes longer."""
    prelude: str = ""
    """Python that commands run first, but those that are installed."""

    def __post_init__(self) -> None:
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("RESCIND_", "COLUMNS"))},
            "RESCIND_DATABASE_URL": f"sqlite:///{self.database}",
            "RESCIND_PORT": "0",
            "RESCIND_BOOTSTRAP_KEY": ADMIN,
            "RESCIND_ALLOW_NETWORKS": "127.0.0.0/8",
            "RESCIND_API_KEY": ADMIN,
            # Not the default, where a server of somebody else may listen.
            "RESCIND_URL": "http://127.0.0.1:1",
            "HOOK_SECRET": TOKEN,
            "PLANOMATIC_API_KEY": API_KEY,
            "SANDBOX_URL": "http://127.0.0.1:1",
        }

    @property
    def database(self) -> Path:
        return self.folder / "rescind.db"

    def run(self, *args: str, code: int = 0, env: dict[str, str] | None = None, stdin: str = "") -> Ran:
        """Run a command to its end, which must come with this exit code."""
        ended, out, err = self._end(args, {**self.env, **(env or {})}, stdin)
        assert ended == code, f"{args}: {ended}\n{out}\n{err}"
        assert "Traceback" not in err, err
        return Ran(ended, out, err)

    def _end(self, args: tuple[str, ...], env: dict[str, str], stdin: str) -> tuple[int, str, str]:
        if self.installed:
            done = subprocess.run(
                [RESCIND, *args],
                env=env,
                cwd=self.folder,
                input=stdin,
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                check=False,
            )
            return done.returncode, done.stdout, done.stderr
        with TemporaryFile() as given:
            given.write(stdin.encode())
            given.seek(0)
            process = Process(args, env=env, cwd=self.folder, stdin=given, prelude=self.prelude)
            out, err = process.communicate()
            return process.wait(), out, err

    def json(self, *args: str, code: int = 0) -> Any:
        """Run a command with --json; what it prints."""
        return self.run(*args, "--json", code=code).json

    def start(self, *args: str, log: str) -> Process:
        """Start a command that goes on; what it prints goes to the file `log`."""
        with (self.folder / log).open("wb") as file:
            process: Any
            if self.installed:
                process = subprocess.Popen([RESCIND, *args], env=self.env, cwd=self.folder, stdout=file, stderr=file)
            else:
                process = Process(args, env=self.env, cwd=self.folder, stdout=file, stderr=file)
        self.running.append(process)
        return process

    def serve(self, *args: str, log: str = "serve.log") -> Process:
        """Start the server, wait until it is ready, and have the commands talk to it."""
        process = self.start("serve", *args, log=log)
        self.env["RESCIND_URL"] = until(lambda: self._url(log), f"the server is listening: {log}", process)
        until(lambda: fetch(f"{self.env['RESCIND_URL']}/readyz"), "the server is ready", process)
        return process

    def sandbox(self, *args: str) -> None:
        """Start the sandbox; its webhooks go to the endpoint."""
        target = f"{self.env['RESCIND_URL']}/webhooks/{ENDPOINT}"
        process = self.start(
            "sandbox", "--port", "0", "--webhooks-to", target, "--token", TOKEN, *args, log="sandbox.log"
        )
        log = self.folder / "sandbox.log"
        until(lambda: "planomatic: webhooks go to" in log.read_text(encoding="utf-8"), "the sandbox is ready", process)
        said = log.read_text(encoding="utf-8")
        self.env["SANDBOX_URL"] = said.partition("planomatic: base_url ")[2].partition("/planomatic")[0]

    def act(self, do: str, **params: Any) -> dict[str, Any]:
        """Let something happen at the provider."""
        url = f"{self.env['SANDBOX_URL']}/_sandbox/planomatic/act"
        answer: dict[str, Any] = fetch(url, {"do": do, **params})
        return answer

    def order(self) -> str:
        """Create an order at the provider; its id, once its webhook has come in."""
        order = str(self.act("create_order")["order_id"])
        self.wait_for(order, "order.processed")
        return order

    def wait_for(self, order: str, type: str) -> None:
        """Wait until an event of that type has come in."""
        path = f"/v1/events?account={ACCOUNT}&order={order}&type={type}"
        until(lambda: self.api(path)["data"], f"{type} of order {order}")

    def api(self, path: str) -> Any:
        return fetch(self.env["RESCIND_URL"] + path, key=ADMIN)

    def webhook(self, body: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = fetch(f"{self.env['RESCIND_URL']}/webhooks/{ENDPOINT}", body, key=TOKEN)
        return answer

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8")
        return name

    def _url(self, log: str) -> str | None:
        # Not what the last line has so far: the server may be writing it.
        *written, _ = (self.folder / log).read_text(encoding="utf-8").split("\n")
        for line in written:
            if line.startswith("{") and json.loads(line)["event"] == "listening":
                return str(json.loads(line)["url"])
        return None


class Terminal:
    """A person at a terminal, who reads what a command shows, and types."""

    def __init__(self, machine: Machine, *args: str, columns: int = 100) -> None:
        self._main, other = pty.openpty()
        env = {**machine.env, "TERM": "xterm-256color", "COLUMNS": str(columns)}
        self._process = Process(args, env=env, cwd=machine.folder, stdin=other, stdout=other, stderr=other)
        os.close(other)
        self._raw = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
        os.close(self._main)

    @property
    def seen(self) -> str:
        """Everything that was shown so far, without colors."""
        return _ESCAPES.sub("", self._raw.decode(errors="replace")).replace("\r\n", "\n")

    def sees(self, text: str) -> str:
        """Read until this was shown; everything that was shown so far."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.seen:
            assert time.monotonic() < deadline, f"it did not say {text!r}:\n{self.seen[-4000:]}"
            assert self._read(), f"it ended without saying {text!r}:\n{self.seen}"
        return self.seen

    def types(self, text: str) -> None:
        """Type something."""
        os.write(self._main, text.encode())

    def breaks_off(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def ends(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._main], [], [], PATIENCE_S)
        assert ready, f"nothing more within {PATIENCE_S:g} s:\n{self.seen}"
        try:
            part = os.read(self._main, 65536)
        except OSError:  # the other side is closed
            return False
        self._raw += part
        return bool(part)


@contextmanager
def machine(folder: Path) -> Iterator[Machine]:
    """A machine; whatever is still running on it is stopped in the end."""
    made = Machine(folder)
    try:
        yield made
    finally:
        for process in made.running:
            stop(process)


@contextmanager
def connected(folder: Path, port: int = 0) -> Iterator[Machine]:
    """A machine with a server, a simulated provider, and an account there."""
    with machine(folder) as made:
        made.env["RESCIND_PORT"] = str(port)
        made.serve()
        made.sandbox()
        made.write("rescind.yaml", RESOURCES)
        made.run("apply", "-f", "rescind.yaml")
        yield made


def stop(process: Process) -> int:
    """End a process in order; its exit code."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    return process.wait(PATIENCE_S)


def until(look: Callable[[], T], what: str, process: Process | None = None) -> T:
    """Look again and again until there is something to see."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        seen = look()
        if seen:
            return seen
        assert process is None or process.poll() is None, f"it ended before {what}"
        time.sleep(0.02)
    raise AssertionError(f"not within {PATIENCE_S:g} s: {what}")


def fetch(
    url: str,
    body: Any = None,
    key: str | None = None,
    method: str | None = None,
    headers: dict[str, str] | None = None,
) -> Any:
    """One call over HTTP; None where nobody answers yet."""
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    sent = {**({"Authorization": f"Bearer {key}"} if key else {}), **(headers or {})}
    try:
        with urlopen(Request(url, data, sent, method=method), timeout=PATIENCE_S) as answer:  # noqa: S310 - our own servers
            return json.loads(answer.read())
    except (URLError, ConnectionError):
        return None
