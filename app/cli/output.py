"""What commands print: tables and colors for people, JSON for programs.

Text from outside (an order's id, a provider's words) is never read as markup, and its control characters are
escaped: a webhook cannot control a terminal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from app.cli.layout import GAP, Width, stacked, widths_of

Row = Mapping[str, Any]
Cell = str | Text | None

_FILE_WIDTH = 100_000
"""Lines in a file or a pipe are never wrapped."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PADDING = re.compile(r" +(?=(?:\x1b\[0m)?$)")
_NOTHING = "-"

_GOOD, _BAD, _OPEN, _ODD, _FAINT = "green", "red", "cyan", "yellow", "dim"
_STYLES = {
    **dict.fromkeys(
        ("yes", "succeeded", "idle", "create", "ok", "send", "true", "acted", "enforce", "complete"), _GOOD
    ),
    **dict.fromkeys(("no", "rejected", "refused", "failed", "expired", "delete", "fault", "reject", "different"), _BAD),
    **dict.fromkeys(("false", "refrained"), _BAD),
    **dict.fromkeys(("scheduled", "sending", "accepted", "probe"), _OPEN),
    **dict.fromkeys(("waiting", "shadowed", "proposed", "joined", "approve", "shadow"), _OPEN),
    **dict.fromkeys(("unknown", "indeterminate", "paused", "throttled", "breaker_open", "rate_limited"), _ODD),
    **dict.fromkeys(("quarantined", "update", "revoked", "missing", "not in the log", "held", "error", "notice"), _ODD),
    "partial": _ODD,
    **dict.fromkeys(("duplicate", "ignored", "unchanged", "unmatched", "dormant"), _FAINT),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, and the cell of a row."""

    title: str
    cell: Callable[[Row], Cell]
    wraps: bool = False
    """Whether the column is free text, which may wrap. Anything else wraps only if there is no room."""


@cache
def console() -> Console:
    """Standard output, for results."""
    return _console(sys.stdout)


@cache
def notes() -> Console:
    """Standard error, for hints, progress and errors."""
    return _console(sys.stderr)


def clean(text: object) -> str:
    """`text` on one line, with control characters escaped."""
    return _CONTROLS.sub(_escaped, str(text))


def word(value: object) -> Text:
    """A state, an outcome or the like, in the color of what stands before a colon."""
    return Text(clean(value), style=_STYLES.get(str(value).partition(":")[0], ""))


def heading(text: str) -> Text:
    """A heading above a part of the output."""
    return Text(f"\n{text}", style="bold")


def table(
    columns: Sequence[Column], rows: Iterable[Row], to: Console | None = None, *, with_titles: bool = True
) -> RenderableType:
    """Rows under titles. What does not fit side by side on the screen stands beneath, indented; nothing is cut."""
    target = to or console()
    cells = [[_text(column.cell(row)) for column in columns] for row in rows]
    titles = [Text(column.title, style="bold") for column in columns]
    widths = widths_of([titles, *cells], [column.wraps for column in columns])
    if sum(width.least for width in widths) + GAP * (len(widths) - 1) > target.width:
        return stacked([titles, *cells], widths, target)
    return _grid(columns, cells, widths, with_titles=with_titles)


def show_rows(columns: Sequence[Column], rows: Sequence[Row], *, is_continued: bool = False) -> None:
    """Print a table, or that nothing was found; what continues a table has titles on a screen only."""
    if rows:
        titles = not is_continued or console().is_terminal
        show(table(columns, rows, with_titles=titles))
    elif not is_continued:
        say("None found.")


def show_data(result: Mapping[str, Any], columns: Sequence[Column], *, as_json: bool) -> None:
    """Print a whole list: the result as JSON, or its rows as a table."""
    if as_json:
        print_json(result)
    else:
        show_rows(columns, result["data"])


def fields(pairs: Iterable[tuple[str, Cell]]) -> Table:
    """Names and values, one pair on a line; pairs without a value are left out."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style=_FAINT, no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None and str(value) != "":
            grid.add_row(name, _text(value))
    return grid


def show(*parts: RenderableType, to: Console | None = None) -> None:
    """Print for people."""
    target = to or console()
    for part in parts:
        with target.capture() as captured:
            target.print(part, crop=False, soft_wrap=isinstance(part, str | Text))
        # Without the padding of the last column, which a file does not need.
        target.file.write("".join(f"{_PADDING.sub('', line)}\n" for line in captured.get().splitlines()))
    target.file.flush()


def say(sentence: str) -> None:
    """Print a sentence on standard error."""
    show(Text(sentence), to=notes())


def complain(message: str) -> None:
    """Print an error on standard error."""
    first, *others = message.splitlines() or [""]
    show(Text.assemble(("error: ", f"bold {_BAD}"), clean(first)), to=notes())
    for line in others:
        show(Text(clean(f"       {line}")), to=notes())


def print_json(value: object, indent: int = 2) -> None:
    """Print a document for programs; with an indent of 0 on one line."""
    sys.stdout.write(json_text(value, indent) + "\n")
    sys.stdout.flush()


def json_text(value: object, indent: int = 2) -> str:
    """JSON in which all control characters are escaped, also those that JSON allows."""
    encoded = msgspec.json.encode(value)
    text = msgspec.json.format(encoded, indent=indent).decode() if indent else encoded.decode()
    return _CONTROLS.sub(lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text)


def _grid(
    columns: Sequence[Column], cells: Sequence[Sequence[Text]], widths: Sequence[Width], *, with_titles: bool
) -> Table:
    grid = Table(box=None, pad_edge=False, padding=(0, GAP, 0, 0), header_style="bold", show_header=with_titles)
    for column, width in zip(columns, widths, strict=True):
        grid.add_column(column.title, min_width=width.least, no_wrap=not column.wraps, overflow="fold")
    for row in cells:
        grid.add_row(*row)
    return grid


def _console(file: Any) -> Console:
    width = None if file.isatty() else _FILE_WIDTH
    # Console reads NO_COLOR itself.
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def _text(value: Cell) -> Text:
    if isinstance(value, Text):
        return value
    return Text(_NOTHING, style=_FAINT) if value is None or value == "" else Text(clean(value))


def _escaped(match: re.Match[str]) -> str:
    return repr(match[0])[1:-1]
