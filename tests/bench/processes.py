"""Server processes that the bench starts."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator

SERVE = "import sys; from pathlib import Path; from app.serve import run; from app.config.settings import Settings; "
SERVE += "run(Settings(), Path(sys.argv[1]))"
"""Python that serves with the resources of a file."""


START_S = 120.0
"""How long a server may take to start: a busy machine takes long to import."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], port: int, environment: dict[str, str]) -> Iterator[int]:
    """The id of a server process, from when it listens until the end of the block."""
    process = subprocess.Popen(command, env={**os.environ, **environment}, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError(f"nobody listens on port {port}: {command}")
            time.sleep(0.05)
        yield process.pid
    finally:
        process.terminate()
        process.wait(20)
