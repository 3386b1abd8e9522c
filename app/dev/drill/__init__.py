"""`make drill`: a rehearsed recovery with real processes: back up under load, destroy, restore, compare."""

from __future__ import annotations

from app.dev.drill.run import run

__all__ = ["run"]
