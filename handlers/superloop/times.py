"""When an appointment is: times with and without an offset, across changes of daylight saving time.

Superloop documents its times with their offset from UTC. One without is read with the appointment's own
`timezoneOffset`, or else in the account's time zone, or else, where none is set, as it may be anywhere in Australia. A
local time may be two instants (the hour that a clock repeats) or none (the hour that it skips). All readings count: the
earliest for a start and the latest for an end, so that the time without cancels is never too short.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Any

from app.kit.times import read_time

_CLOCK = re.compile(r"([+-]?)(\d{1,2}):(\d{2})|([+-]?)(\d{2})(\d{2})")
_NUMBER = re.compile(r"[+-]?\d{1,3}(\.\d{1,4})?")
_OFFSET_MAX = timedelta(hours=14)
"""No zone is further from UTC; a larger number is one of minutes."""


def offset_of(value: Any) -> tzinfo | None:
    """The zone that a `timezoneOffset` names; None where there is none, or it cannot be read.

    Documented is `+10:00`. Read are also `+1000` and `Z`, and numbers: of hours up to 14, of minutes above.
    """
    text = "" if value is None or isinstance(value, bool) else str(value).strip().replace("\u2212", "-")
    if text in ("Z", "z", "UTC"):
        return UTC
    offset = None
    if text.isascii() and _NUMBER.fullmatch(text):
        offset = timedelta(hours=float(text))
        if abs(offset) > _OFFSET_MAX:
            offset = timedelta(minutes=float(text))
    elif text.isascii() and type(value) is str:
        offset = _by_clock(text)
    return timezone(offset) if offset is not None and abs(offset) <= _OFFSET_MAX else None


def instant(value: Any, zones: Sequence[tzinfo], *, latest: bool = False) -> datetime | None:
    """A time as ISO 8601 or unix time, in UTC; None if it is none.

    Without an offset it is in one of `zones` (none: nobody knows where): the earliest of the instants that it may mean,
    or the latest.
    """
    if type(value) is not str:
        return read_time(value, None)
    try:
        local = datetime.fromisoformat(value)
    except ValueError:
        return read_time(value, None)
    try:
        if local.tzinfo is not None:
            return local.astimezone(UTC)
        readings = [local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for zone in zones for fold in (0, 1)]
    except (OverflowError, ValueError):
        return None
    if not readings:
        return None
    return max(readings) if latest else min(readings)


def _by_clock(text: str) -> timedelta | None:
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    sign, hour, minute = match[1] or match[4], match[2] or match[5], match[3] or match[6]
    if int(minute) > 59:  # noqa: PLR2004 - minutes of an hour
        return None
    offset = timedelta(hours=int(hour), minutes=int(minute))
    return -offset if sign == "-" else offset
