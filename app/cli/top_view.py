"""The picture of `rescind top`: an overview of the server as rows of text that fit the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli import output
from app.cli.times import shown
from app.kit.duration import format_duration

_SPARKS = "▁▂▃▄▅▆▇█"
_NOTHING = "·"
_BAR = 8
_CELL_MAX, _NAME_MAX = 22, 36
"""Characters of a cell before it is cut: in a table of many columns, and in one where names have room."""
_HIGH, _FULL = 0.8, 1.0
_HEADER_ROWS = 8
"""Rows that are always there: the title, rates, cancellations, the chart of windows, and what stands between parts."""
_PART_ROWS = 3
"""The lines of a part besides its rows: an empty line, its heading, and the titles of the columns."""


def picture(overview: Mapping[str, Any], url: str, height: int, fault: str = "") -> RenderableType:
    """The overview for a terminal of this height; `fault` says why it is not newer."""
    findings, closing, lanes = overview["findings"], overview["closing"], overview["lanes"]
    rows = _shares(height - _HEADER_ROWS - 3 * _PART_ROWS, len(findings), len(closing["next"]), len(lanes["first"]))
    return Group(
        _title(overview, url, fault),
        *_rates(overview),
        _cancellations(overview["cancellations"]),
        *_windows(closing),
        *_part("Needs a person" if overview["needs_attention"] else "Notices", findings, rows[0], _findings),
        *_part("Windows that close next", closing["next"], rows[1], lambda shown_rows: _next(shown_rows, overview)),
        *_part(_lanes_title(lanes), lanes["first"], rows[2], _lanes, total=lanes["total"]),
    )


def _shares(rows: int, *wanted: int) -> list[int]:
    """How many rows each part gets: what it wants, or an equal share of what is left; at least two."""
    left, shares = max(rows, 0), [0] * len(wanted)
    for rest, (index, want) in zip(
        range(len(wanted), 0, -1), sorted(enumerate(wanted), key=lambda part: part[1]), strict=True
    ):
        shares[index] = max(min(want, left // rest), min(want, 2))
        left = max(left - shares[index], 0)
    return shares


def _title(overview: Mapping[str, Any], url: str, fault: str) -> Text:
    state = ("needs a person", "bold red") if overview["needs_attention"] else ("nothing needs a person", "green")
    told: tuple[str, str] = (output.clean(fault), "bold red") if fault else state
    title = Text.assemble(("rescind top", "bold"), "  ", told, f"  {shown(overview['as_of'])}  {output.clean(url)}")
    return _one_line(title)


def _rates(overview: Mapping[str, Any]) -> Iterator[Text]:
    ingest = overview["ingest"]
    webhooks = f"{ingest['webhooks']} in the last minute, {ingest['webhooks_per_s']:g}/s"
    yield _one_line(Text.assemble(("webhooks    ", "dim"), webhooks))
    minutes = ingest["events_by_minute"]
    if minutes is not None:
        last = f" {minutes[-1]}/min"
        yield _one_line(Text.assemble(("events, 1 h ", "dim"), (spark(minutes), "cyan"), last))


def _cancellations(counts: Mapping[str, Any]) -> Text:
    line = Text.assemble(("cancels     ", "dim"))
    for state, count in counts["live"].items():
        if count or state == "scheduled":
            line.append_text(Text.assemble(output.word(state), f" {count}  "))
    line.append("24 h: ", "dim")
    done = [(state, count) for state, count in counts["final"].items() if count]
    for state, count in done:
        line.append_text(Text.assemble(output.word(state), f" {count}  "))
    return _one_line(line if done else line.append("none"))


def _windows(closing: Mapping[str, Any]) -> Iterator[Text]:
    orders = [hour["orders"] for hour in closing["hours"]]
    more = "" if closing["complete"] else "+"
    told = f" {orders[0]} in the next hour, {sum(orders)}{more} in 24 h"
    yield _one_line(Text.assemble(("windows 24h ", "dim"), (spark(orders), "yellow"), told))


def spark(numbers: Sequence[int]) -> str:
    """Numbers as a line of bars, the greatest of them full; a dot for none."""
    most = max(numbers, default=0)
    return "".join(
        _NOTHING if not number else _SPARKS[min(len(_SPARKS) - 1, (number * len(_SPARKS) - 1) // most)]
        for number in numbers
    )


def _part(title: str, rows: Sequence[Any], share: int, make: Any, total: int | None = None) -> Iterator[RenderableType]:
    """A part under its heading, with so many of its rows as fit."""
    if not rows:
        return
    yield Text()
    total = len(rows) if total is None else total
    fitting = rows if len(rows) <= share and total == len(rows) else rows[: max(share - 1, 1)]
    yield Text(title, style="bold")
    yield make(fitting)
    if total > len(fitting):
        yield Text(f"… and {total - len(fitting)} others", style="dim")


def _grid(
    titles: Sequence[str],
    rows: Sequence[Sequence[str | Text]],
    right: Sequence[str] = (),
    cell_max: int = _CELL_MAX,
) -> Table:
    """A table that fits: its last column is cut, and the others where they are long."""
    cells = [[cell if isinstance(cell, Text) else Text(output.clean(cell)) for cell in row] for row in rows]
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for index, title in enumerate(titles):
        width = min(cell_max, max(len(title), *(row[index].cell_len for row in cells)))
        is_last = index == len(titles) - 1
        grid.add_column(
            title,
            justify="right" if title in right else "left",
            no_wrap=True,
            overflow="ellipsis",
            min_width=None if is_last else width,
            max_width=None if is_last else width,
        )
    for row in cells:
        grid.add_row(*row)
    return grid


def _findings(findings: Sequence[Mapping[str, Any]]) -> Table:
    return _grid(
        ("", "WHAT", "WHY"),
        [
            (
                Text("!", style="bold red") if finding["state"] == "fault" else Text("-", style="dim"),
                finding["what"],
                finding["detail"],
            )
            for finding in findings
        ],
        cell_max=_NAME_MAX,
    )


def _next(windows: Sequence[Mapping[str, Any]], overview: Mapping[str, Any]) -> Table:
    now = datetime.fromisoformat(overview["as_of"])
    return _grid(
        ("CLOSES", "IN", "ORDER", "CANCELABLE"),
        [
            (
                shown(window["closes_at"])[11:],
                format_duration(max(datetime.fromisoformat(window["closes_at"]) - now, timedelta())),
                f"{window['account']} {window['order']}",
                Text.assemble(output.word(window["cancelable"]), f" ({output.clean(window['reason'])})"),
            )
            for window in windows
        ],
        right=("IN",),
        cell_max=_NAME_MAX,
    )


def _lanes_title(lanes: Mapping[str, Any]) -> str:
    states = ", ".join(f"{count} {state.replace('_', ' ')}" for state, count in sorted(lanes["by_state"].items()))
    backlog = f"; {lanes['due']} due" + (f", the oldest for {_age(lanes['oldest_due_s'])}" if lanes["due"] else "")
    return f"Lanes: {states or 'none'}{backlog}"


def _lanes(lanes: Sequence[Mapping[str, Any]]) -> Table:
    return _grid(
        ("ACCOUNT", "STATE", "LIMIT", "DUE", "OLDEST", "IN/MIN", "WHY"),
        [
            (
                lane["account"],
                output.word(lane["state"]),
                _limit(lane["used"], lane["limit"]),
                str(lane["due"]),
                _age(lane["oldest_due_s"]) if lane["due"] else "",
                str(lane["webhooks"]),
                lane["reason"],
            )
            for lane in lanes
        ],
        right=("DUE", "OLDEST", "IN/MIN"),
    )


def _limit(used: int, limit: int) -> Text:
    share = used / limit if limit else _FULL
    filled = min(_BAR, round(share * _BAR))
    style = "red" if share >= _FULL else "yellow" if share >= _HIGH else "green"
    return Text.assemble(("█" * filled, style), ("░" * (_BAR - filled), "dim"), f" {used}/{limit}")


def _age(seconds: float) -> str:
    if seconds < 1:
        return "<1s"
    words = format_duration(timedelta(seconds=round(seconds)))
    return words.replace(" min", "m").replace(" s", "s").replace(" h", "h").replace(" d", "d")


def _one_line(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
