"""Where a server's processor time goes under load: `python -m tests.bench.profiled [--mix five|new] [--postgres]`.

The main thread by stage: each sample (`tests.bench.sampler`) belongs to the innermost frame of one of them, so that the
stages add up to the whole. Below it the functions that take most, with what they call.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import ingest, load, machine, on_postgres, sampler
from tests.bench.processes import SERVE, free_port, processor_seconds, running
from tests.bench.tables import cells

SAMPLED = "from tests.bench.sampler import start; start(); "
STAGES = (
    ("signature", ("app/kit/signing/",)),
    ("parse: JSON to facts", ("handlers/", "app/kit/", "app/contract/", "app/web/parsing")),
    ("the webhook's request otherwise (body, redaction, metrics, response)", ("app/web/", "app/runtime/")),
    ("fold, verdict, policies", ("app/core/",)),
    ("group commit: look up, decide, finish", ("app/engine/",)),
    ("store: rows, packing, hand-over to the database's thread", ("app/store/", "aiosqlite/", "asyncpg/")),
    ("workers: index, log, timers, lists of traffic", ("app/workers/",)),
    ("HTTP (aiohttp)", ("aiohttp/", "multidict/", "yarl/")),
    ("event loop, and what else", ("",)),
)
SHOWN = 25
ORDERS, WARM_UP = 2000, 400
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")
WRITTEN_S = 30.0
Threads = dict[int, tuple[float, float]]


class Profile(NamedTuple):
    """Microseconds a webhook."""

    total: float
    stages: dict[str, float]
    functions: dict[str, float]
    """With what they call."""
    threads: list[tuple[str, float, float]]
    """(name, user, system) of each thread, the main one first; of PostgreSQL both together."""


def profile(mix: str = "five", orders: int = ORDERS, *, postgres: bool = False) -> Profile:
    """Start a server, send it webhooks, and sample it."""
    with tempfile.TemporaryDirectory(prefix="rescind-bench-") as name, contextlib.ExitStack() as started:
        folder, port = Path(name), free_port()
        (folder / "bench.yaml").write_text(ingest.RESOURCES % ingest.TOKEN)
        database = started.enter_context(on_postgres.database(folder)) if postgres else None
        environment = on_postgres.environment(database.url if database else "", "rescind", port)
        if database is None:
            environment["RESCIND_DATABASE_URL"] = f"sqlite:///{folder}/bench.db"
        environment[sampler.FILE] = str(folder / "samples.json")
        command = [sys.executable, "-P", "-c", SAMPLED + SERVE, str(folder / "bench.yaml")]
        pid = started.enter_context(running(command, port, environment))
        uvloop.run(load.run(port, ingest.webhooks(mix, WARM_UP, 1)))
        requests = ingest.webhooks(mix, orders, WARM_UP + 1)
        os.kill(pid, signal.SIGUSR2)
        before, spent = _threads(pid), processor_seconds(database.pid) if database else 0.0
        uvloop.run(load.run(port, requests))
        uvloop.run(ingest.at_rest(pid))  # the log is sealed and indexed
        after = _threads(pid)
        beside = (processor_seconds(database.pid) - spent) / len(requests) * 1e6 if database else 0.0
        os.kill(pid, signal.SIGUSR2)
        samples = _written(folder / "samples.json")
    measured = _profile(samples, before, after, pid, len(requests))
    return measured._replace(threads=[*measured.threads, ("PostgreSQL", beside, 0.0)]) if beside else measured


def _profile(samples: dict[str, object], before: Threads, after: Threads, pid: int, number: int) -> Profile:
    stages, functions, total = dict.fromkeys((stage for stage, _ in STAGES), 0.0), Counter[str](), 0.0
    for stack, seconds in samples["stacks"]:  # type: ignore[attr-defined]
        micros, frames = seconds / number * 1e6, [_short(frame) for frame in stack]
        total += micros
        stages[_stage(frames)] += micros
        for frame in set(frames):
            functions[frame] += micros
    names: dict[str, str] = samples["threads"]  # type: ignore[assignment]
    threads = []
    for thread, (user, system) in after.items():
        was = before.get(thread, (0.0, 0.0))
        shown = "main thread" if thread == pid else names.get(str(thread), "a thread of C")
        threads.append((shown, (user - was[0]) / number, (system - was[1]) / number))
    threads.sort(key=lambda row: (row[0] != "main thread", -row[1] - row[2]))
    return Profile(total, stages, dict(functions.most_common()), [row for row in threads if row[1] + row[2] >= 1])


def _stage(frames: list[str]) -> str:
    for frame in frames:
        for stage, prefixes in STAGES[:-1]:
            if frame.startswith(prefixes):
                return stage
    return STAGES[-1][0]


def _short(frame: str) -> str:
    """A frame without the folder of the checkout or of the environment."""
    return frame.removeprefix(f"{Path.cwd()}/").rpartition("site-packages/")[2]


def _threads(pid: int) -> Threads:
    """Microseconds of each thread so far: (user, system)."""
    used = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        fields = (task / "stat").read_text().rpartition(") ")[2].split()
        used[int(task.name)] = (int(fields[11]) * TICK_US, int(fields[12]) * TICK_US)
    return used


def _written(file: Path) -> dict[str, object]:
    until = time.monotonic() + WRITTEN_S
    while not file.exists():
        if time.monotonic() > until:
            raise TimeoutError("the server wrote no samples")
        time.sleep(0.05)
    samples: dict[str, object] = json.loads(file.read_text())
    return samples


def table(mix: str = "five", measured: Profile | None = None) -> Table:
    """Where the time goes now: the main thread by stage, then the other threads."""
    result = measured or profile(mix)
    shown = Table("where", "µs a webhook", title=f"Where a server's processor time goes: {ingest.MIXES[mix]}")
    for stage, micros in result.stages.items():
        shown.add_row(f"main thread: {stage}", f"{micros:.0f}")
    for name, user, system in result.threads:
        shown.add_row(f"{name}: user + system", f"{user:.0f} + {system:.0f}")
    shown.add_row("all threads", f"{sum(user + system for _, user, system in result.threads):.0f}")
    return shown


def main() -> None:
    """Print the stages and the functions."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--mix", choices=ingest.MIXES, default="five")
    options.add_argument("--orders", type=int, default=ORDERS)
    options.add_argument("--postgres", action="store_true", help="on a PostgreSQL beside it")
    options.add_argument("--json", type=Path, metavar="FILE", help="write the stages here")
    given = options.parse_args()
    described = machine.describe("python -m tests.bench.profiled")
    measured = profile(given.mix, given.orders, postgres=given.postgres)
    console, shown = Console(), table(given.mix, measured)
    console.print(shown)
    functions = Table("function, with what it calls", "µs a webhook", title="Main thread")
    own = {name: micros for name, micros in measured.functions.items() if name.startswith(("app/", "handlers/", "aio"))}
    for name, micros in list(own.items())[:SHOWN]:
        functions.add_row(name, f"{micros:.0f}")
    console.print(functions)
    if given.json:
        result = {"machine": described, "measured": machine.line(described), "tables": [cells(shown)]}
        given.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
