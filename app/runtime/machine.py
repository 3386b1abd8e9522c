"""What this machine has: cores, memory, disk, and how long it takes to make a write durable."""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from app.core.capacity import Machine

WRITES = 9
WRITE_BYTES = 8192
"""A page of the database."""
WRITING_S = 2.0
"""No further test write begins after so long."""
NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "fuse.glusterfs", "ceph", "lustre", "afs")
"""Kinds of file systems that are on other machines."""
_CGROUP = Path("/sys/fs/cgroup")


def machine(directory: Path) -> Machine:
    """What is there for a database in `directory`. Raises OSError where nothing can be written."""
    disk = shutil.disk_usage(directory)
    kind = file_system(directory)
    return Machine(
        cores=_cores(),
        memory_bytes=_memory(),
        disk_free_bytes=disk.free,
        disk_bytes=disk.total,
        fsync_ms=durable_write_ms(directory),
        files=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        is_network_disk=kind.startswith(NETWORK),
        disk_kind=kind,
    )


def durable_write_ms(directory: Path) -> float:
    """The median of a few writes of a page to a file in `directory`, each made durable."""
    taken: list[float] = []
    page, began = os.urandom(WRITE_BYTES), time.monotonic()
    with tempfile.NamedTemporaryFile(prefix=".rescind-write-test-", dir=directory) as file:
        while len(taken) < WRITES and (not taken or time.monotonic() - began < WRITING_S):
            started = time.perf_counter()
            os.write(file.fileno(), page)
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - started)
    return statistics.median(taken) * 1000


def file_system(directory: Path) -> str:
    """The kind of the file system, such as `ext4`; "" where the system does not say."""
    path, longest, kind = directory.resolve(), 0, ""
    for fields in (line.split() for line in _read(Path("/proc/self/mounts")).splitlines()):
        point = fields[1].encode().decode("unicode_escape") if len(fields) > 2 else ""  # noqa: PLR2004 - device, point, kind
        if point and path.is_relative_to(point) and len(point) >= longest:
            longest, kind = len(point), fields[2]
    return kind


def _cores() -> int:
    """Cores that this process may use: of a container, those of its limit, rounded up."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _read(_CGROUP / "cpu.max").strip().partition(" ")
    if quota.isdecimal() and period.isdecimal():
        cores = min(cores, -(-int(quota) // int(period)))
    return max(1, cores)


def _memory() -> int:
    """Memory that this process may use, in bytes."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _read(_CGROUP / "memory.max").strip()
    return min(memory, int(limit)) if limit.isdecimal() else memory


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
