"""What the demo plays on: the sandbox and a server, as processes of their own in a directory of their own.

Whatever happens, also on Ctrl-C, the processes are stopped by their ids and the directory is removed.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self, TypeVar

WINDOW_S = 6.0
"""The windows of the providers' limits, shortened."""
WAIT_S = 90.0
"""Nothing takes that long: it only ends what hangs, also on a machine that is busy."""
STOP_S = 30.0
TAIL_LINES = 12

_ROOT = Path(__file__).resolve().parents[3]
# At the end of the path, so that nothing beside this package gets before what Python brings along.
_RESCIND = f"import sys; sys.path.append({str(_ROOT)!r}); from app.cli.main import main; main()"
_SANDBOX_URL = re.compile(r"base_url (http://\S+)/\w+,")

T = TypeVar("T")


class WaitedInVainError(Exception):
    """Something did not come about in time: what, and where to look."""


class EndedError(Exception):
    """A process ended that should run."""


async def until(
    look: Callable[[], Awaitable[T | None]], what: str, see: str, wait_s: float = WAIT_S, every_s: float = 0.03
) -> T:
    """Ask `look` again and again until its answer is true; returns that answer.

    Raises `WaitedInVainError`, which names `what` was waited for and what to `see`.
    """
    deadline = time.monotonic() + wait_s
    while not (found := await look()):
        if time.monotonic() > deadline:
            raise WaitedInVainError(f"waited {wait_s:g} s in vain for {what}; look at {see}")
        await asyncio.sleep(every_s)
    return found


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only this run of the demo knows."""

    api_key: str = field(default_factory=lambda: f"rk_{secrets.token_urlsafe(32)}")
    encryption_key: str = field(default_factory=lambda: secrets.token_hex(32))
    hook_token: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    provider_key: str = field(default_factory=lambda: secrets.token_urlsafe(24))


class Worker:
    """One process: `rescind` with some arguments. What it prints goes to a log."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        self.name, self.log = name, directory / f"{name}.log"
        self._skipped = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            # A session of its own: Ctrl-C in the terminal is for the demo, which then stops its processes.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-c", _RESCIND, *arguments],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return self._process.poll()

    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_bytes()[self._skipped :].decode("utf-8", "replace")

    def end(self, patience_s: float = 0.0) -> None:
        """Ask it to end by SIGTERM and give it some time, or else end it by SIGKILL."""
        if patience_s and self.exit_code is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
        self._process.kill()  # does nothing to a process that has ended
        self._process.wait()


class Stage:
    """The sandbox, the server and their directory; a context manager that leaves nothing behind."""

    def __init__(self, *, keep: bool) -> None:
        self.keep, self.secrets = keep, Secrets()
        self.directory = Path()
        self.sandbox_url = self.server_url = ""
        self._environment: dict[str, str] = {}
        self._workers: dict[str, Worker] = {}

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="rescind-demo-"))
        self._environment = {
            "RESCIND_DATABASE_URL": f"sqlite:///{self.directory}/rescind.db",
            "RESCIND_SECRET_KEY": self.secrets.encryption_key,
            "RESCIND_BOOTSTRAP_KEY": self.secrets.api_key,
            "RESCIND_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with _deaf():
            for worker in self._workers.values():
                worker.end(0.0 if kind else STOP_S)
            if not self.keep:
                shutil.rmtree(self.directory, ignore_errors=True)

    async def open(self) -> None:
        """Start both processes, and wait until they listen."""
        # Known beforehand, because Rescind registers at providers under the URL at which they reach it.
        port = _free_port()
        self._environment |= {"RESCIND_PORT": str(port), "RESCIND_PUBLIC_URL": f"http://127.0.0.1:{port}"}
        sandbox = self._start("sandbox", ["sandbox", "--port", "0", "--window-s", str(WINDOW_S)])
        server = self._start("server", ["serve"])
        self.sandbox_url = await self._listens(sandbox, _sandbox_url)
        self.server_url = await self._listens(server, _server_url)

    def kill_server(self) -> int:
        """End the server as a crash would: kill -9, no goodbye. Returns the id that the process had."""
        server = self._workers["server"]
        server.end()
        return server.pid

    async def restart_server(self) -> int:
        """Start the server again, on the same database and the same port; returns the new process's id."""
        server = self._start("server", ["serve"])
        await self._listens(server, _server_url)
        return server.pid

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run `rescind` with these arguments on the demo's database; returns its exit code and what it printed."""
        worker = self._start("-".join(arguments).replace("--", ""), arguments)

        async def ended() -> bool:
            return worker.exit_code is not None

        await until(ended, f"`rescind {' '.join(arguments)}` to end", str(worker.log))
        return worker.exit_code or 0, worker.output()

    def last_words(self) -> list[str]:
        """The end of each log."""
        words = []
        for worker in self._workers.values():
            lines = worker.output().splitlines()[-TAIL_LINES:]
            words += [f"{worker.log.name}: {line}" for line in lines or ["(empty)"]]
        return words

    def write_settings(self) -> Path:
        """A file for a shell to read: everything that the demo's server and `rescind` as its client need."""
        values = {
            **self._environment,
            "RESCIND_URL": self.server_url,
            "RESCIND_API_KEY": self.secrets.api_key,
        }
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in values.items()]
        if shutil.which("rescind") is None:
            lines.append(f'export PATH="$PATH":{shlex.quote(str(Path(sys.executable).parent))}\n')
        file = self.directory / "settings.sh"
        file.touch(mode=0o600)
        file.write_text("".join(lines), encoding="utf-8")
        return file

    def _start(self, name: str, arguments: Sequence[str]) -> Worker:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RESCIND_")}
        self._workers[name] = Worker(name, arguments, {**inherited, **self._environment}, self.directory)
        return self._workers[name]

    @staticmethod
    async def _listens(worker: Worker, find: Callable[[str], str]) -> str:
        async def look() -> str:
            if worker.exit_code is not None:
                raise EndedError(f"the {worker.name} ended at its start with exit code {worker.exit_code}")
            return find(worker.output())

        return await until(look, f"the {worker.name} to listen", worker.log.name)


def _free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _sandbox_url(output: str) -> str:
    found = _SANDBOX_URL.search(output)
    return found[1] if found else ""


def _server_url(output: str) -> str:
    for line in output.splitlines():
        with suppress(ValueError):
            said = json.loads(line)
            if isinstance(said, dict) and said.get("event") == "listening":
                return str(said["url"])
    return ""


@contextmanager
def _deaf() -> Iterator[None]:
    """Ctrl-C is not heard: it must not interrupt the cleaning up, which is bounded in time."""
    known = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, known)
