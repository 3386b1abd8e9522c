"""Times as the command line takes and shows them: always UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import typer

from app.kit.duration import format_duration, parse_duration

_CURE = "give a duration such as 30m, 2h or 3d, or an RFC 3339 time such as 2030-01-31T16:00:00Z"


def ahead(text: str) -> datetime:
    """The time that `text` names; a duration counts from now."""
    return _read(text, 1)


def ago(text: str) -> datetime:
    """The time that `text` names; a duration counts back from now."""
    return _read(text, -1)


def length(text: str) -> timedelta:
    """A duration; `0` is none."""
    duration = timedelta() if text == "0" else parse_duration(text)
    if duration is None:
        raise typer.BadParameter(f"{text!r} is not a duration: give one such as 24h or 7d, or 0")
    return duration


def rfc3339(moment: datetime) -> str:
    """A time as the API takes it."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def shown(text: str | None) -> str:
    """A time of the API for people: in UTC, to the second; options take it as well."""
    if text is None:
        return ""
    return rfc3339(datetime.fromisoformat(text).replace(microsecond=0))


def shown_with_distance(text: str | None, now: datetime | None = None) -> str:
    """The same, with the distance from now."""
    if text is None:
        return ""
    distance = datetime.fromisoformat(text) - (now or datetime.now(UTC))
    words = f"in {format_duration(distance)}" if distance >= timedelta() else f"{format_duration(-distance)} ago"
    return f"{shown(text)} ({words})"


def _read(text: str, direction: int) -> datetime:
    length = parse_duration(text)
    try:
        if length is not None:
            return datetime.now(UTC) + direction * length
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is not a time: {_CURE}") from error
    raise typer.BadParameter(f"{text!r} has no offset from UTC: {_CURE}")
