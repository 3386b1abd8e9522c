"""What the suite runs over: all chosen handlers, their fixtures, and those that give events."""

from __future__ import annotations

import pytest

from app.dev.suite.cases import chosen, fixtures, ids

FIXTURES, HANDLERS = list(fixtures()), list(chosen().values())
EVENTS = [each for each in FIXTURES if "events" in each.data]
by_handler = pytest.mark.parametrize("handler", HANDLERS, ids=[handler.name for handler in HANDLERS])
by_fixture = pytest.mark.parametrize("fixture", FIXTURES, ids=ids(FIXTURES))
by_event = pytest.mark.parametrize("fixture", EVENTS, ids=ids(EVENTS))
