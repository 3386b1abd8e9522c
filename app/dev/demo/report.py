"""What the demo claims and what it saw, as the table that it ends in."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.table import Table
from rich.text import Text

HOLDS, DIFFERS = "ok", "DIFFERS"


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
    """Every claim, in the order in which it was put to the test."""

    claims: list[Claim] = field(default_factory=list)
    titles: dict[int, str] = field(default_factory=dict)
    """Of the chapters, by their numbers."""

    def add(self, chapter: int, what: str, expected: object, seen: object, *, ok: bool | None = None) -> None:
        """Note what was expected and seen. Unless `ok` says how it came out, the two must read the same."""
        wanted, found = str(expected), str(seen)
        self.claims.append(Claim(chapter, what, wanted, found, wanted == found if ok is None else ok))

    @property
    def differing(self) -> list[Claim]:
        """The claims that do not hold."""
        return [claim for claim in self.claims if not claim.ok]

    @property
    def exit_code(self) -> int:
        """0 if every claim holds. Nothing claimed is nothing shown, and no success."""
        return 0 if self.claims and not self.differing else 1

    @property
    def summary(self) -> str:
        """The outcome in one sentence."""
        if not self.claims:
            return "Nothing was shown."
        held = len(self.claims) - len(self.differing)
        return f"{held} of {len(self.claims)} claims hold."

    def table(self) -> Table:
        """One row for each claim, and one for each chapter above its claims."""
        made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        made.add_column("", no_wrap=True, justify="right", style="bold")
        made.add_column("CLAIM", overflow="fold")
        made.add_column("EXPECTED", overflow="fold")
        made.add_column("SEEN", overflow="fold")
        made.add_column("OK", no_wrap=True)
        chapter = None
        for claim in self.claims:
            if claim.chapter != chapter:
                chapter = claim.chapter
                made.add_row(str(chapter), Text(self.titles.get(chapter, ""), style="bold"))
            outcome = Text(HOLDS, style="green") if claim.ok else Text(DIFFERS, style="bold red")
            # Text, so that nothing that was seen is read as markup.
            made.add_row("", Text(claim.what), Text(claim.expected), Text(claim.seen), outcome)
        return made
