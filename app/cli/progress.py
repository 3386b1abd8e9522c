"""Progress of long work: a bar on a terminal; in a file a line now and then, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from app.cli import output


@dataclass(slots=True)
class Progress:
    """How much is done, of a total that need not be known."""

    label: str
    total: int | None
    quiet: bool = False
    """Whether nothing is printed without a terminal."""
    _bar: Any = None
    _task: Any = None
    _step: int = -1

    def to(self, done: int, note: str = "", total: int | None = None, label: str = "") -> None:
        """Show that so much is done, with a note; `total` and `label` replace those from before."""
        self.total, self.label = total or self.total, label or self.label
        if self._bar is not None:
            note = output.clean(note)
            self._bar.update(self._task, description=self.label, completed=done, total=self.total, note=note)
            return
        # In a file: a line for each tenth, or for each tenfold while the total is unknown.
        step = done * 10 // self.total if self.total else len(str(done))
        if step != self._step and not self.quiet:
            self._step = step
            of = f" of {self.total}" if self.total else ""
            output.say(f"{self.label}: {done}{of}{f', {note}' if note else ''}")


@contextmanager
def progress(label: str, total: int | None, *, quiet: bool = False) -> Iterator[Progress]:
    """Show progress on standard error; with `quiet` on a terminal only, and only while it lasts."""
    if not output.notes().is_terminal:
        yield Progress(label, total, quiet)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    note = TextColumn("{task.fields[note]}", markup=False)
    with Bars(*columns, note, console=output.notes(), transient=quiet) as bars:
        yield Progress(label, total, quiet, _bar=bars, _task=bars.add_task(label, total=total, note=""))
