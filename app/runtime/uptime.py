"""How long the machine has been up: a time that nobody sets, and that outlives a process.

The time of day may be set between two processes, and then says wrong things of how long ago something was.
"""

from __future__ import annotations

import time
from functools import cache
from hashlib import blake2b
from pathlib import Path

from app.core.attempt import Uptime

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def uptime() -> Uptime | None:
    """Now; None where the system does not tell one start of the machine from another."""
    boot = _boot()
    if boot is None:
        return None
    return Uptime(boot, time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000)


@cache
def _boot() -> int | None:
    try:
        id = _BOOT_ID.read_bytes().strip()
    except OSError:
        return None
    return int.from_bytes(blake2b(id, digest_size=8).digest(), "big", signed=True)
