"""On what machine a bench ran: written into its JSON and under its plots."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

SYNCS = 50


def describe(command: str) -> dict[str, Any]:
    """The machine, the versions that count, the time, and the command."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = {line.partition(": ")[2] for line in lines if line.startswith("model name")}
    return {
        "command": command,
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": " / ".join(sorted(models)) or platform.machine(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 1),
        "fsync_ms": round(fsync_ms(), 2),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def line(machine: dict[str, Any]) -> str:
    """The same in one line."""
    return (
        f"`{machine['command']}`, {machine['date']}: {machine['cores']} cores ({machine['processor']}), "
        f"load {machine['load']} at the start, fsync {machine['fsync_ms']} ms, Python {machine['python']}, "
        f"SQLite {machine['sqlite']}"
    )


def fsync_ms() -> float:
    """Milliseconds that writing 4 KB through to the disk takes, where the bench puts its databases (median)."""
    took = []
    with tempfile.NamedTemporaryFile(prefix="rescind-bench-") as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            os.pwrite(file.fileno(), bytes(4096), 0)
            os.fsync(file.fileno())
            took.append((time.perf_counter() - began) * 1e3)
    return statistics.median(took)
