"""What commands print: tables and colors for people, JSON for programs.

What came from outside (an order's id, a provider's words) is never read as markup, and its control
characters are spelled out: no webhook writes to anybody's terminal but text.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]
Cell = str | Text | None

_FILE_WIDTH = 100_000
"""Lines in a file or a pipe have no end."""
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_PADDING = re.compile(r" +(?=(?:\x1b\[0m)?$)")
_NOTHING = "-"
_GAP = 2
_WRAPPED_WIDTH = 24
"""Free text in a column narrower than this is no longer read with ease."""

_GOOD, _BAD, _OPEN, _ODD, _FAINT = "green", "red", "cyan", "yellow", "dim"
_STYLES = {
    **dict.fromkeys(("yes", "succeeded", "idle", "create", "ok", "send", "true", "acted", "enforce"), _GOOD),
    **dict.fromkeys(("no", "rejected", "refused", "failed", "expired", "delete", "fault", "reject", "different"), _BAD),
    **dict.fromkeys(("false", "refrained"), _BAD),
    **dict.fromkeys(("scheduled", "sending", "accepted", "probe"), _OPEN),
    **dict.fromkeys(("waiting", "shadowed", "proposed", "joined", "approve", "shadow"), _OPEN),
    **dict.fromkeys(("unknown", "indeterminate", "paused", "throttled", "breaker_open", "rate_limited"), _ODD),
    **dict.fromkeys(("quarantined", "update", "revoked", "missing", "not in the log", "held", "error", "notice"), _ODD),
    **dict.fromkeys(("duplicate", "ignored", "unchanged", "unmatched", "dormant"), _FAINT),
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its title, and what a row has in it."""

    title: str
    cell: Callable[[Row], Cell]
    wraps: bool = False
    """Free text, which may go over several lines. Anything else is kept whole as long as there is room."""


@cache
def console() -> Console:
    """Where answers go."""
    return _console(sys.stdout)


@cache
def notes() -> Console:
    """Where everything else goes: hints, progress, errors."""
    return _console(sys.stderr)


def clean(text: object) -> str:
    """`text` on one line, with control characters spelled out."""
    return _CONTROLS.sub(_spelled, str(text))


def word(value: object) -> Text:
    """A word of ours, in the color of what it means."""
    return Text(clean(value), style=_STYLES.get(str(value), ""))


def heading(text: str) -> Text:
    """A line above a part of the answer."""
    return Text(f"\n{text}", style="bold")


def table(columns: Sequence[Column], rows: Iterable[Row]) -> Table:
    """Rows under titles. Where the room is too small for it, lines are longer than the screen, and nothing is cut."""
    cells = [[_text(column.cell(row)) for column in columns] for row in rows]
    widths = [max(cell_len(title), *(each.cell_len for each in own)) for title, own in _by_column(columns, cells)]
    least = sum(
        min(width, _WRAPPED_WIDTH) if column.wraps else width for column, width in zip(columns, widths, strict=True)
    )
    roomy = least + _GAP * (len(columns) - 1) <= console().width
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column, width in zip(columns, widths, strict=True):
        floor = min(width, _WRAPPED_WIDTH) if column.wraps and roomy else width
        made.add_column(column.title, min_width=floor, no_wrap=not (column.wraps and roomy), overflow="fold")
    for each in cells:
        made.add_row(*each)
    if not roomy:
        made.width = sum(widths) + _GAP * len(columns)
    return made


def show_rows(columns: Sequence[Column], rows: Sequence[Row]) -> None:
    """Print a table, or say that there is nothing to show."""
    if rows:
        show(table(columns, rows))
    else:
        say("None found.")


def fields(pairs: Iterable[tuple[str, Cell]]) -> Table:
    """Names and values, one pair on a line; those without a value are left out."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style=_FAINT, no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in pairs:
        if value is not None and str(value) != "":
            made.add_row(name, _text(value))
    return made


def show(*parts: RenderableType, to: Console | None = None) -> None:
    """Print for people."""
    target = to or console()
    for part in parts:
        with target.capture() as captured:
            target.print(part, crop=False, soft_wrap=isinstance(part, str | Text))
        # The padding of the last column would only be in the way, in a file as on a screen that is too narrow.
        target.file.write("".join(f"{_PADDING.sub('', line)}\n" for line in captured.get().splitlines()))
    target.file.flush()


def say(sentence: str) -> None:
    """A sentence beside the answer, on standard error."""
    show(Text(sentence), to=notes())


def complain(message: str) -> None:
    """An error, on standard error."""
    first, *others = message.splitlines() or [""]
    show(Text.assemble(("error: ", f"bold {_BAD}"), clean(first)), to=notes())
    for line in others:
        show(Text(clean(f"       {line}")), to=notes())


def print_json(value: object) -> None:
    """A document, for programs."""
    sys.stdout.write(json_text(value) + "\n")
    sys.stdout.flush()


def json_text(value: object, indent: int = 2) -> str:
    """JSON. Control characters that JSON itself would let pass are escaped, for the terminal's sake."""
    encoded = msgspec.json.encode(value)
    text = msgspec.json.format(encoded, indent=indent).decode() if indent else encoded.decode()
    return _CONTROLS.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text)


def _by_column(columns: Sequence[Column], cells: Sequence[Sequence[Text]]) -> Iterator[tuple[str, list[Text]]]:
    for index, column in enumerate(columns):
        yield column.title, [row[index] for row in cells]


def _console(file: Any) -> Console:
    width = None if file.isatty() else _FILE_WIDTH
    # Console reads NO_COLOR itself. `legacy_windows` and the like are its own business.
    return Console(file=file, width=width, highlight=False, markup=False, emoji=False)


def _text(value: Cell) -> Text:
    if isinstance(value, Text):
        return value
    return Text(_NOTHING, style=_FAINT) if value is None or value == "" else Text(clean(value))


def _spelled(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]
