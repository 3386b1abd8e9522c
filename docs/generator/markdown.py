"""Pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; its cells may hold any text but `|` in code spans of more than one cell."""
    names = list(head)
    lines: list[Iterable[object]] = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cell(content) for content in line)} |" for line in lines)


def cell(content: object) -> str:
    """Content as a cell of a table: on one line, without bars that would end the cell."""
    return " ".join(str(content).split()).replace("|", "\\|")


def anchor(heading: str) -> str:
    """The anchor of a heading, as the site's generator makes it of the heading's text."""
    text = re.sub(r"[^\w\s-]", "", heading).strip().lower()
    return re.sub(r"[-\s]+", "-", text)
