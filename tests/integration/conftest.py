"""Fixtures of the integration tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from subscribers import Sending, Subscriber


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
