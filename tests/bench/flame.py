"""A flame graph of a server under load, drawn by py-spy, which looks at the process from outside.

A thread is shown while it runs Python; not while it waits, or is in SQLite, or in the kernel for long. py-spy stops the
process for each look. At 25 looks a second the server keeps 0.9 of its rate; at 100 it keeps half.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

LOOKS_PER_S = 25
TOOLS = Path(".tools", "bench")
"""Where `make` installs what only the bench needs (`requirements/bench.txt`)."""
END_S = 60
MAX_S = 3600


def tool() -> str:
    """The path of py-spy; exits where it is not installed."""
    found = shutil.which("py-spy", path=str(TOOLS / "bin")) or shutil.which("py-spy")
    if found is None:
        sys.exit("py-spy is not installed. Run: make bench-tools")
    return found


@contextlib.contextmanager
def recorded(pid: int, target: Path) -> Iterator[None]:
    """Record what holds the process's interpreter lock until the end of the block, then draw it into `target` (SVG)."""
    command = [tool(), "record", "--pid", str(pid), "--output", str(target.resolve()), "--format", "flamegraph"]
    command += ["--rate", str(LOOKS_PER_S), "--gil", "--threads", "--function"]
    command += ["--duration", str(MAX_S)]
    with tempfile.TemporaryFile() as said, contextlib.ExitStack() as ending:
        process = subprocess.Popen(command, stdout=said, stderr=said)
        ending.callback(_end, process)
        yield
        ending.pop_all()
        _end(process)
        if process.returncode or not target.exists():
            said.seek(0)
            raise RuntimeError(f"py-spy drew nothing: {said.read().decode(errors='replace')}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the recording as a key press would: the graph is written then."""
    if process.poll() is None:
        process.send_signal(2)
        process.wait(END_S)
