"""What a check found: for `rescind doctor`, its comparison of capacity, and `rescind upgrade`."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTICE, FAULT = "ok", "notice", "fault"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    what: str
    state: str
    """`ok`, `notice` (for information) or `fault` (needs a person)."""
    detail: str
    do: str = ""
