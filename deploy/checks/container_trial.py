"""Builds the image's file system by the Dockerfile's own steps, and runs it as an engine would: see `test_docker`.

    unshare --mount python container_trial.py REPOSITORY WORK PORT

The program is the first process of a process namespace, as a user who is not root, without capabilities. Its file
system is read-only but for /tmp and the volumes. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from dockerfile import Build, Stage, context, exec_form, inside, read

PATIENCE_S = 120.0
POLL_S = 0.2
"""Each look starts a process."""
SORT = """
import os, sqlite3
db = sqlite3.connect("")
db.executescript("PRAGMA temp_store = FILE; PRAGMA cache_size = 1; CREATE TABLE t (x)")
db.execute("INSERT INTO t SELECT randomblob(9999) FROM json_each('[1,2,3,4,5,6,7,8,9]')")
print({os.path.dirname(os.readlink(f.path)) for f in os.scandir("/proc/self/fd") if "etilqs" in os.readlink(f.path)})
"""
"""Where SQLite keeps what a migration sets aside."""
KEY = "bootstrap-key-0123456789-0123456789"


def main(repository: Path, work: Path, port: int) -> dict[str, Any]:
    """Build and run; what was seen."""
    stages = read((repository / "deploy/docker/Dockerfile").read_text())
    # In memory: it is quicker, and where this machine is a container, its own layers may take no others on top.
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", work], check=True)  # noqa: S607
    seen_by_build = work / "context"
    build = Build(seen_by_build, work)
    seen_by_build.mkdir()
    context(repository, seen_by_build)
    for stage in stages:
        root = build.run(stage)
    return {"context": sorted(path.name for path in seen_by_build.iterdir()), **run(root, stages[-1], work, port)}


def run(root: Path, image: Stage, work: Path, port: int) -> dict[str, Any]:
    """Run the image's program until it is healthy, use it, and stop it."""
    sizes = {
        "opt/rescind": _megabytes(root / "opt/rescind"),
        "usr/local": _megabytes(work / f"{image.name}-local/upper"),
    }
    for number, name in enumerate(exec_form(image.said["VOLUME"])):
        volume = work / f"volume-{number}"
        # An engine makes a new volume with the owner and the mode of the image's folder.
        subprocess.run(["cp", "-a", root / name.lstrip("/"), volume], check=True)  # noqa: S607
        subprocess.run(["mount", "--bind", volume, root / name.lstrip("/")], check=True)  # noqa: S607
    for mount in (root, root / "usr/local"):
        subprocess.run(["mount", "-o", "remount,ro", mount], check=True)  # noqa: S607
    image.env |= {"RESCIND_BOOTSTRAP_KEY": KEY, "RESCIND_PORT": str(port)}
    program = exec_form(image.said["ENTRYPOINT"]) + exec_form(image.said["CMD"])
    command = ["unshare", "--pid", "--fork", "--kill-child", f"--mount-proc={root}/proc", *inside(root, image, program)]
    seen: dict[str, Any] = {"sizes": sizes, "steps": {}}

    def does(name: str, *words: str) -> None:
        done = subprocess.run(inside(root, image, [*words]), capture_output=True, text=True, check=False)
        seen["steps"][name] = [done.returncode, done.stdout[-500:], done.stderr[-500:]]

    check = exec_form(image.said["HEALTHCHECK"].partition(" CMD ")[2])
    log = (work / "log").open("w+b")
    does("starting", *check)
    with subprocess.Popen(command, stdout=log, stderr=log) as process:
        deadline = time.monotonic() + PATIENCE_S
        does("healthy", *check)
        while seen["steps"]["healthy"][0] and process.poll() is None and time.monotonic() < deadline:
            time.sleep(POLL_S)
            does("healthy", *check)
        does("ready", *check, "--ready")
        does("backup", "rescind", "backup", "--into", "/backups", "--keep", "2")
        does("who", "id", "-u")
        does("writes outside", "touch", "/opt/rescind/x", "/usr/local/x", "/etc/x", "/x")
        does("sorts", "/opt/rescind/bin/python", "-c", SORT)
        does("writes inside", "touch", "/tmp/x", "/var/lib/rescind/x", "/backups/x")  # noqa: S108
        if process.poll() is None:
            # Of the first process of a namespace a signal ends only one that handles it.
            os.kill(_child(process.pid), signal.SIGTERM)
        seen["exit_code"] = process.wait(PATIENCE_S)
        does("stopped", *check)
    log.seek(0)
    seen["log"] = log.read().decode()[-3000:]
    seen["files"] = {path.name: path.stat().st_uid for path in (root / "var/lib/rescind").iterdir()}
    (packages,) = (root / "opt/rescind/lib").glob("python3*/site-packages")
    seen["packages"] = sorted(path.name for path in packages.iterdir())
    seen["not_compiled"] = _not_compiled(packages / "app")
    return seen


def _megabytes(folder: Path) -> int:
    counted = subprocess.run(["du", "-sm", folder], capture_output=True, check=True)  # noqa: S607
    return int(counted.stdout.split()[0])


def _not_compiled(package: Path) -> list[str]:
    compiled = {(path.parent.parent, path.name.partition(".")[0]) for path in package.rglob("__pycache__/*.pyc")}
    return [str(path) for path in package.rglob("*.py") if (path.parent, path.stem) not in compiled]


def _child(pid: int) -> int:
    """The process that `unshare` forked: the first of its namespace."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # another process of this machine may have ended meanwhile
            fields = stat.read_text().rpartition(") ")[2].split()
            if fields[1] == str(pid):
                return int(stat.parent.name)
    raise AssertionError("the program has ended")


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))))  # noqa: T201
