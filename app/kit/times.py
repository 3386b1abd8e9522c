"""Reading a provider's times: ISO 8601, RFC 5322, or unix seconds or milliseconds."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from email.utils import parsedate_to_datetime
from typing import Any

from app.contract import MalformedPayload
from app.kit.keys import find
from app.kit.payload import NUMBERS

_TIME_CHARS_MIN = len("20260302T16")
"""What is shorter is a date without a time of day."""
_MILLISECONDS_FROM = 1e11
"""Unix times from here on are milliseconds: as seconds they would lie beyond the year 5000."""
_RFC5322 = re.compile(
    r"(?:(?P<day>Mon|Tue|Wed|Thu|Fri|Sat|Sun), {1,2})?[0-9]{1,2}"
    r" (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) (?:19|[2-9][0-9])[0-9]{2}"
    r" [0-9]{2}:[0-9]{2}(?::[0-9]{2})? (?:[+-][0-9]{2}[0-5][0-9]|GMT|UT)"
)
"""A date-time of RFC 5322 (section 3.3), with a zone, as programs write it: `parsedate_to_datetime` takes much else."""
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def first_time(body: dict[str, Any], keys: Iterable[str], zone: tzinfo | None) -> datetime | None:
    """The time at the first of `keys` that has something, as `time_at` reads it."""
    for key in keys:
        moment = time_at(body, key, zone)
        if moment is not None:
            return moment
    return None


def time_at(body: dict[str, Any], key: str, zone: tzinfo | None) -> datetime | None:
    """The time at `key`, as `read_time` reads it; None if nothing is there. Raises `MalformedPayload` if it is none."""
    value = find(body, key)
    if value is None:
        return None
    moment = read_time(value, zone)
    if moment is None:
        raise MalformedPayload(f"{key} is neither an ISO 8601 or RFC 5322 time nor unix seconds or milliseconds")
    return moment


def read_time(value: Any, zone: tzinfo | None) -> datetime | None:
    """A time as ISO 8601, RFC 5322 (`Mon, 02 Mar 2026 16:00:00 +0000`) or unix seconds or milliseconds; else None.

    It is in UTC where it is one instant. A time without an offset is one in the account's `zone`; where none is set,
    or no time of day is given, it comes without a zone, and where the clocks of the zone repeat or skip it, in that
    zone: what such a time stands for is decided when the event is made (`app.core.event.to_event`).
    """
    try:
        if type(value) is str:
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                # No number has a colon, and each time of RFC 5322 has one.
                return _rfc5322_time(value) if ":" in value else _unix_time(float(value))
            return moment.astimezone(UTC) if moment.tzinfo else _in_zone(moment, zone, value)
        if type(value) in NUMBERS:
            return _unix_time(float(value))
    except (ValueError, OverflowError, OSError):
        return None
    return None


def _in_zone(local: datetime, zone: tzinfo | None, spelled: str) -> datetime:
    if zone is None or len(spelled) < _TIME_CHARS_MIN:
        return local
    earlier, later = (local.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    return earlier if earlier == later else local.replace(tzinfo=zone)


def _rfc5322_time(text: str) -> datetime | None:
    """A time of RFC 5322 in UTC; None if it is none, names no zone or the wrong day of the week.

    `-0000` is UTC of a clock whose own zone is unknown, says the RFC: one instant, which no account's zone changes.
    """
    match = _RFC5322.fullmatch(text)
    if match is None:
        return None
    moment = parsedate_to_datetime(text)
    if match["day"] not in (None, _DAYS[moment.weekday()]):
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _unix_time(value: float) -> datetime | None:
    if not math.isfinite(value):
        return None
    return datetime.fromtimestamp(value / 1000 if abs(value) >= _MILLISECONDS_FROM else value, UTC)
