"""Report the branch coverage that `make test` measured, list what no test reached, and fail below the goal.

Usage: python -m tests.branch_coverage FILE, where FILE is SlipCover's JSON report.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

GOAL = 0.95
PACKAGES = ("app/core/", "app/engine/", "handlers/")


def main(report: Path) -> int:
    """Print the holes and the coverage of each package; returns 1 if one is below the goal."""
    files: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    shares, lines = [], []
    for package in PACKAGES:
        inside = {name: file for name, file in files.items() if name.startswith(package)}
        for name, file in sorted(inside.items()):
            if file["missing_branches"]:
                lines.append(f"{name}: {_ranges(file['missing_branches'])}")
        covered = sum(len(file["executed_branches"]) for file in inside.values())
        missing = sum(len(file["missing_branches"]) for file in inside.values())
        shares.append((package, covered, missing))
    lines.append("Branches taken; above those that were not, as line->line (0: the end of the function):")
    lines += [
        f"  {package:12} {covered / (covered + missing):6.1%} of {covered + missing}"
        for package, covered, missing in shares
    ]
    low = [package for package, covered, missing in shares if covered < GOAL * (covered + missing)]
    if low:
        lines.append(f"Below {GOAL:.0%}: {', '.join(low)}. Test the branches that are listed above.")
    sys.stdout.write("\n".join([*lines, ""]))
    return 1 if low else 0


def _ranges(branches: Iterable[tuple[int, int]]) -> str:
    """`12->13,15`: the branches by the line where they begin."""
    by_line = groupby(sorted(map(tuple, branches)), key=lambda branch: branch[0])
    return " ".join(f"{line}->{','.join(str(end) for _, end in ends)}" for line, ends in by_line)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
