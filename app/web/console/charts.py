"""Charts: from numbers to the places of bars, which a template draws as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from math import ceil, log10
from typing import Any

WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 860, 240, 44, 26, 10
BARS_MAX = 120
_LABELS = 6
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a bar."""

    series: str
    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Stacked bars on a time axis."""

    parts: Sequence[Part]
    series: Sequence[str]
    """Those that occur, from the bottom to the top."""
    lines: Sequence[tuple[float, str]]
    """(y, label) of the horizontal lines."""
    labels: Sequence[tuple[float, str]]
    """(x, label) of the time axis."""
    per_bar: int
    """Days of one bar."""
    rows: Sequence[tuple[str, Mapping[str, int]]]
    """(day, series → count): what the bars show, as a table."""


def stacked_bars(days: Mapping[date, Mapping[str, int]], series: Sequence[str]) -> Chart | None:
    """Bars for the days from the first to the last, of several days each if there are many; None without days."""
    if not days:
        return None
    first, last = min(days), max(days)
    per_bar = ceil(((last - first).days + 1) / BARS_MAX)
    bars = [dict.fromkeys(series, 0) for _ in range((last - first).days // per_bar + 1)]
    for day, counts in days.items():
        for name, count in counts.items():
            bars[(day - first).days // per_bar][name] += count
    step = _step(max(sum(bar.values()) for bar in bars))
    top = step * max(1, ceil(max(sum(bar.values()) for bar in bars) / step))
    height, slot = HEIGHT - BOTTOM - TOP, (WIDTH - LEFT) / len(bars)
    starts = [first + _DAY * per_bar * number for number in range(len(bars))]
    parts, rows = list[Part](), list[tuple[str, Mapping[str, int]]]()
    for number, bar in enumerate(bars):
        y = float(HEIGHT - BOTTOM)
        for name in series:
            if bar[name]:
                size = height * bar[name] / top
                y -= size
                x, width = LEFT + slot * number, max(1.0, min(slot * 0.85, 60))
                parts.append(
                    Part(
                        name,
                        round(x, 1),
                        round(y, 1),
                        round(width, 1),
                        round(size, 1),
                        f"{starts[number]}: {bar[name]}",
                    )
                )
        if any(bar.values()):
            rows.append((starts[number].isoformat(), bar))
    every = ceil(len(bars) / _LABELS)
    return Chart(
        parts=parts,
        series=[name for name in series if any(bar[name] for bar in bars)],
        lines=[(round(HEIGHT - BOTTOM - height * value / top, 1), f"{value:,}") for value in range(0, top + 1, step)],
        labels=[(round(LEFT + slot * n, 1), starts[n].isoformat()) for n in range(0, len(bars), every)],
        per_bar=per_bar,
        rows=rows,
    )


def of_backtest(report: Mapping[str, Any], series: Sequence[str], too_late: str) -> Chart | None:
    """What a policy would have canceled by day, by what became of the orders."""
    days = {}
    for row in report.get("days", ()):
        counts = {name if name in series else series[-1]: count for name, count in row["happened"].items()}
        days[date.fromisoformat(row["day"])] = {**counts, too_late: row["too_late"]}
    return stacked_bars(days, [*series, too_late])


def _step(highest: int) -> int:
    """The distance of the horizontal lines: 1, 2 or 5 times a power of ten, for at most five lines."""
    rough = max(1.0, highest / 4)
    power = 10 ** int(log10(rough))
    return int(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough))
