"""Rows of cells on a screen that is too narrow for all columns side by side: the rest stands beneath, indented.

Nothing is cut, so that every id can be copied and every sentence read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from rich.console import Console, Group
from rich.text import Text

GAP = 2
"""Between two columns, and before what stands beneath."""
_PROSE_WIDTH = 24
"""The least width of a column of free text."""

Cells = Sequence[Text]


@dataclass(frozen=True, slots=True)
class Width:
    """How wide a column is: with every cell on one line, and at the least."""

    natural: int
    wraps: bool

    @property
    def least(self) -> int:
        return min(self.natural, _PROSE_WIDTH) if self.wraps else self.natural


def widths_of(rows: Sequence[Cells], wraps: Sequence[bool]) -> list[Width]:
    """The width of each column."""
    columns = zip(*rows, strict=True)
    return [Width(max(cell.cell_len for cell in column), wrap) for column, wrap in zip(columns, wraps, strict=True)]


def stacked(rows: Sequence[Cells], widths: Sequence[Width], screen: Console) -> Group:
    """Rows whose columns do not fit side by side; lines on which a row has nothing are left out."""
    lines = _arranged(widths, screen.width)
    return Group(
        *(text for row in rows for number, line in enumerate(lines) for text in _line(row, line, number, screen))
    )


def flowed(parts: Cells, screen: Console) -> Group:
    """The parts of one row, on as many lines as they need."""
    return stacked([parts], [Width(part.cell_len, wraps=False) for part in parts], screen)


def _arranged(widths: Sequence[Width], screen_width: int) -> list[dict[int, int]]:
    """For each line the columns on it, with their widths; columns stay in their order."""
    lines: list[dict[int, int]] = [{}]
    for column, width in enumerate(widths):
        indent = GAP if len(lines) > 1 else 0
        used = indent + sum(lines[-1].values()) + GAP * len(lines[-1])
        if lines[-1] and used + width.least > screen_width:
            lines.append({})
            used = GAP
        lines[-1][column] = min(width.least, screen_width - used)
    for number, line in enumerate(lines):
        left = screen_width - (GAP if number else 0) - sum(line.values()) - GAP * (len(line) - 1)
        for column in line:
            more = min(left, max(0, widths[column].natural - line[column]))
            line[column] += more
            left -= more
    return lines


def _line(row: Cells, line: dict[int, int], number: int, screen: Console) -> list[Text]:
    """One line of a row, which is several where a cell is longer than its column."""
    if number and all(row[column].plain in ("", "-") for column in line):
        return []
    wrapped = [row[column].wrap(screen, width, overflow="fold") for column, width in line.items()]
    texts = []
    for pieces in zip_longest(*wrapped):
        text = Text(" " * GAP if number else "")
        for piece, width in zip(pieces, line.values(), strict=True):
            part = Text() if piece is None else piece.copy()
            part.rstrip()
            part.pad_right(width + GAP - part.cell_len)
            text.append_text(part)
        text.rstrip()
        texts.append(text)
    return texts
