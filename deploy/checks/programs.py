"""What the checks of `deploy/` share: the folder, and how a program is run."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"


def run(*command: str | Path, cwd: Path = ROOT, env: dict[str, str] | None = None, text: str | None = None) -> str:
    """Run a program that must succeed; returns what it printed.

    Args:
        command: the program's name, looked up on the PATH, and its arguments.
        cwd: the folder to run it in.
        env: its environment; default: this one.
        text: its standard input.

    Raises:
        AssertionError: it is not installed, or its exit code is not 0; with what it printed.
    """
    name, *arguments = command
    program = shutil.which(str(name))
    assert program is not None, f"{name} is not installed: deploy/checks/install-tools installs it"
    done = subprocess.run(
        [program, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, env=env, input=text
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr
