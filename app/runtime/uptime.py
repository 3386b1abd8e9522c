"""The machine's uptime: a clock that cannot be set, and that continues across processes.

The time of day may be set between two processes, and then gives a wrong age of earlier calls.
"""

from __future__ import annotations

import time
from functools import cache
from hashlib import blake2b
from pathlib import Path

from app.core.attempt import Uptime

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime() -> Uptime | None:
    """The current uptime; None if the system has no id of the current boot."""
    boot = _boot()
    if boot is None:
        return None
    return Uptime(boot, time.clock_gettime_ns(_CLOCK) // 1000)


@cache
def _boot() -> int | None:
    try:
        id = _BOOT_ID.read_bytes().strip()
    except OSError:
        return None
    return int.from_bytes(blake2b(id, digest_size=8).digest(), "big", signed=True)


def boottime() -> float:
    """Seconds by a clock that cannot be set, and that goes on while the machine or the process is suspended."""
    return time.clock_gettime(_CLOCK)
