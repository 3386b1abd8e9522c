"""A server process whose clock is ahead: as if it had been started so much later.

Tests run this as the first thing in a process (`Server(prelude=…)`): all modules of Rescind are imported by then, and
nothing has run. Within one life of the process time passes as it does; a week passes by lives that are further ahead.
"""

from __future__ import annotations

import inspect
import sys
import time
from datetime import datetime, timedelta, tzinfo
from types import ModuleType
from typing import Any

PACKAGES = ("app.", "handlers.")


def prelude(ahead: timedelta) -> str:
    """Python that puts the clock of its process ahead."""
    return f"from tests.moved_clock import put_ahead; put_ahead({ahead.total_seconds()!r})"


def put_ahead(seconds: float) -> None:
    """Put the wall clock of this process ahead, and the time since boot with it."""
    real_ns, real_clock = time.time_ns, time.clock_gettime_ns
    ahead, ahead_ns = timedelta(seconds=seconds), int(seconds * 1e9)

    class Kind(type):
        # Times that others made are as good.
        def __instancecheck__(cls, value: object) -> bool:
            return isinstance(value, datetime)

    class Ahead(datetime, metaclass=Kind):
        def __new__(cls, *args: Any, **kwargs: Any) -> datetime:  # type: ignore[misc]
            # Also of `fromtimestamp` and the like: what has another type than `datetime` is not JSON.
            return datetime(*args, **kwargs)  # noqa: DTZ001 - as it was called

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + ahead

    time.time_ns = lambda: real_ns() + ahead_ns
    time.time = lambda: real_ns() / 1e9 + seconds
    time.clock_gettime_ns = lambda which: real_clock(which) + (ahead_ns if which == time.CLOCK_BOOTTIME else 0)
    for name, module in list(sys.modules.items()):
        if name.startswith(PACKAGES) and getattr(module, "datetime", None) is datetime and _looks_at_the_clock(module):
            module.datetime = Ahead  # type: ignore[attr-defined]


def _looks_at_the_clock(module: ModuleType) -> bool:
    return "datetime.now(" in inspect.getsource(module)
