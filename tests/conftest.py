"""Fixtures for tests that need a running Rescind or a provider."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import budgets
import examples  # noqa: F401 - its profile is for all tests
import pytest
import pytest_asyncio
import structlog
import templates
from providers import Provider
from receivers import Receiver
from servers import ACCOUNT, ENDPOINT, Rescind, account_of, endpoint_of

from app import node as nodes
from app.core import aggregate, results, unit_of_work
from app.core.lane import breaker, rate_control
from app.core.lane.pacing import RetrySchedule
from app.workers import attempt as workers_attempt

Start = Callable[..., Awaitable[Rescind]]
FOLDERS = ("browser", "e2e", "integration", "contract", "unit")
"""What takes longest begins first: then all cores have something to do to the end."""

MEMORY = Path("/dev/shm")  # noqa: S108 - nothing there is anybody's to guess: pytest makes directories of its own
ROOM_MIN = 4 << 30


def in_memory() -> bool:
    """Whether there is a file system in memory for what tests write, with room, from which programs may be started."""
    if not os.access(MEMORY, os.W_OK) or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    return shutil.disk_usage(MEMORY).free >= ROOM_MIN


# Most of what a test waits for is the disk that a commit goes to: what survives a process is the same in memory.
if "PYTEST_DEBUG_TEMPROOT" not in os.environ and in_memory():
    os.environ["PYTEST_DEBUG_TEMPROOT"] = str(MEMORY)

budgets.lift()
templates.use()

# What was started in the background by a shell ignores Ctrl-C, and so would every process that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# As the server logs, but readable: tracebacks in colors with every local take half a second each.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the slow folders first; within a folder the order stays."""
    items.sort(key=lambda item: next((n for n, name in enumerate(FOLDERS) if name in item.path.parts), len(FOLDERS)))


def pytest_collection_finish() -> None:
    """Spare the collector what was imported and collected: it lives to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """A simulated PlanOmatic, served on loopback."""
    started = await Provider.start()
    yield started
    await started.close()


@pytest.fixture
async def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts a Rescind in this process on the test's database; one after the other, for restarts."""
    # A call that hangs at the provider must not hold up the end of a test.
    monkeypatch.setattr(nodes, "DRAIN_S", 0.2)
    started: list[Rescind] = []

    async def start(**settings: Any) -> Rescind:
        rescind = await Rescind.start(tmp_path, **settings)
        started.append(rescind)
        return rescind

    yield start
    for each in started:
        if not each.session.closed:
            await each.stop()


@pytest.fixture
async def rescind(start: Start, provider: Provider) -> Rescind:
    """A Rescind with one account at the provider, and an endpoint for its webhooks."""
    started = await start()
    await started.put("accounts", ACCOUNT, account_of(provider.url))
    await started.put("endpoints", ENDPOINT, endpoint_of(ACCOUNT))
    return started


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Rescind]:
    """One Rescind for all tests of a module (marked `asyncio(loop_scope="module")`), which share its log."""
    started = await Rescind.start(tmp_path_factory.mktemp("shared"))
    yield started
    await started.stop()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries are short; how often is tried stays as it is."""
    soon = partial(RetrySchedule, first_s=0.05, cap_s=0.05)
    for module in (results, aggregate, unit_of_work):
        # Each module that imports a schedule has a name of its own for it.
        for name in {"CANCEL_RETRIES", "ACCEPTED_POLLS", "PROBE_RETRIES"} & set(vars(module)):
            monkeypatch.setattr(module, name, soon(attempts=getattr(module, name).attempts))
    monkeypatch.setattr(results, "THROTTLED_WAIT_S", 0.05)
    monkeypatch.setattr(workers_attempt, "STORE_RETRY_S", 0.05)
    monkeypatch.setattr(rate_control, "THROTTLED", soon())
    monkeypatch.setattr(breaker, "PERIODS", soon())


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver of deliveries on loopback that accepts everything."""
    started = await Receiver.start()
    yield started
    await started.close()
