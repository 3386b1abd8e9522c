"""What a load needs of a machine: measured constants, and the arithmetic on them.

The constants are of `python -m tests.bench.capacity` (`docs/operations/capacity.md` says under which conditions). Where
time is concerned they are processor time, user and system together, of the server's process: it carries over to other
machines far better than elapsed time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from app.core.findings import FAULT, NOTICE, OK, Finding

WEBHOOK_US = 700.0
"""Processor time of a webhook while many come at once, so that one commit serves many."""
WEBHOOK_ALONE_US = 3300.0
"""Processor time of a webhook that comes alone: it has a commit of its own."""
INDEX_US = 150.0
"""Processor time for each event afterwards, at low priority: search index and hash chain."""
READ_US = 300.0
"""Processor time of a `GET` of an order's verdict."""
CANCEL_US = 12_000.0
"""Processor time of a cancellation of one call, from the request to the provider's response on disk."""
DELIVERY_US = 750.0
"""Processor time of a delivery to a subscriber."""
IDLE_SHARE = 0.002
"""Share of a core that a server without work uses."""

EVENT_BYTES = 1160.0
"""Bytes on disk that stay of an event for ever: its row, its share of the order, indexes, the emptied receipt."""
CONTENT_RATIO = 0.08
"""Bytes on disk of a receipt's content ÷ bytes of the request; until the retention period ends."""
HEADER_BYTES = 200
"""The size of a request's headers, which are stored with its body."""
INDEX_BYTES = 90.0
"""Bytes of the search index for each event."""
MESSAGE_BYTES = 2150.0
"""Bytes of a message to subscribers, with the payload; until RESCIND_DELIVERIES_KEPT_DAYS end."""
DELIVERY_BYTES = 230.0
"""Bytes of one delivery of it."""
WAL_BYTES = 64 * 2**20
"""The write-ahead log keeps this size after a burst."""

START_BYTES = 125 * 10**6
"""Memory of a server that has just started."""
CACHE_BYTES = 340 * 10**6
"""What the caches of the database's connections came to with ten million events, after every list and page."""
CONNECTION_BYTES = 8200
"""Memory of an idle connection."""
STREAM_BYTES = 16_000
"""Memory of an open event stream."""
SOCKETS_OUT = 2048 + 100
"""Connections to subscribers and providers, at most."""
FILES = 100
"""File descriptors of the database, its connections, and the log."""

BACKUP_S_PER_GB = 5.0
"""Processor time of a verified backup."""
REBUILD_US = 32.0
"""Processor time of `rescind rebuild --check` for each event."""
COMMIT_REQUESTS = 256
"""Requests that one commit serves, at most."""

PROCESS_CORES = 1.0
"""Cores that one server can use for webhooks: its threads share one interpreter."""
BUSY = 0.5
"""Above this share of a limit, waiting times grow fast: it is where to plan for more."""
FSYNC_SLOW_MS, FSYNC_TOO_SLOW_MS = 20.0, 100.0
DAYS_NOTICE, DAYS_FAULT = 90.0, 14.0
"""Days until the disk is full."""
FOR_EVER_DAYS = 36_500.0
DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Load:
    """What comes in, and how long it is kept."""

    orders_per_day: float
    events_per_order: float = 6.0
    body_bytes: float = 1000.0
    peak: float = 5.0
    """The busiest minutes ÷ the mean of the day."""
    cancels_share: float = 0.02
    """Cancellations ÷ orders."""
    deliveries_per_event: float = 1.0
    reads_per_event: float = 1.0
    retention_days: float = 90.0
    deliveries_kept_days: float = 30.0
    bodies_max: int = 64 * 2**20
    connections: int = 256
    streams: int = 20

    @property
    def events_per_day(self) -> float:
        """Webhooks, and what Rescind records itself: three events of each cancellation."""
        return self.orders_per_day * (self.events_per_order + 3 * self.cancels_share)

    @property
    def webhooks_per_s(self) -> float:
        """At the peak."""
        return self.orders_per_day * self.events_per_order * self.peak / DAY_S


