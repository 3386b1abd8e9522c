"""What the demo prints: sentences, the HTTP calls as they happen, and the table of claims at the end.

All of it is ASCII, and reads the same in a terminal, in a file and in the log of a CI job.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console as Terminal
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_FILE_WIDTH = 180
"""In a file the rows of a table, and calls, stay on one line."""
_LINE_WIDTH = 130
_PROSE_WIDTH = 100
_INDENT = 3
_CALLER_WIDTH, _CALL_WIDTH = 22, 54
_ACCOUNT = re.compile(r"/v1/accounts/[^/]+")


class Console:
    """Prints to standard output, line by line as things happen."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _FILE_WIDTH
        self._terminal = Terminal(width=width, highlight=False, markup=False, emoji=False)

    def print(self, text: str, style: str = "", indent: int = 0) -> None:
        """Print a paragraph."""
        self.show(Padding(Text(text, style=style), (0, 0, 0, indent), expand=False), _PROSE_WIDTH)

    def chapter(self, number: int, title: str, text: str) -> None:
        """Print the heading of a chapter, and what happens in it."""
        self.print(f"\n{number}. {title}", "bold")
        self.print(text, indent=_INDENT)

    def note(self, text: str) -> None:
        """Print an observation."""
        self.print(f"=> {text}", indent=_INDENT)

    def line(self, text: str, indent: int) -> None:
        """Print the beginning of a line of a command's output."""
        if len(text) > _LINE_WIDTH:
            text = f"{text[: _LINE_WIDTH - 3]}..."
        self.show(Padding(Text(text, style="dim"), (0, 0, 0, indent), expand=False))

    def call(self, caller: str, call: str, status: object, note: str = "") -> None:
        """Print one HTTP call: who called whom, method and path, status, and its effect."""
        short = _ACCOUNT.sub("...", call) if len(call) > _CALL_WIDTH else call
        cells = (
            (f"{caller:<{_CALLER_WIDTH}} ", "dim"),
            (f"{short:<{_CALL_WIDTH}} ", "cyan"),
            (f"{status!s:<4}", "bold"),
        )
        line = Text.assemble(*cells, note)
        line.rstrip()
        self.show(Padding(line, (0, 0, 0, _INDENT), expand=False))

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """Show in a terminal what the demo waits for; call what this yields to show the progress."""
        if not self._terminal.is_terminal:
            yield lambda _: None
            return
        with self._terminal.status(Text(text, style="dim"), spinner="line") as status:
            yield lambda progress: status.update(Text(f"{text}: {progress}", style="dim"))

    def show(self, part: RenderableType, width: int | None = None) -> None:
        """Print anything that rich renders, such as a table."""
        if self._terminal.is_terminal:
            self._terminal.print(part, width=width)
            return
        with self._terminal.capture() as captured:
            self._terminal.print(part, width=width)
        # A file needs no blanks at the ends of lines.
        self._terminal.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1]))
        self._terminal.file.flush()


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that must be so."""

    chapter: int
    what: str
    expected: str
    seen: str
    ok: bool


@dataclass(slots=True)
class Report:
    """Every claim, in the order in which they were checked."""

    claims: list[Claim] = field(default_factory=list)
    titles: dict[int, str] = field(default_factory=dict)
    """Chapter number → its title."""

    def add(self, chapter: int, what: str, expected: object, seen: object, *, ok: bool | None = None) -> None:
        """Record what was expected and seen. Without `ok`, the claim holds if both read the same."""
        holds = str(expected) == str(seen) if ok is None else ok
        self.claims.append(Claim(chapter, what, str(expected), str(seen), holds))

    @property
    def differing(self) -> list[Claim]:
        """The claims that do not hold."""
        return [claim for claim in self.claims if not claim.ok]

    @property
    def exit_code(self) -> int:
        """0 if there are claims and all of them hold, else 1."""
        return 0 if self.claims and not self.differing else 1

    @property
    def summary(self) -> str:
        """The outcome in one sentence."""
        if not self.claims:
            return "Nothing was shown."
        return f"{len(self.claims) - len(self.differing)} of {len(self.claims)} claims hold."

    def table(self) -> Table:
        """One row for each claim, under a row for its chapter."""
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        table.add_column("", no_wrap=True, justify="right", style="bold")
        for heading in ("CLAIM", "EXPECTED", "SEEN"):
            table.add_column(heading, overflow="fold")
        table.add_column("OK", no_wrap=True)
        chapter = None
        for claim in self.claims:
            if claim.chapter != chapter:
                chapter = claim.chapter
                table.add_row(str(chapter), Text(self.titles.get(chapter, ""), style="bold"))
            outcome = Text("ok", style="green") if claim.ok else Text("DIFFERS", style="bold red")
            # As `Text`, nothing that was seen is read as markup.
            table.add_row("", Text(claim.what), Text(claim.expected), Text(claim.seen), outcome)
        return table
