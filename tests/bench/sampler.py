"""Runs in a server that the bench starts: samples what its main thread does, in processor time.

SIGUSR2 begins to sample, and again ends it and writes the file named by `BENCH_SAMPLES`. Each sample weighs as
much processor time as its thread has used since the one before, so nothing is counted that waits.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from types import FrameType

EVERY_S = 0.002
FILE = "BENCH_SAMPLES"


class Sampler:
    """Stacks of the main thread, and their seconds."""

    def __init__(self) -> None:
        self._stacks = Counter[tuple[str, ...]]()
        self._used, self._is_on = 0.0, False

    def toggle(self, _signal: int, _frame: FrameType | None) -> None:
        """Begin, or end and write."""
        self._is_on = not self._is_on
        if self._is_on:
            self._used = time.thread_time()
            signal.setitimer(signal.ITIMER_PROF, EVERY_S, EVERY_S)
            return
        signal.setitimer(signal.ITIMER_PROF, 0, 0)
        threads = {thread.native_id: thread.name for thread in threading.enumerate()}
        target = Path(os.environ[FILE])
        unfinished = target.with_suffix(".part")
        unfinished.write_text(json.dumps({"threads": threads, "stacks": list(self._stacks.items())}))
        unfinished.rename(target)

    def sample(self, _signal: int, frame: FrameType | None) -> None:
        """Note where the main thread is, innermost frame first."""
        now = time.thread_time()
        stack = []
        while frame is not None:
            stack.append(f"{frame.f_code.co_filename}:{frame.f_code.co_qualname}")
            frame = frame.f_back
        self._stacks[tuple(stack)] += now - self._used
        self._used = now


def start() -> None:
    """Wait for the signal. Must be called in the main thread."""
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler.sample)
    signal.signal(signal.SIGUSR2, sampler.toggle)
