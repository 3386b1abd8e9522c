"""`rescind backup --every`: when a backup is due, and what follows one that failed."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from app.cli import backup_schedule, output
from app.cli.failure import Failure

EVERY = timedelta(hours=6)


class EndedError(Exception):
    """Ends a schedule, which never ends by itself."""


@pytest.fixture(autouse=True)
def _streams() -> Iterator[None]:
    """What is written goes to the streams of this test, and no other test's output to them."""
    output.notes.cache_clear()
    yield
    output.notes.cache_clear()


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def taken(directory: Path, ago: timedelta) -> None:
    (directory / f"rescind-{datetime.now(UTC) - ago:%Y%m%dT%H%M%SZ}.db").touch()


def waits(monkeypatch: pytest.MonkeyPatch, directory: Path, take: Callable[[], None]) -> float:
    """How long it waits first, in seconds."""

    def sleep(seconds: float) -> None:
        raise EndedError(seconds)

    monkeypatch.setattr(backup_schedule.time, "sleep", sleep)
    with pytest.raises(EndedError) as ended:
        backup_schedule.repeat(EVERY, directory, take)
    return float(ended.value.args[0])


def test_the_first_is_due_at_once_and_the_next_when_it_is_old(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    times: list[int] = []

    def take() -> None:
        times.append(1)
        taken(tmp_path, timedelta())

    waited = waits(monkeypatch, tmp_path, take)
    assert len(times) == 1
    assert EVERY.total_seconds() - 300 < waited <= EVERY.total_seconds()


def test_a_restart_takes_none_before_it_is_due(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken(tmp_path, timedelta(hours=9))
    taken(tmp_path, timedelta(hours=2))
    taken(tmp_path, -timedelta(days=400))  # by a clock that has been set back since
    (tmp_path / "rescind-99999999T999999Z.db").touch()
    waited = waits(monkeypatch, tmp_path, lambda: pytest.fail("too early"))
    assert timedelta(hours=4).total_seconds() - 300 < waited <= timedelta(hours=4).total_seconds()


def test_a_backup_named_by_the_next_free_second_is_not_taken_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    taken(tmp_path, -timedelta(minutes=1))
    assert waits(monkeypatch, tmp_path, lambda: pytest.fail("too early")) > EVERY.total_seconds()


@pytest.mark.parametrize("outcome", [Failure("There is no database yet."), typer.Exit(1)])
def test_one_that_failed_is_tried_again_soon(
    outcome: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise outcome

    assert waits(monkeypatch, tmp_path, fail) == backup_schedule.RETRY.total_seconds()
    assert ("The next try is in 60 s." in capsys.readouterr().err) == isinstance(outcome, Failure)
