"""Progress of what takes long: a bar on a terminal, a line now and then in a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from app.cli import output


@dataclass(slots=True)
class Progress:
    """How far something is, of a total that need not be known."""

    label: str
    total: int | None
    done: int = 0
    _bar: Any = None
    _task: Any = None
    _said: int = field(default=-1)

    def to(self, done: int, note: str = "") -> None:
        """So much is done; `note` says what else is to be known."""
        self.done = done
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=output.clean(note))
            return
        # In a file: a line for each tenth, or for each tenfold where nobody knows the end.
        step = done * 10 // self.total if self.total else len(str(done))
        if step != self._said:
            self._said = step
            of = f" of {self.total}" if self.total else ""
            output.say(f"{self.label}: {done}{of}{f', {note}' if note else ''}")


@contextmanager
def progress(label: str, total: int | None) -> Iterator[Progress]:
    """Show how far something is, on standard error."""
    if not output.notes().is_terminal:
        yield Progress(label, total)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415
    from rich.progress import Progress as Bars  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bars(*columns, TextColumn("{task.fields[note]}", markup=False), console=output.notes()) as bars:
        yield Progress(label, total, _bar=bars, _task=bars.add_task(label, total=total, note=""))
