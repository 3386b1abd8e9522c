"""Fixtures of the suites that run over every implementation of an interface."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import budgets
import pytest
from contract.store_cases import OPENERS, Opener, forget_schemas

from app.store import Store

# The suite over all handlers ships with the package, and is imported from there.
pytest.register_assert_rewrite(
    "app.dev.suite.cases",
    "app.dev.suite.test_responses",
    "app.dev.suite.test_handlers",
    "app.dev.suite.test_simulators",
    "app.dev.suite.test_verdicts",
)


ONLY = os.environ.get("RESCIND_TEST_STORE")
"""One store only: `sqlite` or `postgres`."""


@pytest.fixture(autouse=True)
def no_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests hold transactions open until another one waits: on a busy machine for longer than a server may."""
    budgets.lift_limits(monkeypatch)


@pytest.fixture(params=[name for name in OPENERS if ONLY in (None, name)])
async def opener(request: pytest.FixtureRequest) -> AsyncIterator[Opener]:
    yield OPENERS[request.param]
    await forget_schemas()


@pytest.fixture
async def store(opener: Opener, tmp_path: Path) -> AsyncIterator[Store]:
    opened = await opener(tmp_path)
    yield opened
    await opened.close()
