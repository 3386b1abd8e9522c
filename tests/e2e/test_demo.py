"""`rescind demo`: it leaves nothing behind, however it ends, and can fail. test_wheel.py runs all of it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from app.dev.demo.calls import most_in_a_window
from app.dev.demo.console import Report
from app.dev.demo.processes import WaitedInVainError, until
from app.dev.demo.sending import per_second

PATIENCE_S = 900.0
"""This only ends what hangs: no test passes or fails by it on a machine that is busy."""
DEMO = (str(Path(sys.executable).with_name("rescind")), "demo")
INTERRUPTED = 130
CHAPTERS, PROVIDERS = 17, ("PlanOmatic", "NotPanel", "Kibo", "Superloop", "Shoplazza", "Example shop")
CHAPTER = re.compile(r"^ ?(\d+)  (\S.*)$")
CLAIM = re.compile(r"^ {4}(\S.*?)  +(.+?)  +(.+?)  +(ok|DIFFERS)$")


def environment(directory: Path) -> dict[str, str]:
    """Variables: the demo makes its own directory in `directory`, and must not care about settings that are there."""
    return {"RESCIND_DATABASE_URL": "sqlite:////nowhere/else.db", "RESCIND_PORT": "1", "TMPDIR": str(directory)}


def processes_of(directory: Path) -> list[int]:
    """The processes that know of `directory` by their environment."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        try:
            if str(directory).encode() in (each / "environ").read_bytes():
                found.append(int(each.name))
        except OSError:  # it ended, or is somebody else's
            continue
    return found


def claims_in(said: str) -> dict[int, list[tuple[str, ...]]]:
    """Chapter → its claims in the table: what, expected, seen, ok."""
    found: dict[int, list[tuple[str, ...]]] = {}
    chapter = 0
    for line in said.partition("\n    CLAIM")[2].splitlines():
        if claim := CLAIM.match(line):
            found.setdefault(chapter, []).append(claim.groups())
        elif heading := CHAPTER.match(line):
            chapter = int(heading[1])
    return found


def all_claims_hold(demo: list[str], variables: dict[str, str], directory: Path) -> None:
    """Run the whole demo: its claims hold, and nothing is left in `directory` (tests/e2e/test_wheel.py runs it)."""
    env = {**variables, **environment(directory)}
    done = subprocess.run(demo, env=env, cwd=directory, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    claims = claims_in(done.stdout)
    assert list(claims) == list(range(1, CHAPTERS + 1))
    assert min(len(each) for each in claims.values()) >= 2
    rows = [row for each in claims.values() for row in each]
    assert [row for row in rows if row[3] != "ok"] == []
    assert f"{len(rows)} of {len(rows)} claims hold." in done.stdout
    assert len(rows) >= 80
    for provider in PROVIDERS:
        assert f"Rescind > {provider}" in done.stdout, "every provider is called"
    assert done.stdout.isascii()
    assert list(directory.iterdir()) == []
    assert processes_of(directory) == []


def test_with_keep_the_directory_stays_and_its_keys_are_for_nobody_else(tmp_path: Path):
    with started(tmp_path, "--keep") as process:
        read_until(process, "3. ")
        process.send_signal(signal.SIGINT)
        rest, _ = process.communicate(timeout=PATIENCE_S)
    (kept,) = tmp_path.iterdir()
    # A long path is wrapped.
    assert f"Kept:{kept}" in "".join(rest.split())
    assert kept.stat().st_mode & 0o077 == 0
    assert (kept / "rescind.db").is_file()
    assert processes_of(tmp_path) == []


@pytest.mark.parametrize(("chapter", "ending"), [("Sandbox at ", signal.SIGTERM), ("4. ", signal.SIGINT)])
def test_an_interrupted_demo_cleans_up(tmp_path: Path, ending: signal.Signals, chapter: str):
    with started(tmp_path) as process:
        read_until(process, chapter)
        assert processes_of(tmp_path)
        process.send_signal(ending)
        rest, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == INTERRUPTED, rest
    assert "Interrupted" in rest
    assert list(tmp_path.iterdir()) == []
    assert processes_of(tmp_path) == []


def started(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (*DEMO, *arguments),
        env={**os.environ, **environment(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def read_until(process: subprocess.Popen[str], beginning: str) -> None:
    """Read lines until one begins so."""
    assert process.stdout is not None
    deadline = time.monotonic() + PATIENCE_S
    seen = []
    for line in process.stdout:
        seen.append(line)
        if line.startswith(beginning):
            return
        assert time.monotonic() < deadline, "".join(seen)
    pytest.fail(f"it ended before {beginning!r}: {''.join(seen)}")


# -- The table -------------------------------------------------------------------------------


def test_a_report_in_which_all_reads_as_expected_is_a_success():
    report = Report()
    report.add(1, "the answer", "42", 42)
    report.add(2, "the most", "at most 100", 99, ok=True)
    assert (report.exit_code, report.summary) == (0, "2 of 2 claims hold.")


def test_a_report_in_which_something_differs_fails():
    report = Report()
    report.add(1, "the answer", "42", 42)
    report.add(1, "the question", "6 x 9", "6 x 8")
    report.add(1, "the most", "at most 100", 101, ok=False)
    assert (report.exit_code, report.summary) == (1, "1 of 3 claims hold.")
    assert [claim.what for claim in report.differing] == ["the question", "the most"]


def test_each_chapter_stands_above_its_claims(capsys: pytest.CaptureFixture[str]):
    report = Report(titles={1: "The first", 12: "The last"})
    report.add(1, "the answer", "42", 42)
    report.add(1, "the question", "6 x 9", "6 x 8")
    report.add(12, "the rest", "silence", "silence")
    Console(width=100).print(report.table())
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line[:14].rstrip() for line in lines[1:]] == [
        " 1  The first",
        "    the answer",
        "    the questi",
        "12  The last",
        "    the rest",
    ]
    assert claims_in("\n" + "\n".join(lines)) == {
        1: [("the answer", "42", "42", "ok"), ("the question", "6 x 9", "6 x 8", "DIFFERS")],
        12: [("the rest", "silence", "silence", "ok")],
    }


def test_a_report_without_claims_fails():
    assert (Report().exit_code, Report().summary) == (1, "Nothing was shown.")


def test_what_was_seen_is_not_read_as_markup(capsys: pytest.CaptureFixture[str]):
    report = Report()
    report.add(1, "the order", "[red]open[/red]", "[bold]")
    Console(width=100).print(report.table())
    shown = capsys.readouterr().out
    assert "[red]open[/red]" in shown
    assert "[bold]" in shown
    assert "DIFFERS" in shown


# -- What is measured ------------------------------------------------------------------------


def test_a_window_is_counted_wherever_it_is_laid():
    # Two buckets of 3 that are filled at their common edge: a fixed window sees 3, a sliding one 6.
    assert most_in_a_window([1.02, 0.9, 0.95, 0.99, 1.0, 1.01], 1.0) == 6
    # As PlanOmatic counts: what is exactly a window old does not count any more.
    assert most_in_a_window([0.0, 1.0, 2.0], 1.0) == 1
    assert most_in_a_window([], 1.0) == 0


def test_arrivals_are_counted_second_by_second():
    assert per_second([10.0, 10.9, 12.1, 10.1]) == [3, 0, 1]
    assert per_second([]) == []


async def test_a_wait_ends_and_says_what_it_was_for_and_what_to_look_at():
    async def never() -> bool:
        return False

    with pytest.raises(WaitedInVainError, match=r"waited 0\.05 s in vain for rain; look at the sky"):
        await until(never, "rain", "the sky", wait_s=0.05, every_s=0.01)
