"""The demo's processes: the sandbox and a server, in a directory of their own.

However the demo ends, also by Ctrl-C, the processes are stopped by their ids and the directory is removed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
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
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

WINDOW_S = 4.0
"""The windows of the providers' limits, shortened."""
WAIT_S = 90.0
"""Only ends what hangs, also on a busy machine."""
STOP_S = 30.0
PORTS = range(20_000, 30_000)
"""Below those that systems give to whoever asks for any."""
TAIL_LINES = 12

_ROOT = Path(__file__).resolve().parents[3]
# At the end of the path, so that nothing beside this package shadows an installed package.
_RESCIND = f"import sys; sys.path.append({str(_ROOT)!r}); from app.cli.main import main; main()"
_SANDBOX_URL = re.compile(r"base_url (http://\S+)/\w+,")

T = TypeVar("T")


class WaitedInVainError(Exception):
    """Something did not happen in time: what, and where to look."""


class EndedError(Exception):
    """A process ended that should run."""


async def until(
    look: Callable[[], Awaitable[T | None]], what: str, see: str, wait_s: float = WAIT_S, every_s: float = 0.03
) -> T:
    """Call `look` until its result is true, and return that result.

    Raises `WaitedInVainError`, which names `what` was waited for and where to `see` why.
    """
    deadline = time.monotonic() + wait_s
    while not (result := await look()):
        if time.monotonic() > deadline:
            raise WaitedInVainError(f"waited {wait_s:g} s in vain for {what}; look at {see}")
        await asyncio.sleep(every_s)
    return result


def free_port() -> int:
    """A port that systems give to nobody by chance, before the server listens there or while it is started again."""
    for port in random.SystemRandom().sample(PORTS, len(PORTS)):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise EndedError("no port is free")


class Process:
    """A running `rescind` with some arguments; its output goes to a log."""

    def __init__(self, name: str, arguments: Sequence[str], environment: Mapping[str, str], directory: Path) -> None:
        self.name, self.log = name, directory / f"{name}.log"
        self._skipped = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            # In a session of its own: Ctrl-C in the terminal reaches the demo only, which then stops its processes.
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-P", "-c", _RESCIND, *arguments],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code; None while it runs."""
        return self._process.poll()

    @property
    def output(self) -> str:
        """What it printed so far."""
        return self.log.read_bytes()[self._skipped :].decode("utf-8", "replace")

    def end(self, wait_s: float = 0.0) -> None:
        """Send SIGTERM and wait `wait_s` seconds at most, then SIGKILL."""
        if wait_s and self.exit_code is None:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(wait_s)
        self._process.kill()  # does nothing to a process that has ended
        self._process.wait()


class Processes:
    """The sandbox, the server and their directory; a context manager that leaves nothing behind."""

    def __init__(self, *, keep: bool, key_in_file: bool = False) -> None:
        """With `keep` the directory stays; with `key_in_file` the server makes its key beside the database."""
        self._keep, self._key_in_file = keep, key_in_file
        self.api_key, self.webhook_token = f"rk_{secrets.token_urlsafe(32)}", secrets.token_urlsafe(24)
        self.directory = Path()
        self.sandbox_url = self.server_url = ""
        self._environment: dict[str, str] = {}
        self._running: dict[str, Process] = {}

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="rescind-demo-"))
        self._environment = {
            "RESCIND_DATABASE_URL": f"sqlite:///{self.directory}/rescind.db",
            "RESCIND_BOOTSTRAP_KEY": self.api_key,
            "RESCIND_ALLOW_NETWORKS": "127.0.0.0/8",
        }
        if not self._key_in_file:
            self._environment["RESCIND_SECRET_KEY"] = secrets.token_hex(32)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        # The cleanup is bounded in time, and Ctrl-C must not interrupt it.
        handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            for process in self._running.values():
                process.end(0.0 if kind else STOP_S)
            if not self._keep:
                shutil.rmtree(self.directory, ignore_errors=True)
        finally:
            signal.signal(signal.SIGINT, handler)

    async def start(self, sandbox_url: str = "") -> None:
        """Start both processes, and wait until they listen; with the URL of a sandbox that runs, the server only."""
        # Providers need the server's URL when webhooks are registered, so the port is chosen beforehand.
        port = free_port()
        self._environment |= {"RESCIND_PORT": str(port), "RESCIND_PUBLIC_URL": f"http://127.0.0.1:{port}"}
        server = self._start("server", ["serve"])
        if not sandbox_url:
            sandbox = self._start("sandbox", ["sandbox", "--port", "0", "--window-s", str(WINDOW_S)])
            sandbox_url = await self._listens(sandbox, _sandbox_url)
        self.sandbox_url = sandbox_url
        self.server_url = await self._listens(server, _server_url)
        self._environment |= {"RESCIND_URL": self.server_url, "RESCIND_API_KEY": self.api_key}

    def kill_server(self) -> int:
        """Kill the server by SIGKILL; returns the process id that it had."""
        server = self._running["server"]
        server.end()
        return server.pid

    async def restart_server(self) -> int:
        """Start the server again, on the same database and port; returns the new process id."""
        server = self._start("server", ["serve"])
        await self._listens(server, _server_url)
        return server.pid

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Run `rescind` with these arguments on the demo's database; returns its exit code and output."""
        process = self._start("-".join(arguments).replace("--", ""), arguments)

        async def ended() -> bool:
            return process.exit_code is not None

        await until(ended, f"`rescind {' '.join(arguments)}` to end", str(process.log))
        return process.exit_code or 0, process.output

    def log_ends(self) -> str:
        """The last lines of each log."""
        logs = [(process.log.name, process.output.splitlines()) for process in self._running.values()]
        return "\n".join(f"{name}: {line}" for name, lines in logs for line in lines[-TAIL_LINES:] or ["(empty)"])

    def write_settings(self) -> Path:
        """Write a file for a shell to source: the settings of the demo's server and of `rescind` as its client."""
        lines = [f"export {name}={shlex.quote(value)}\n" for name, value in self._environment.items()]
        if shutil.which("rescind") is None:
            lines.append(f'export PATH="$PATH":{shlex.quote(str(Path(sys.executable).parent))}\n')
        file = self.directory / "settings.sh"
        file.touch(mode=0o600)
        file.write_text("".join(lines), encoding="utf-8")
        return file

    def _start(self, name: str, arguments: Sequence[str]) -> Process:
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("RESCIND_")}
        self._running[name] = Process(name, arguments, {**inherited, **self._environment}, self.directory)
        return self._running[name]

    @staticmethod
    async def _listens(process: Process, read_url: Callable[[str], str]) -> str:
        async def look() -> str:
            if process.exit_code is not None:
                raise EndedError(f"the {process.name} ended at its start with exit code {process.exit_code}")
            return read_url(process.output)

        return await until(look, f"the {process.name} to listen", process.log.name)


def _sandbox_url(output: str) -> str:
    match = _SANDBOX_URL.search(output)
    return match[1] if match else ""


def _server_url(output: str) -> str:
    for line in output.splitlines():
        with suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and record.get("event") == "listening":
                return str(record["url"])
    return ""
