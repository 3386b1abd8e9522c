"""The picture of an order's life: what is drawn of its timeline, and where. Places are percents of the width.

The time of an entry is when Rescind learned it. So the picture shows what could be known at each moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from app.core.cancellation import FINAL

DOTS_MAX = 150
"""Places for dots beside each other; events nearer to each other share one."""
CANCELLATIONS_MAX = 6
"""Cancellations drawn, the latest."""
TICKS_MAX = 7
_LEFT, _WIDTH = 1.0, 98.0
_CHARACTER = 0.85
"""Percents of the width that a character of a label takes where labels are shown."""
_MIDDLE, _END = 50, 100
_SHORTEST = timedelta(minutes=1)
"""What the axis spans at least."""
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
    """Whether it is expected, or was not known at the moment that is looked at."""
    label: str = ""
    """Text in it or beside it, if there is room."""
    anchor: str = "start"
    """Where the label stands: to the right (`start`) or left (`end`) of it, or `inside`."""


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
    further: str = ""
    """Appointments that are further ahead than the axis reaches, in words."""
    cancellations: list[Row] = field(default_factory=list)
    now: Mark | None = None
    """None where it is long after the last event."""
    closes: Mark | None = None
    """Where time alone closes the window."""
    moment: Mark | None = None
    """The moment that is looked at, if not now."""


class _Scale:
    """From times to places."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self.start, self.end = start, max(end, start + _SHORTEST)

    def __call__(self, time: datetime) -> float:
        share = (time - self.start) / (self.end - self.start)
        return round(_LEFT + _WIDTH * min(1.0, max(0.0, share)), 2)

    def flag(self, time: datetime, label: str) -> Mark:
        """A line across all rows, with a label at its top."""
        x = self(time)
        return Mark(x, "flag", label, label=label, anchor="end" if x > _MIDDLE else "start")

    def bar(
        self, start: datetime, end: datetime, kind: str, title: str, *, href: str = "", later: bool = False
    ) -> Mark:
        """A bar that is wide enough to be seen."""
        return Mark(self(start), kind, title, max(0.4, round(self(end) - self(start), 2)), href=href, later=later)


def draw(
    entries: Sequence[Mapping[str, Any]],
    order: Mapping[str, Any],
    explained: Mapping[str, Any],
    now: datetime,
    moment: datetime | None = None,
) -> Picture | None:
    """The picture of these entries of a timeline; None without any. `explained` is as of `moment`, or of now."""
    times = [time_of(entry["at"]) for entry in entries]
    if not times:
        return None
    verdict, closes_at = explained["verdict"], explained["closes_at"] and time_of(explained["closes_at"])
    scale = _scale(times, order, verdict, now, moment)
    until = moment or now
    picture = Picture(
        ticks=list(_ticks(scale)),
        windows=list(_windows(entries, explained, scale, now, moment)),
        dots=_labeled(_dots(entries, scale, moment)),
        appointments=list(_appointments(order, scale)),
        further=_further(order, scale),
        cancellations=list(_cancellations(entries, scale, min(now, scale.end), moment)),
    )
    if now <= scale.end:
        picture.now = scale.flag(now, "now")
    if closes_at and until < closes_at <= scale.end:
        picture.closes = scale.flag(closes_at, f"closes {_short(closes_at)}")
    if moment is not None:
        picture.moment = scale.flag(moment, _short(moment))
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
    """From the first entry to what is ahead: now, if the order is not over; the end of the window; appointments.

    What is far ahead is left out: it would press the events together.
    """
    start, end = min(times), max(times)
    ended = order["phase"] in ("completed", "canceled")
    end = max([end, *([] if ended else [now]), *([] if moment is None else [min(moment, now)])])
    if verdict["changes_at"]:
        end = max(end, min(time_of(verdict["changes_at"]), end + max(timedelta(days=3), 3 * (end - start))))
    if not ended:
        reach = end + 2 * (end - start)
        booked = (time_of(time) for one in order["appointments"] for time in (one["starts_at"], one["ends_at"]) if time)
        end = max([end, *(time for time in booked if time <= reach)])
    return _Scale(start, end + max(_SHORTEST, end - start) * 0.05)


