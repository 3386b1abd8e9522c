"""Times as people give them on the command line, and as they are shown: always UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PART = re.compile(r"([0-9]{1,9})([smhdw])")
_SPAN = re.compile(rf"(?:{_PART.pattern})+")
_CURE = "give a span such as 30m, 2h or 3d, or an RFC 3339 time such as 2030-01-31T16:00:00Z"


def ahead(text: str) -> datetime:
    """The time that `text` names; a span is counted from now on."""
    return _read(text, 1)


def ago(text: str) -> datetime:
    """The time that `text` names; a span is counted back from now."""
    return _read(text, -1)


def span_s(text: str) -> int | None:
    """Seconds of a span such as `90s`, `1h30m` or `3d`; None if `text` is none."""
    if _SPAN.fullmatch(text) is None:
        return None
    return sum(int(number) * _UNITS_S[unit] for number, unit in _PART.findall(text))


def rfc3339(moment: datetime) -> str:
    """The time as the API takes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def shown(text: str | None) -> str:
    """A time of the API's, for people: in UTC, to the second; a form that the options take as well."""
    if text is None:
        return ""
    return rfc3339(datetime.fromisoformat(text).replace(microsecond=0))


def shown_with_distance(text: str | None, now: datetime | None = None) -> str:
    """The same, and how far off it is."""
    if text is None:
        return ""
    delta_s = (datetime.fromisoformat(text) - (now or datetime.now(UTC))).total_seconds()
    return f"{shown(text)} ({f'in {_roughly(delta_s)}' if delta_s >= 0 else f'{_roughly(-delta_s)} ago'})"


def _roughly(span_s: float) -> str:
    """A span in its largest unit, or two: `2 d 3 h`."""
    left, said = int(span_s), list[str]()
    for unit in ("d", "h", "m", "s"):
        count, left = divmod(left, _UNITS_S[unit])
        if count or (unit == "s" and not said):
            said.append(f"{count} {'min' if unit == 'm' else unit}")
        elif said:
            break
    return " ".join(said[:2])


def _read(text: str, direction: int) -> datetime:
    seconds = span_s(text)
    try:
        if seconds is not None:
            return datetime.now(UTC) + direction * timedelta(seconds=seconds)
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is not a time: {_CURE}") from error
    raise typer.BadParameter(f"{text!r} has no offset from UTC: {_CURE}")