@dataclass(frozen=True, slots=True)
class Needs:
    """What a load takes."""

    cores: float
    """Processor time a second, at the peak."""
    memory_bytes: float
    log_bytes_per_day: float
    """What stays, database and index."""
    kept_bytes: float
    """Content of receipts and messages, which goes after its time: what it comes to."""
    files: int

    def database_bytes(self, days: float) -> float:
        """Database and search index after so many days, with the write-ahead log."""
        return self.log_bytes_per_day * days + self.kept_bytes + WAL_BYTES

    def disk_bytes(self, days: float, backups: int = 0) -> float:
        """The disk after so many days: with the backups, if they are on it, and room to write the database anew."""
        return self.database_bytes(days) * (2 + backups)


def needs(load: Load) -> Needs:
    """What a load takes of a machine."""
    events, webhooks = load.events_per_day, load.webhooks_per_s
    deliveries = events * load.deliveries_per_event
    per_webhook = webhook_us(webhooks) + INDEX_US + load.reads_per_event * READ_US
    per_webhook += load.deliveries_per_event * DELIVERY_US
    cancels = load.orders_per_day * load.cancels_share * load.peak / DAY_S
    return Needs(
        cores=IDLE_SHARE + (webhooks * per_webhook + cancels * CANCEL_US) / 1e6,
        memory_bytes=START_BYTES
        + CACHE_BYTES
        + load.bodies_max
        + load.connections * CONNECTION_BYTES
        + load.streams * STREAM_BYTES,
        log_bytes_per_day=events * (EVENT_BYTES + INDEX_BYTES),
        kept_bytes=events * (load.body_bytes + HEADER_BYTES) * CONTENT_RATIO * load.retention_days
        + deliveries * (MESSAGE_BYTES + DELIVERY_BYTES) * load.deliveries_kept_days,
        files=load.connections + SOCKETS_OUT + FILES,
    )


def webhook_us(per_s: float) -> float:
    """Processor time of a webhook at this rate: the more come at once, the more share a commit."""
    share = min(1.0, per_s / ALONE_UNTIL_PER_S)
    return WEBHOOK_ALONE_US + share * (WEBHOOK_US - WEBHOOK_ALONE_US)


ALONE_UNTIL_PER_S = 500.0
"""Below it, webhooks seldom find others to share a commit with."""


def most_webhooks_per_s() -> float:
    """Where one process is at its end, with index, a read and a delivery for each."""
    return PROCESS_CORES * 1e6 / (WEBHOOK_US + INDEX_US + READ_US + DELIVERY_US)


@dataclass(frozen=True, slots=True)
class Machine:
    """What is there."""

    cores: int
    memory_bytes: int
    disk_free_bytes: int
    disk_bytes: int
    fsync_ms: float
    """The median of a few writes, each made durable, in the directory of the database."""
    files: int
    """Limit of file descriptors of this user's processes."""
    is_network_disk: bool = False
    disk_kind: str = ""


@dataclass(frozen=True, slots=True)
class Growth:
    """What the log of a database says of the days behind it."""

    database_bytes: int
    """With search index and write-ahead log."""
    events: int
    events_per_day: float
    """The average of the last days."""
    days: float
    """How many days that is; 0 where there is nothing to tell it from."""

    @property
    def bytes_per_day(self) -> float:
        """How much the database grows, with its present bytes for each event."""
        share = self.database_bytes / self.events if self.events else EVENT_BYTES + INDEX_BYTES
        return self.events_per_day * max(share, EVENT_BYTES + INDEX_BYTES)


def compare(load: Load, machine: Machine, growth: Growth) -> Iterator[Finding]:
    """What a load needs against what is there."""
    needed = needs(load)
    yield _processor(load, needed, machine)
    yield _memory(needed, machine)
    yield _write(machine)
    yield _files(needed, machine)
    yield _disk(needed, machine, growth)


