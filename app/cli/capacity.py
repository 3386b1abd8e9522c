"""`rescind doctor --capacity`: whether this machine is large enough, and until when."""

from __future__ import annotations

# ruff: noqa: PLC0415 - what is slow to import waits until a command needs it, so that `--help` is quick
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.database import require_file
from app.cli.failure import Failure
from app.core.capacity import Growth, Load, Machine, Needs, compare, needs
from app.core.findings import Finding

if TYPE_CHECKING:
    from app.config.settings import Settings

ORDERS_PER_DAY = 1000.0
"""Where neither the log nor an option says how many there are."""


@dataclass(frozen=True, slots=True)
class Given:
    """What options say of the load; None: as in the log."""

    orders_per_day: float | None = None
    events_per_order: float | None = None
    body_bytes: float | None = None


@dataclass(frozen=True, slots=True)
class Capacity:
    """What is needed against what is there."""

    load: Load
    needs: Needs
    machine: Machine
    growth: Growth
    findings: Sequence[Finding]

    def shown(self) -> dict[str, Any]:
        """As JSON."""
        parts = {name: asdict(getattr(self, name)) for name in ("load", "needs", "machine", "growth")}
        return {"data": [asdict(finding) for finding in self.findings], **parts}


def capacity(settings: Settings, given: Given) -> Capacity:
    """Compare. Raises `Failure` if the database's directory cannot be examined."""
    from app.runtime.machine import machine

    instead = "its page says what nodes and backend need for a load; `rescind doctor` compares connections"
    database = require_file(settings, "`rescind doctor --capacity` measures a machine and its log", instead)
    directory = next(parent for parent in database.resolve().parents if parent.exists())
    try:
        there = machine(directory)
        load, growth = _load(settings, database, given)
    except OSError as error:
        raise Failure(
            f"{directory} takes no write ({error.strerror}): make room, or give this user permission."
        ) from error
    except sqlite3.Error as error:
        raise Failure(f"{database} (RESCIND_DATABASE_URL): {error}.") from error
    return Capacity(load, needs(load), there, growth, list(compare(load, there, growth)))


def _load(settings: Settings, database: Path, given: Given) -> tuple[Load, Growth]:
    from app.engine.growth import traffic

    recent = traffic(database, datetime.now(UTC)) if database.is_file() else None
    load = Load(
        orders_per_day=ORDERS_PER_DAY,
        retention_days=settings.retention_days or 36_500.0,
        deliveries_kept_days=settings.deliveries_kept_days,
        bodies_max=settings.bodies_max,
        connections=min(settings.connections_max, 1024),
        streams=settings.streams_max,
    )
    growth = Growth(0, 0, 0.0, 0.0)
    if recent is not None:
        growth = recent.growth
        load = replace(load, events_per_order=recent.events_per_order, body_bytes=recent.body_bytes)
        if growth.days:
            daily = growth.events_per_day / recent.events_per_order
            load = replace(load, orders_per_day=daily, peak=max(load.peak, recent.peak))
    options = {name: value for name, value in asdict(given).items() if value is not None}
    if options:
        growth = replace(growth, days=0.0)  # The load given is not that of the days behind.
    return replace(load, **options), growth
