"""When an appointment is: times with and without an offset, across changes of daylight saving time.

Superloop documents its times with their offset from UTC. A time without one is read with the appointment's own
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

_CLOCK = re.compile(r"([+-]?)([0-9]{1,2}):?([0-5][0-9])")
_NUMBER = re.compile(r"[+-]?[0-9]{1,3}(\.[0-9]{1,4})?")
_OFFSET_MAX = timedelta(hours=14)
"""No zone is further from UTC; a larger number is one of minutes."""


def offset_of(value: Any) -> tzinfo | None:
    """The zone that a `timezoneOffset` names; None where there is none, or it cannot be read.

    Documented is `+10:00`. Read are also `+1000` and `Z`, and numbers: of hours up to 14, of minutes above.
    """
    text = str(value).strip().replace("\u2212", "-")
    if text in ("Z", "z", "UTC"):
        return UTC
    clock = _CLOCK.fullmatch(text) if type(value) is str else None
    if _NUMBER.fullmatch(text):
        offset = timedelta(hours=float(text))
        if abs(offset) > _OFFSET_MAX:
            offset = timedelta(minutes=float(text))
    elif clock is not None:
        offset = timedelta(hours=int(clock[2]), minutes=int(clock[3])) * (-1 if clock[1] == "-" else 1)
    else:
        return None
    return timezone(offset) if abs(offset) <= _OFFSET_MAX else None


def instant(value: Any, zones: Sequence[tzinfo], *, latest: bool = False) -> datetime | None:
    """A time as ISO 8601 or unix time, in UTC; None if it is none.

    Without an offset it is in one of `zones` (none: nobody knows where): the earliest of the instants that it may mean,
    or the latest.
    """
    time = read_time(value, None)
    if time is None or time.tzinfo is not None:
        return time
    try:
        readings = [time.replace(tzinfo=zone, fold=fold).astimezone(UTC) for zone in zones for fold in (0, 1)]
    except OverflowError:
        return None
    return max(readings, default=None) if latest else min(readings, default=None)
