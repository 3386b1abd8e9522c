"""How the demo tells what happens: a few sentences, the calls as they went over the wire, what was seen.

All of it is ASCII, and reads the same in a terminal, in a file and in the log of a CI job.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.text import Text

_FILE_WIDTH = 180
"""In a file the rows of a table, and calls, stay on one line."""
_PROSE_WIDTH = 100
_INDENT = 3
_CALLER_WIDTH, _CALL_WIDTH, _STATUS_WIDTH = 22, 54, 3
_ALIGNED_FROM = 116
"""In a narrower terminal, columns would only break the lines of calls."""
_ACCOUNT = re.compile(r"/v1/accounts/[^/]+")
"""What a path that is too long for its column can do without: whose account it is, the caller shows."""


class Voice:
    """Prints the story to standard output, line by line as it happens."""

    def __init__(self) -> None:
        width = None if sys.stdout.isatty() else _FILE_WIDTH
        self._console = Console(width=width, highlight=False, markup=False, emoji=False)
        self._aligned = self._console.width >= _ALIGNED_FROM

    def say(self, text: str, style: str = "") -> None:
        """A paragraph."""
        self._print(Text(text, style=style), _PROSE_WIDTH)

    def chapter(self, number: int, title: str, text: str) -> None:
        """The beginning of a chapter: what happens in it, and why that matters."""
        self.say(f"\n{number}. {title}", "bold")
        self._print(_indented(Text(text)), _PROSE_WIDTH)

    def call(self, caller: str, call: str, status: object, note: str = "") -> None:
        """One HTTP call: who called whom, method and path, status, and what came of it."""
        if len(call) > _CALL_WIDTH:
            call = _ACCOUNT.sub("...", call)
        widths = (_CALLER_WIDTH, _CALL_WIDTH, _STATUS_WIDTH) if self._aligned else (0, 0, 0)
        line = Text.assemble(
            (f"{caller:<{widths[0]}} ", "dim"),
            (f"{call:<{widths[1]}} ", "cyan"),
            (f"{status!s:<{widths[2]}} ", "bold"),
            note,
        )
        line.rstrip()
        self._print(_indented(line))

    def seen(self, text: str) -> None:
        """What was seen."""
        self._print(_indented(Text.assemble(("=> ", "green"), text)), _PROSE_WIDTH)

    def show(self, part: RenderableType) -> None:
        """Anything else, a table for one."""
        self._print(part)

    @contextmanager
    def waiting(self, text: str) -> Iterator[Callable[[str], None]]:
        """While something takes its time: what for, and how far it is; only in a terminal."""
        if not self._console.is_terminal:
            yield lambda _: None
            return
        with self._console.status(Text(text, style="dim"), spinner="line") as status:
            yield lambda more: status.update(Text(f"{text}: {more}", style="dim"))

    def _print(self, part: RenderableType, width: int | None = None) -> None:
        if self._console.is_terminal:
            self._console.print(part, width=width)
            return
        with self._console.capture() as captured:
            self._console.print(part, width=width)
        # In a file, the blanks that fill a line up would only be in the way.
        self._console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().split("\n")[:-1]))
        self._console.file.flush()


def _indented(part: Text) -> Padding:
    return Padding(part, (0, 0, 0, _INDENT), expand=False)