def _processor(load: Load, needed: Needs, machine: Machine) -> Finding:
    most = most_webhooks_per_s()
    used = max(needed.cores / machine.cores, load.webhooks_per_s / most)
    detail = (
        f"{load.webhooks_per_s:,.1f} webhooks/s at the peak take {needed.cores:.2f} cores of {machine.cores}; "
        f"one server ends at about {most:,.0f}/s"
    )
    if used > 1:
        todo = "This is more than one server does. Split the accounts over several servers, each with its database."
        return Finding("processor", FAULT, detail, todo)
    if used > BUSY:
        todo = "Beyond half of it, webhooks wait in bursts: give it faster cores, or fewer deliveries and streams."
        return Finding("processor", NOTICE, detail, todo)
    return Finding("processor", OK, detail)


def _memory(needed: Needs, machine: Machine) -> Finding:
    detail = f"up to {size(needed.memory_bytes)} of {size(machine.memory_bytes)}"
    if needed.memory_bytes > machine.memory_bytes:
        todo = "Give it more memory, or lower RESCIND_BODIES_MAX, RESCIND_CONNECTIONS_MAX and RESCIND_STREAMS_MAX."
        return Finding("memory", FAULT, detail, todo)
    if needed.memory_bytes > machine.memory_bytes * BUSY:
        return Finding("memory", NOTICE, detail, "Leave memory to the file cache: searches and lists read the disk.")
    return Finding("memory", OK, detail)


def _write(machine: Machine) -> Finding:
    kind = f" ({machine.disk_kind})" if machine.disk_kind else ""
    detail = f"a durable write takes {machine.fsync_ms:.1f} ms{kind}: what one webhook waits for at least"
    if machine.is_network_disk:
        todo = "SQLite needs a disk of this machine: locks of network file systems do not protect a database."
        return Finding("durable write", FAULT, detail, todo)
    if machine.fsync_ms > FSYNC_TOO_SLOW_MS:
        todo = "Move the database to a solid-state disk; see what else writes to this one."
        return Finding("durable write", FAULT, detail, todo)
    if machine.fsync_ms > FSYNC_SLOW_MS:
        return Finding("durable write", NOTICE, detail, "A solid-state disk does so within a few milliseconds.")
    return Finding("durable write", OK, detail)


def _files(needed: Needs, machine: Machine) -> Finding:
    detail = f"{needed.files} may be needed, {machine.files} are allowed"
    if needed.files > machine.files:
        todo = "Raise the limit (LimitNOFILE= in a systemd unit, ulimit -n in a shell), or fewer connections are taken."
        return Finding("file descriptors", NOTICE, detail, todo)
    return Finding("file descriptors", OK, detail)


def _disk(needed: Needs, machine: Machine, growth: Growth) -> Finding:
    measured = growth.days > 0
    per_day = growth.bytes_per_day if measured else needed.log_bytes_per_day
    room = machine.disk_free_bytes - growth.database_bytes  # to write the database anew, or to back it up beside it
    days = room / per_day if per_day else float("inf")
    source = f"as in the last {growth.days:.0f} days" if measured else "by the load given"
    detail = (
        f"database {size(growth.database_bytes)}, free {size(machine.disk_free_bytes)} of {size(machine.disk_bytes)}, "
        f"growth {size(per_day)} a day {source}: "
    )
    if room <= 0:
        todo = "There is no room for a migration, a restore or a backup of this size: make the disk larger."
        return Finding("disk", FAULT, detail + "less is free than the database has", todo)
    detail += f"room for {days:,.0f} days" if days < FOR_EVER_DAYS else "room for ever"
    if days < DAYS_NOTICE:
        todo = "Make the disk larger, keep backups elsewhere, or lower RESCIND_RETENTION_DAYS."
        return Finding("disk", FAULT if days < DAYS_FAULT else NOTICE, detail, todo)
    return Finding("disk", OK, detail)


def size(number: float) -> str:
    """Bytes, for people."""
    thousand = 1000
    for unit in ("bytes", "KB", "MB", "GB"):
        if abs(number) < thousand:
            return f"{number:,.0f} {unit}" if unit == "bytes" else f"{number:.3g} {unit}"
        number /= thousand
    return f"{number:,.3g} TB"
