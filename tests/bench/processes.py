"""Server processes that the bench starts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
SERVE = "import sys; from pathlib import Path; from app.serve import run; from app.config.settings import Settings; "
SERVE += "run(Settings(), Path(sys.argv[1]))"
"""Python that serves with the resources of a file."""


START_S = 120.0
"""How long a server may take to start: a busy machine takes long to import."""
END_S = 60.0
SAID_MAX = 2000
"""Bytes of what a server that did not start has said, which are shown."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """The id of a server process, from when it listens until the end of the block."""
    with tempfile.TemporaryFile() as said, contextlib.ExitStack() as ending:
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=said, stderr=said)
        ending.callback(_end, process)
        until = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > until or process.poll() is not None:
                said.seek(0)
                raise RuntimeError(f"nobody listens on port {port}: {command}\n{said.read()[-SAID_MAX:].decode()}")
            time.sleep(0.02)
        yield process.pid


def tree(pid: int) -> list[int]:
    """A process and those that it started, which still run."""
    pids, waiting = list[int](), [pid]
    while waiting:
        pids.append(waiting.pop())
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{pids[-1]}/task").glob("*/children"):
                waiting += map(int, children.read_text().split())
    return pids


def processor_seconds(pid: int) -> float:
    """Processor time so far of a process and those that it started, user and system."""
    ticks = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(") ")[2].split()
            ticks += sum(map(int, fields[11:15]))  # of itself, and of those that ended
    return ticks / _TICKS


def memory_mb(pid: int) -> float:
    """Memory that a process and those that it started hold of their own; mapped pages of files are the system's."""
    kilobytes = 0
    for each in tree(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/status").read_text().splitlines()
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))
    return kilobytes / 1024


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(END_S)
