"""Scripts are checked by shellcheck."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from programs import DEPLOY, ROOT, run


def scripts() -> list[str]:
    """Files of the repository that a shell runs, by their first line."""
    files = run("git", "ls-files", "--cached", "--others", "--exclude-standard").splitlines()
    return [name for name in files if (ROOT / name).is_file() and _is_shell((ROOT / name).read_bytes()[:40])]


def _is_shell(head: bytes) -> bool:
    line = head.partition(b"\n")[0]
    return line.startswith(b"#!") and line.endswith((b"/sh", b" sh", b"bash"))


def test_shellcheck_accepts_every_script() -> None:
    names = scripts()
    assert {".ci/run", "deploy/checks/install-tools"} <= {*names}
    run("shellcheck", *names)


def test_missing_programs_are_installed_without_being_root(tmp_path: Path) -> None:
    """As on the machines of GitHub: a user who may use sudo without a password."""
    bin_, script = tmp_path / "bin", tmp_path / "deploy/checks/install-tools"
    for folder in (bin_, script.parent, tmp_path / ".tools/crds"):
        folder.mkdir(parents=True)
    shutil.copy2(DEPLOY / "checks/install-tools", script)
    for name in ("bash", "dirname", "env", "mktemp", "rm"):
        (bin_ / name).symlink_to(shutil.which(name) or "")
    log = tmp_path / "log"
    fakes = {"id": "echo 1000", "sudo": f'echo "$@" >>{log}', "apt-get": "exit 1", "kustomize": ""}
    for name, line in fakes.items():
        (bin_ / name).write_text(f"#!/bin/sh\n{line}\n")
        (bin_ / name).chmod(0o755)
    run("bash", script, env={**os.environ, "PATH": str(bin_)})
    _, update, install = log.read_text().splitlines()
    assert update.endswith("apt-get update -qq")
    assert install.endswith("systemd prometheus prometheus-alertmanager nginx caddy shellcheck")
