"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import postgres
import pytest

if TYPE_CHECKING:
    from subscribers import Sending, Subscriber


if postgres.for_servers():

    @pytest.fixture(autouse=True)
    def _schemas(tmp_path: Path) -> Iterator[None]:
        """What stands for the databases in the test's directory is dropped after all who use it have ended."""
        yield
        postgres.drop_targets(tmp_path)

    def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
        """Leave out what is about SQLite."""
        for item in items:
            for mark in item.iter_markers("sqlite_only"):
                item.add_marker(pytest.mark.skip(reason=f"SQLite only: {mark.args[0]}"))


@pytest.fixture
async def subscriber() -> AsyncIterator[Subscriber]:
    from subscribers import Subscriber  # noqa: PLC0415 - few tests need it

    started = await Subscriber.start()
    yield started
    await started.close()


@pytest.fixture
async def sending(tmp_path: Path, subscriber: Subscriber) -> AsyncIterator[Sending]:  # noqa: ARG001 - ends after it
    """Workers that send. They end before the subscriber does, which would leave open what it accepts while it ends."""
    from subscribers import Sending  # noqa: PLC0415 - few tests need it

    started = await Sending.start(tmp_path)
    yield started
    await started.stop()
