"""The drill from top to bottom: serve under load, back up, destroy, restore, let the state come back, resume."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

import aiohttp

from app.dev.demo.console import Console, Report
from app.dev.demo.context import Context
from app.dev.demo.processes import Processes
from app.dev.demo.receiver import Receiver
from app.dev.drill.scenario import Drill

ORDERS, ORDERS_MIN = 480, 48
TOTAL_S, TIMEOUT_S = 300.0, 60.0
TITLES = {
    1: "A backup is taken under load, and more happens after it",
    2: "kill -9; database, log and key are gone; the backup is restored",
    3: "The providers send again what came after the backup; sending is paused",
    4: "Sending is resumed, and everything ends",
    5: "The result, beside a run without a disaster",
}
_OPENING = """\
A rehearsed recovery: a real server, and a simulated provider that keeps its own books. Everything is \
a process of its own, in a directory of its own; nothing outside it is touched.
"""


def run(orders: int, *, keep: bool = False) -> int:
    """Run the drill with so many orders; returns 0 if every claim holds, else 1."""
    console, report, began = Console(), Report(titles=dict(TITLES)), time.monotonic()
    with Processes(keep=keep, key_in_file=True) as processes:
        figures = asyncio.run(_run(processes, console, report, orders))
        if keep:
            console.print(f"Kept: {processes.directory}")
    console.print(" ")
    console.show(report.table())
    console.print(" ")
    for what, figure in figures:
        console.print(f"{what:<58} {figure}")
    style = "bold red" if report.exit_code else "bold green"
    console.print(f"\n{report.summary} It took {time.monotonic() - began:.0f} s.", style)
    return report.exit_code


async def _run(processes: Processes, console: Console, report: Report, orders: int) -> list[tuple[str, str]]:
    console.print(_OPENING)
    drill: Drill | None = None
    try:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with asyncio.timeout(TOTAL_S), AsyncExitStack() as stack:
            http = await stack.enter_async_context(aiohttp.ClientSession(timeout=timeout))
            receiver = await stack.enter_async_context(Receiver())
            await processes.start()
            drill = Drill(Context(processes, console, report, http, receiver), orders)
            await drill.play()
    except Exception as error:  # noqa: BLE001 - any error belongs into the table
        console.print(f"\nThis went wrong: {type(error).__name__}: {error}", "bold red")
        console.print(f"The ends of the logs:\n{processes.log_ends()}", "dim")
        report.add(drill.context.chapter if drill else 1, "completed", "yes", "no, see above", ok=False)
    return drill.figures if drill else []
