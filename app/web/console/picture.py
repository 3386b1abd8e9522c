"""The picture of an order's life: what is drawn of its timeline, and where. Places are percents of the width.

The time of an entry is when Rescind learned it. So the picture shows what could be known at each moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from app.core.cancellation import FINAL

DOTS_MAX = 150
"""Places for dots beside each other; events nearer to each other share one."""
CANCELLATIONS_MAX = 6
"""Cancellations drawn, the latest."""
TICKS_MAX = 7
_LEFT, _WIDTH = 1.0, 97.0
_STEPS = [
    timedelta(seconds=seconds)
    for seconds in (1, 5, 15, 30, 60, 300, 900, 1800, 3600, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800)
]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Mark:
    """Something at a place: a tick of the axis, a dot, an attempt, or a bar where it has a width."""

    x: float
    kind: str
    title: str
    width: float = 0.0
    href: str = ""
    count: int = 1
    later: bool = False
    """Whether it was not known at the moment that is looked at."""


@dataclass(frozen=True)
class Row:
    """One cancellation: its bar, and its attempts."""

    bar: Mark
    attempts: Sequence[Mark]


@dataclass
class Picture:
    """All that is drawn."""

    ticks: list[Mark] = field(default_factory=list)
    windows: list[Mark] = field(default_factory=list)
    dots: list[Mark] = field(default_factory=list)
    appointments: list[Mark] = field(default_factory=list)
    cancellations: list[Row] = field(default_factory=list)
    now: float | None = None
    """None where it is long after the last event."""
    moment: float | None = None
    """The moment that is looked at, if not now."""


class _Scale:
    """From times to places."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start, self.end = start, max(end, start + timedelta(seconds=1))

    def __call__(self, time: datetime) -> float:
        share = (time - self.start) / (self.end - self.start)
        return round(_LEFT + _WIDTH * min(1.0, max(0.0, share)), 2)

    def bar(
        self, start: datetime, end: datetime, kind: str, title: str, *, href: str = "", later: bool = False
    ) -> Mark:
        """A bar that is wide enough to be seen."""
        return Mark(self(start), kind, title, max(0.4, round(self(end) - self(start), 2)), href=href, later=later)


def draw(
    entries: Sequence[Mapping[str, Any]],
    order: Mapping[str, Any],
    verdict: Mapping[str, Any],
    now: datetime,
    moment: datetime | None = None,
) -> Picture | None:
    """The picture of these entries of a timeline; None without any. `verdict` is that of `moment`, or of now."""
    times = [time_of(entry["at"]) for entry in entries]
    if not times:
        return None
    scale = _scale(times, order, verdict, now, moment)
    until = moment or now
    picture = Picture(
        ticks=list(_ticks(scale)),
        windows=list(_windows(entries, verdict, scale, until, moment)),
        dots=_dots(entries, scale, moment),
        appointments=list(_appointments(order, scale)),
        cancellations=list(_cancellations(entries, scale, min(now, scale.end), moment)),
    )
    picture.now = scale(now) if now <= scale.end else None
    picture.moment = None if moment is None else scale(moment)
    return picture


def time_of(text: str) -> datetime:
    """A time of the API."""
    return datetime.fromisoformat(text)


def _scale(
    times: Sequence[datetime],
    order: Mapping[str, Any],
    verdict: Mapping[str, Any],
    now: datetime,
    moment: datetime | None,
) -> _Scale:
    """From the first entry to what is ahead: now, if the order is not over; the end of the window; appointments."""
    start, end = min(times), max(times)
    ahead = [time_of(verdict["changes_at"])] if verdict["changes_at"] else []
    if order["phase"] not in ("completed", "canceled"):
        ahead.append(now)
        ahead += [time_of(time) for one in order["appointments"] for time in (one["starts_at"], one["ends_at"]) if time]
    if moment is not None:
        ahead.append(min(moment, now))
    # A window that is far ahead must not press all events together.
    furthest = max(end, now) + max(timedelta(days=3), 3 * (max(end, now) - start))
    end = max([end, *(min(time, furthest) for time in ahead)])
    return _Scale(start, end + (end - start) * 0.02)


