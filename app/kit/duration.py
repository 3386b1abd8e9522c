"""Durations as people write them: `90s`, `1h30m`, `3d`. A day is 24 hours, whatever clocks are set to."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"([0-9]{1,9})([smhdw])")
_DURATION = re.compile(rf"(?:{_PART.pattern})+")
MAX = timedelta(days=3660)


def parse_duration(text: str) -> timedelta | None:
    """The duration that `text` names; None if it names none."""
    if _DURATION.fullmatch(text) is None:
        return None
    try:
        return timedelta(seconds=sum(int(number) * _UNITS_S[unit] for number, unit in _PART.findall(text)))
    except OverflowError:
        return None


def format_duration(length: timedelta) -> str:
    """A duration in its largest unit, or two: `2 d 3 h`."""
    left, parts = int(length.total_seconds()), list[str]()
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _UNITS_S[unit])
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {'min' if unit == 'm' else unit}")
        elif parts:
            break
    return " ".join(parts[:2])


def shift_time(moment: datetime, by: timedelta) -> datetime:
    """The time `by` later; the first or the last that there can be, where that lies beyond it."""
    try:
        return moment + by
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC) if by < timedelta(0) else datetime.max.replace(tzinfo=UTC)
