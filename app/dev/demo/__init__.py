"""`rescind demo`: the main job before your eyes, with a simulated provider, over real HTTP; ends in a table."""

from __future__ import annotations

import asyncio
import time
from shlex import quote

from app.dev.demo.report import Report
from app.dev.demo.stage import Stage
from app.dev.demo.story import tell
from app.dev.demo.voice import Voice

__all__ = ["INTERRUPTED", "run"]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it."""

_LOOK_AROUND = """
Kept: {directory} holds the database and the logs. To look around:
   . {settings}
   rescind serve 2> serve.log &                     # Rescind, on the demo's database
   rescind orders list --phase in_progress          # what it knows
   rescind orders explain acme 654322               # why an order cannot be canceled
   rescind receipts list --status quarantined       # what nobody understood
   kill %1; rm -r {directory}"""


def run(*, keep: bool = False) -> int:
    """Play the demo; with `keep` its directory stays.

    Returns the exit code: 0 if every claim holds, 1 if one does not, 130 if it was interrupted.
    """
    voice, report, began = Voice(), Report(), time.monotonic()
    stage = Stage(keep=keep)
    try:
        with stage:
            asyncio.run(tell(stage, voice, report))
            settings = stage.write_settings() if keep else None
    except (KeyboardInterrupt, asyncio.CancelledError):
        voice.say("\nInterrupted. Everything that was started is stopped.")
        if keep:
            voice.say(f"Kept: {stage.directory}")
        return INTERRUPTED
    voice.say("")
    voice.show(report.table())
    voice.say(
        f"\n{report.summary} It took {time.monotonic() - began:.0f} s.",
        "bold green" if not report.exit_code else "bold red",
    )
    if settings is not None:
        voice.say(_LOOK_AROUND.format(directory=quote(str(stage.directory)), settings=quote(str(settings))))
    return report.exit_code