def _with_label(bar: Mark, label: str) -> Mark:
    """`bar` with a label where there is room for it."""
    width = len(label) * _CHARACTER + 1
    if bar.x + bar.width + width <= _END:
        return replace(bar, label=label, anchor="start")
    return replace(bar, label=label, anchor="end" if bar.x >= width else "inside")


def _short(time: datetime) -> str:
    return f"{time.day} {time:%b %H:%M}"


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
    explained: Mapping[str, Any],
    scale: _Scale,
    now: datetime,
    moment: datetime | None,
) -> Iterator[Mark]:
    """The verdicts in turn, each until the next; then what is known now, until time changes it, and what follows."""
    verdict, until = explained["verdict"], moment or now
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
        following = verdicts[len(past)][0] if len(past) < len(verdicts) else min(now, scale.end)
        if past and until < following:
            yield _window(until, following, past[-1][1], scale, later=True)
        for number, (at, shown) in enumerate(verdicts[len(past) :], len(past)):
            end = verdicts[number + 1][0] if number + 1 < len(verdicts) else scale.end
            yield _window(at, end, shown, scale, later=True)
    elif past and until < scale.end:
        changes_at = time_of(verdict["changes_at"]) if verdict["changes_at"] else scale.end
        yield _window(until, min(changes_at, scale.end), verdict, scale, later=True)
        if explained["then"] and changes_at < scale.end:
            yield _window(changes_at, scale.end, explained["then"], scale, later=True)


_LABELS = {"yes": "can be canceled", "no": "cannot be canceled", "unknown": "not known"}


def _window(start: datetime, end: datetime, verdict: Mapping[str, Any], scale: _Scale, *, later: bool = False) -> Mark:
    cancelable = verdict["cancelable"]
    title = f"Cancelable: {cancelable} ({verdict['reason'].replace('_', ' ')})"
    window = scale.bar(start, end, cancelable, title, later=later)
    fits = len(_LABELS[cancelable]) * _CHARACTER + 2 < window.width
    return replace(window, label=_LABELS[cancelable] if fits else "")


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


def _labeled(dots: list[Mark]) -> list[Mark]:
    """The dots from the left to the right, those with their type beside them that have room for it."""
    labeled, free = list[Mark](), 0.0
    for dot in sorted(dots, key=lambda given: given.x):
        type = dot.title.partition(" ")[0]
        width = len(type) * _CHARACTER
        left = dot.x if dot.x + width <= _END else dot.x - width
        if left < free:
            labeled.append(dot)
            continue
        free = left + width + 1
        labeled.append(replace(dot, label=type, anchor="start" if left == dot.x else "end"))
    return labeled


def _kind(entry: Mapping[str, Any]) -> str:
    if entry["kind"] == "decision":
        return "decision"
    return "own" if entry["event"]["data"] else "fact"


def _appointments(order: Mapping[str, Any], scale: _Scale) -> Iterator[Mark]:
    for one in order["appointments"]:
        if not one["starts_at"]:
            continue
        start = time_of(one["starts_at"])
        end = time_of(one["ends_at"]) if one["ends_at"] else start
        if start > scale.end or end < scale.start:
            continue
        title = f"{one['status'] or 'appointment'} {_short(start)}"
        bar = scale.bar(start, end, "appointment", title)
        yield _with_label(bar, title if len(order["appointments"]) == 1 else "")


def _further(order: Mapping[str, Any], scale: _Scale) -> str:
    """The first of the appointments that are beyond the axis, and how many more there are."""
    ahead = [(time_of(one["starts_at"]), one["status"]) for one in order["appointments"] if one["starts_at"]]
    ahead = sorted(one for one in ahead if one[0] > scale.end)
    if not ahead:
        return ""
    start, status = ahead[0]
    more = f" and {len(ahead) - 1} more" if len(ahead) > 1 else ""
    return f"{status or 'appointment'} {_short(start)}{more} →"


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
        calls = attempts.get(id, [])
        label = f"{len(calls)} {'call' if len(calls) == 1 else 'calls'}" if calls else ""
        yield Row(_with_label(bar, label), calls)
