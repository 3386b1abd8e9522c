"""The server as a process: start, print where it listens, wait for a signal, stop in order."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvloop

from app import __version__
from app.config.faults import InvalidResourceError
from app.config.file import open_resource_file
from app.config.registry import broken_handlers
from app.config.settings import Settings
from app.node import DRAIN_S, Node
from app.runtime import log, tracing
from app.runtime.garbage import Collector
from app.runtime.redaction import Redactor
from app.runtime.service_manager import ServiceManager
from app.web.connections import CUT_OFF_S, allow_files
from app.web.liveness import Liveness
from app.web.scrape import SCRAPES
from app.web.server import HAND_OVER_S, REQUESTS_S, Runner, start_server
from app.web.worker_metrics import WorkerMetrics
from app.workers.deliveries.fairness import SOCKETS_MAX

SWITCH_INTERVAL_S = 0.0001
"""How long the event loop may hold Python's global lock while the database thread waits to hand over a result.
The default, 5 ms, is as long as several commits."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
CLOSE_S = 7.0
"""What is left when all requests and calls have ended: recording their results, and closing the database."""
STOP_S = HAND_OVER_S + REQUESTS_S + 2 * CUT_OFF_S + DRAIN_S + CLOSE_S
"""A server has ended so many seconds after the time of `RESCIND_DRAIN_S`, if the disk writes. A supervisor that kills
what does not end (terminationGracePeriodSeconds, TimeoutStopSec, stop_grace_period) waits longer than both together."""

logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Place:
    """Which of several workers this process is."""

    number: int
    workers: int
    directory: Path
    """Where their sockets are that only they use."""
    manager: ServiceManager
    """The supervisor, and the sockets that it holds."""
    is_first: bool
    """Whether it is the first process of all."""


def run(
    settings: Settings, apply_file: Path | None = None, *, confirm: bool = False, place: Place | None = None
) -> None:
    """Serve until SIGTERM or SIGINT, and end in order. A second signal ends the process at once.

    With `confirm`, policies of the file are enforced that were never backtested or shadowed; without it they raise
    `UnprovenPolicyError`. Raises `InheritedSocketError` for a socket that cannot be served. With `place` it is one of
    several workers.
    """
    # A watchdog ends a process that hangs by SIGABRT: where it hung is then in the log.
    faulthandler.enable()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    collector = Collector()
    collector.start()
    uvloop.run(_serve(settings, apply_file, collector, confirm=confirm, place=place))


async def _serve(
    settings: Settings, apply_file: Path | None, collector: Collector, *, confirm: bool, place: Place | None
) -> None:
    redactor = Redactor(settings.secrets)
    log.set_up(settings.log_format, settings.log_level, redactor)
    manager = place.manager if place else ServiceManager.from_environment(os.environ)
    if settings.tracing:
        tracing.set_up(providers=settings.tracing_providers)
    allow_files(settings.connections_max, SOCKETS_MAX)
    stop = asyncio.Event()
    for signal_number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(signal_number, _stop_in_order, stop)
    for broken in broken_handlers():
        logger.error("handler_broken", handler=broken.name, source=broken.source, error=broken.error)
    async with manager.starting():
        node = await Node.start(settings, redactor, tell=manager.show)
    try:
        if apply_file is not None:
            await _apply(node, apply_file, confirm=confirm)
        collector.settle()  # the configuration has been read, and stays
        node.collect_garbage(collector)
        runner, url = await start_server(node, manager.sockets)
        workers = await _join_workers(place, runner) if place else None
        try:
            logger.info("listening", url=url, version=__version__, database=settings.shown_database_url)
            if node.keys.none:
                hint = "nobody can use the API yet: set RESCIND_BOOTSTRAP_KEY (32 characters or more) and start again"
                logger.warning("no_api_key", hint=hint)
            liveness = Liveness(node, runner.readiness, url)
            async with manager.ready(liveness.fault, liveness.status):
                await stop.wait()
            manager.stopping("Stopping: requests and calls under way end first")
            await _drain(runner, settings.drain_s)
            if manager.sockets:
                await runner.hand_over()
        finally:
            await runner.cleanup()
            if workers is not None:
                await workers.stop()
    finally:
        await node.stop()
        tracing.shut_down()
    logger.info("stopped")


async def _apply(node: Node, apply_file: Path, *, confirm: bool) -> None:
    """Apply a resource file."""
    file = open_resource_file(apply_file)
    try:
        plan = await node.apply(file.resources, by=str(apply_file), confirm=confirm)
    except InvalidResourceError as error:
        raise file.located(error) from error
    changed = [f"{item.action} {item.kind} {item.id}" for item in plan if item.action != "unchanged"]
    logger.info("applied", file=str(apply_file), changes=changed)
    for item in plan:
        if item.secret is not None:
            hint = f"`rescind subscriptions rotate {item.id} --overlap 0` shows a new one"
            logger.warning("secret_generated", subscription=item.id, hint=hint)


async def _join_workers(place: Place, runner: Runner) -> WorkerMetrics:
    """Show the metrics of all workers, whichever is asked."""
    scrapes = runner.app[SCRAPES]
    scrapes.workers = workers = WorkerMetrics(place.directory, place.number, place.workers)
    await workers.start(scrapes.own_page)
    return workers


def _stop_in_order(stop: asyncio.Event) -> None:
    """On the first signal. The second one ends the process as a crash would."""
    stop.set()
    for signal_number in SIGNALS:
        # Not by its default effect, which it does not have on the first process of a container.
        asyncio.get_running_loop().add_signal_handler(signal_number, os._exit, 128 + signal_number)


async def _drain(runner: Runner, drain_s: float) -> None:
    """Serve on until load balancers have noticed."""
    logger.info("stopping", drain_s=drain_s)
    runner.drain()
    await wait_out(drain_s)


async def wait_out(seconds: float) -> None:
    """Wait. Tests decide when it is over."""
    await asyncio.sleep(seconds)
