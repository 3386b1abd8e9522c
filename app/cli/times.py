"""Times as people give them on the command line, and as they are shown: always UTC."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import typer

from app.kit.duration import format_duration, parse_duration

_CURE = "give a span such as 30m, 2h or 3d, or an RFC 3339 time such as 2030-01-31T16:00:00Z"


def ahead(text: str) -> datetime:
    """The time that `text` names; a span is counted from now on."""
    return _read(text, 1)


def ago(text: str) -> datetime:
    """The time that `text` names; a span is counted back from now."""
    return _read(text, -1)


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
    distance = datetime.fromisoformat(text) - (now or datetime.now(UTC))
    said = f"in {format_duration(distance)}" if distance >= timedelta() else f"{format_duration(-distance)} ago"
    return f"{shown(text)} ({said})"


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