def _ticks(scale: _Scale) -> Iterator[Mark]:
    length = scale.end - scale.start
    step = next((step for step in _STEPS if length / step <= TICKS_MAX), timedelta(days=length.days // TICKS_MAX + 1))
    at = _EPOCH + -(-(scale.start - _EPOCH) // step) * step
    day, number = None, 0
    while at <= scale.end:
        clock = f"{at:%H:%M:%S}" if step < timedelta(minutes=1) else f"{at:%H:%M}"
        date = f"{at.day} {at:%b}"
        label = date if step >= timedelta(days=1) or (day not in (None, at.date()) and at.hour == 0) else clock
        if day is None and label is clock:
            label = f"{date} {clock}"
        day = at.date()
        yield Mark(scale(at), "minor" if number % 2 else "major", label)
        at, number = at + step, number + 1


def _windows(
    entries: Iterable[Mapping[str, Any]],
    verdict: Mapping[str, Any],
    scale: _Scale,
    until: datetime,
    moment: datetime | None,
) -> Iterator[Mark]:
    """The verdicts in turn, each until the next; then what is known now, until time changes it."""
    verdicts = [(time_of(entry["at"]), entry["verdict"]) for entry in entries if entry["kind"] == "verdict"]
    past = [(at, shown) for at, shown in verdicts if at <= until]
    for number, (at, shown) in enumerate(past):
        end = past[number + 1][0] if number + 1 < len(past) else min(until, scale.end)
        changes_at = time_of(shown["changes_at"]) if shown["changes_at"] else None
        if changes_at is not None and at < changes_at < end:
            yield _window(at, changes_at, shown, scale)
            # Time alone changed the verdict: to what, only the verdict of the moment tells.
            rest = verdict if number + 1 == len(past) else {**shown, "cancelable": "unknown", "reason": "time passed"}
            yield _window(changes_at, end, rest, scale)
        else:
            yield _window(at, end, shown, scale)
    if moment is not None:
        for number, (at, shown) in enumerate(verdicts[len(past) :], len(past)):
            end = verdicts[number + 1][0] if number + 1 < len(verdicts) else scale.end
            yield _window(at, end, shown, scale, later=True)
    elif past and verdict["changes_at"] and until < scale.end:
        yield _window(until, time_of(verdict["changes_at"]), verdict, scale, later=True)


def _window(start: datetime, end: datetime, verdict: Mapping[str, Any], scale: _Scale, *, later: bool = False) -> Mark:
    title = f"Cancelable: {verdict['cancelable']} ({verdict['reason'].replace('_', ' ')})"
    return scale.bar(start, end, verdict["cancelable"], title, later=later)


def _dots(entries: Iterable[Mapping[str, Any]], scale: _Scale, moment: datetime | None) -> list[Mark]:
    """The events; those of one kind that would cover each other are one dot."""
    bins: dict[tuple[int, str, bool], list[Mapping[str, Any]]] = {}
    for entry in entries:
        if entry["kind"] not in ("event", "decision"):
            continue
        at = time_of(entry["at"])
        later = moment is not None and at > moment
        place = round(scale(at) / 100 * DOTS_MAX)
        bins.setdefault((place, _kind(entry), later), []).append(entry["event"])
    dots = []
    for (_, kind, later), events in bins.items():
        first, at = events[0], time_of(events[0]["received_at"])
        title = f"{first['type']} {at:%Y-%m-%d %H:%M:%S} UTC"
        if len(events) > 1:
            title += f" and {len(events) - 1} more"
        dots.append(Mark(scale(at), kind, title, href=f"#{first['id']}", count=len(events), later=later))
    return dots


def _kind(entry: Mapping[str, Any]) -> str:
    if entry["kind"] == "decision":
        return "decision"
    return "own" if entry["event"]["data"] else "fact"


def _appointments(order: Mapping[str, Any], scale: _Scale) -> Iterator[Mark]:
    for one in order["appointments"]:
        if not one["starts_at"]:
            continue
        start = time_of(one["starts_at"])
        if start > scale.end:
            continue
        end = time_of(one["ends_at"]) if one["ends_at"] else start
        title = f"{one['status'] or 'appointment'} {start:%Y-%m-%d %H:%M} UTC"
        yield scale.bar(start, end, "appointment", title)


def _cancellations(
    entries: Iterable[Mapping[str, Any]], scale: _Scale, until: datetime, moment: datetime | None
) -> Iterator[Row]:
    steps: dict[str, list[tuple[datetime, str]]] = {}
    attempts: dict[str, list[Mark]] = {}
    for entry in entries:
        at = time_of(entry["at"])
        if entry["kind"] == "attempt":
            attempt = entry["attempt"]
            ended = time_of(attempt["ended_at"]) if attempt["ended_at"] else until
            title = f"{attempt['kind']}: {attempt['outcome'] or 'under way'} {attempt['detail']}".strip()
            later = moment is not None and at > moment
            mark = scale.bar(at, ended, attempt["outcome"] or "sending", title, later=later)
            attempts.setdefault(attempt["cancellation"] or "", []).append(mark)
        elif entry["kind"] == "event" and entry["event"]["type"].startswith("cancellation."):
            state = entry["event"]["type"].removeprefix("cancellation.")
            steps.setdefault(entry["event"]["data"].get("cancellation", ""), []).append((at, state))
    for id, taken in list(steps.items())[-CANCELLATIONS_MAX:]:
        (start, _), (last, state) = taken[0], taken[-1]
        end = last if state in FINAL else until
        later = moment is not None and start > moment
        title = f"{id}: {state.replace('_', ' ')}"
        bar = scale.bar(start, max(start, end), state, title, href=id, later=later)
        yield Row(bar, attempts.get(id, []))
