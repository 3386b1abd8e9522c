"""Commands as processes of their own, whose start costs little.

Most of what starting a command takes is importing it. So each process of pytest has one nursery: a process that has
imported everything, and does nothing but fork. What it forks is a real process with its own environment, directory,
streams, signals and exit code. That the installed command starts on its own is for other tests.
"""

from __future__ import annotations

import atexit
import json
import os
import random
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import IO, Self

import nursery

ROOT = Path(__file__).resolve().parents[1]
HANGS_S = 300.0
_PORTS: list[socket.socket] = []
"""They hold the ports that were given out: bound, and not listening."""


class Process:
    """`rescind` with these arguments in a process of its own; as `subprocess.Popen`, as far as tests need it.

    What it writes goes to files, if nothing else is said: they never fill up, as pipes do. `prelude` is Python that it
    runs first. `root` is the checkout whose release runs, with the packages that are installed here.
    """

    def __init__(
        self,
        args: Iterable[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        stdin: int | IO[bytes] | None = None,
        stdout: int | IO[bytes] | None = None,
        stderr: int | IO[bytes] | None = None,
        prelude: str = "",
        root: Path = ROOT,
    ) -> None:
        self.args, self.returncode = list(args), None
        self._written: dict[str, int] = {}
        streams = [stdin or subprocess.DEVNULL, self._open("out", stdout), self._open("err", stderr)]
        with Path(os.devnull).open("rb") as nothing:
            fds = [nothing.fileno() if each == subprocess.DEVNULL else _fileno(each) for each in streams]
            self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            job = json.dumps({"args": self.args, "env": dict(env), "cwd": str(cwd), "prelude": prelude}).encode()
            socket.send_fds(_nursery(root), [job], [theirs.fileno(), *fds])
            theirs.close()
        self._line.settimeout(HANGS_S)
        self.pid = int(self._line.recv(64))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(HANGS_S)

    def __del__(self) -> None:
        for each in self._written.values():
            os.close(each)
        self._line.close()

    def poll(self) -> int | None:
        """The exit code, None while it runs."""
        if self.returncode is None and select.select([self._line], [], [], 0)[0]:
            self._heed(self._line.recv(64))
        return self.returncode

    def wait(self, timeout: float = HANGS_S) -> int:
        """The exit code, when it has ended. Raises TimeoutError."""
        if self.returncode is None:
            self._line.settimeout(timeout)
            self._heed(self._line.recv(64))
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, which: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, which)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, timeout: float = HANGS_S) -> tuple[str, str]:
        """All that it wrote, when it has ended."""
        self.wait(timeout)
        return self.written("out"), self.written("err")

    def written(self, which: str) -> str:
        """What it wrote so far to the stream `out` or `err`, if that goes to a file of ours."""
        file = self._written[which]
        return os.pread(file, os.fstat(file).st_size, 0).decode()

    def _open(self, which: str, given: int | IO[bytes] | None) -> int | IO[bytes]:
        if given is None:
            given = self._written[which] = os.memfd_create(which)
        return given

    def _heed(self, told: bytes) -> None:
        assert told, "the nursery has ended"
        self.returncode = int(told)
        self._line.close()


def lasting_port() -> int:
    """A port that stays the test's own while nobody listens there: nobody gets it by chance, or from here once more."""
    for port in random.Random(f"{os.getpid()} {len(_PORTS)}").sample(range(20_000, 30_000), 1000):  # noqa: S311 - no secret
        held = socket.socket()
        try:
            held.bind(("127.0.0.1", port))
        except OSError:
            held.close()
            continue
        # From now on servers may listen there as well: all that tests start set SO_REUSEADDR.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _PORTS.append(held)
        return port
    raise AssertionError("no port is free")


@atexit.register
def _give_back_ports() -> None:
    for held in _PORTS:
        held.close()


def _fileno(stream: int | IO[bytes]) -> int:
    return stream if isinstance(stream, int) else stream.fileno()


@cache
def _nursery(root: Path) -> socket.socket:
    """The line to this process's nursery for a checkout, which ends with us."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for each in (ours, theirs):
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, nursery.MESSAGE_MAX)
    command = [sys.executable, str(root / "tests" / "nursery.py"), str(theirs.fileno())]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RESCIND_")}
    process = subprocess.Popen(command, cwd=root, env=environment, pass_fds=[theirs.fileno()], start_new_session=True)
    theirs.close()

    @atexit.register
    def end() -> None:
        ours.close()
        process.wait()

    return ours
