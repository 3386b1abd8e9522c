"""FastAPI + SQLAlchemy on one uvicorn process (`requirements/bench.txt`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.bench.flame import TOOLS
from tests.bench.peers.peer import NotInstalledError, Peer

SECRET = "bench-hook-secret-0123456789"


def install() -> None:
    """`make bench-tools` does."""
    if not (TOOLS / "fastapi").is_dir():
        raise NotInstalledError("FastAPI is not installed. Run: make bench-tools")


def command(folder: Path, port: int) -> tuple[list[str], Mapping[str, str]]:
    """One process with uvloop and httptools, as fast as uvicorn is."""
    uvicorn = [sys.executable, "-m", "uvicorn", "tests.bench.peers.fastapi_receiver:app", "--port", str(port)]
    uvicorn += ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning"]
    path = os.pathsep.join((str(TOOLS.resolve()), str(Path.cwd())))
    return uvicorn, {"PYTHONPATH": path, "HOOK_SECRET": SECRET, "DATABASE": str(folder / "fastapi.db")}


PEER = Peer(
    "FastAPI + SQLAlchemy",
    "One commit for each webhook, synced to disk before the response (WAL, synchronous = FULL); signature, unique key.",
    install,
    command,
    ("fastapi.db",),
)
