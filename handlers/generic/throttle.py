"""Limits that a source states in its responses: what is left of them, and how long to wait."""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from app.contract import HttpResponse
from app.kit.paths.path import PATH_CHARS_MAX, Path, check
from app.kit.times import read_time
from handlers.generic.response_body import at, holds
from handlers.generic.words import Part

HOLD_MAX_S = 3600.0
"""A longer wait counts as this."""
NONSENSE_FROM_S = 86_400.0
"""A wait from here on is ignored: it is in another unit, or no wait."""

_HEADER = re.compile(r"header:([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100})")
_NUMBER = re.compile(r"[0-9]{1,15}(\.[0-9]{1,15})?")
_USED = re.compile(r"([0-9]{1,15})\s*/\s*([0-9]{1,15})")
"""How much is used of how much: `39/40`."""
_NUMBER_MAX = 1e15
_VALUE_CHARS_MAX = 100
_MILLISECONDS_FROM = 1e11
"""Unix times from here on are milliseconds."""


def _check_place(value: str) -> str:
    if value.startswith("header:"):
        if not _HEADER.fullmatch(value):
            raise ValueError("write header:NAME, with the name of one header")
        return value
    return check(value)


Place = Annotated[str, Field(min_length=1, max_length=PATH_CHARS_MAX), AfterValidator(_check_place)]
"""Where a response states something: `header:NAME`, or a JMESPath over its JSON."""


class Throttle(Part):
    """When the account makes no call for a while, by what a response says of the source's limit."""

    wait: Place | None = Field(
        None, description="Where the response says how long to wait: header:NAME, or a JMESPath over its JSON."
    )
    unit: Literal["s", "ms", "unix", "iso"] = Field(
        "s", description="What `wait` is: seconds, milliseconds, or a time: unix seconds, ISO 8601, RFC 5322."
    )
    remaining: Place | None = Field(
        None, description="Where the response says how much is left of the limit: a number, or used/limit (39/40)."
    )
    at_most: float = Field(
        0.0, ge=0, le=1e12, allow_inf_nan=False, description="The account waits if no more than this remains."
    )
    restored_per_s: Place | Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = Field(
        None,
        description="Instead of `wait`: how much of the limit comes back in a second, a number or where it stands.",
    )
    when: Path | None = Field(
        None, description="A JMESPath over the response's JSON that must be true for the account to wait."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.wait is None) == (self.restored_per_s is None):
            raise ValueError("say how long to wait: by `wait`, or by `restored_per_s`")
        if self.restored_per_s is not None and self.remaining is None:
            raise ValueError("restored_per_s needs `remaining`: the wait is until more than at_most remains")
        return self

    def hold_s(self, response: HttpResponse, body: Any, now: datetime) -> float | None:
        """For how long the account shall not call after a response that denied nothing; None: it may."""
        if self.remaining is not None and not self._is_used_up(response, body):
            return None
        if self.when is not None and not holds(self.when, body):
            return None
        if self.remaining is None and self.when is None:
            # The wait stands in every response of some sources: it is for calls that were denied.
            return None
        return self.wait_s(response, body, now)

    def wait_s(self, response: HttpResponse, body: Any, now: datetime) -> float | None:
        """How long the response says to wait, in seconds; None where it does not say so in a way to rely on."""
        if self.wait is None:
            return _bounded(self._restored_in_s(response, body))
        value = _value_at(self.wait, response, body)
        until = _unix_time(value) if self.unit == "iso" else _number(value)
        if until is None or self.unit == "s":
            return _bounded(until)
        if self.unit == "ms":
            return _bounded(until / 1000)
        seconds = until / 1000 if until >= _MILLISECONDS_FROM else until
        return _bounded(seconds - _clock_of(response, now).timestamp())

    def _is_used_up(self, response: HttpResponse, body: Any) -> bool:
        remaining = self._remaining(response, body)
        return remaining is not None and remaining <= self.at_most

    def _remaining(self, response: HttpResponse, body: Any) -> float | None:
        value = None if self.remaining is None else _value_at(self.remaining, response, body)
        used = _USED.fullmatch(value) if isinstance(value, str) else None
        return max(0.0, float(used[2]) - float(used[1])) if used else _number(value)

    def _restored_in_s(self, response: HttpResponse, body: Any) -> float | None:
        given = self.restored_per_s
        per_s = _number(_value_at(given, response, body)) if isinstance(given, str) else given
        remaining = self._remaining(response, body)
        if per_s is None or per_s <= 0 or remaining is None:
            return None
        return (self.at_most + 1 - remaining) / per_s


def _value_at(place: str, response: HttpResponse, body: Any) -> Any:
    """What stands at a place; text without the white space around it."""
    header = _HEADER.fullmatch(place)
    value = response.headers.get(header[1].lower()) if header else at(place, body)
    return value.strip() if isinstance(value, str) and len(value) <= _VALUE_CHARS_MAX else value


def _number(value: Any) -> float | None:
    """A number that is not negative, or text that spells one plainly; None for anything else."""
    if isinstance(value, str):
        return float(value) if _NUMBER.fullmatch(value) else None
    # Neither NaN nor infinity is in the range.
    return float(value) if type(value) in (int, float) and 0 <= value <= _NUMBER_MAX else None


def _unix_time(value: Any) -> float | None:
    moment = read_time(value, None) if isinstance(value, str) and not _NUMBER.fullmatch(value) else None
    return None if moment is None or moment.tzinfo is None else moment.timestamp()


def _clock_of(response: HttpResponse, now: datetime) -> datetime:
    """The source's clock as the response states it, else ours: the two may differ."""
    try:
        stated = parsedate_to_datetime(response.headers["date"])
    except (KeyError, ValueError, TypeError, OverflowError):
        return now
    return stated if stated.tzinfo is not None else now


def _bounded(wait_s: float | None) -> float | None:
    return min(wait_s, HOLD_MAX_S) if wait_s is not None and 0 < wait_s < NONSENSE_FROM_S else None
