"""`make drill`, shorter: after a restore, what was there has come back, and nothing was sent twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from app.dev.drill.run import ORDERS_MIN

PATIENCE_S = 600.0
"""This only ends what hangs: no test passes or fails by it on a machine that is busy."""
CLAIM = re.compile(r"^ {3}(\S.*?)  +(.+?)  +(.+?)  +(ok|DIFFERS)$", re.MULTILINE)
CLAIMS = 14
FIGURES = ("backup under load", "RPO: ", "RTO: the backup is restored", "RTO: the server is ready", "RTO: everything")


def test_the_drill_loses_what_came_after_the_backup_and_gets_it_back(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "app.dev.drill", "--orders", str(ORDERS_MIN))
    environment = {**os.environ, "TMPDIR": str(tmp_path), "RESCIND_DATABASE_URL": "sqlite:////nowhere/else.db"}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd=Path.cwd()
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    claims = CLAIM.findall(done.stdout)
    assert [claim for claim in claims if claim[3] != "ok"] == []
    assert len(claims) == CLAIMS
    lost = next(seen for what, _, seen, _ in claims if what == "acknowledged after the backup: lost")
    assert int(lost.partition(" of ")[2]) > 0, "something was lost, or the drill shows nothing"
    for figure in FIGURES:
        assert f"\n{figure}" in done.stdout
    assert list(tmp_path.iterdir()) == []
