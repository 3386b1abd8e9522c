"""`rescind demo`: Rescind at work against simulated providers, over real HTTP; ends in a table of claims."""

from __future__ import annotations

from app.dev.demo.run import run

__all__ = ["run"]
