"""Which jobs leave as one call."""

from __future__ import annotations

from datetime import UTC, datetime

from app.core.aggregate import Job, JobKind
from app.core.lane.shared_call import shared_calls

NOW = datetime(2026, 3, 2, 16, 4, 6, tzinfo=UTC)


def jobs(*failures: int, kind: JobKind = JobKind.CANCEL) -> list[tuple[int, Job]]:
    return [(pk, Job("a", f"o-{pk}", kind, NOW, failures=each)) for pk, each in enumerate(failures)]


def sizes(given: list[tuple[int, Job]], most: int, apart: set[int] | None = None) -> list[int]:
    calls = shared_calls(given, lambda _: most, apart or set())
    assert sorted(pk for call in calls for pk, _ in call) == [pk for pk, _ in given], "each job in one call"
    return [len(call) for call in calls]


def test_as_many_leave_together_as_the_handler_takes() -> None:
    assert sizes(jobs(*[0] * 250), 100) == [100, 100, 50]
    assert sizes(jobs(*[0] * 3), 1) == [1, 1, 1]
    assert sizes([], 100) == []


def test_what_was_turned_down_together_leaves_alone() -> None:
    assert sizes(jobs(*[0] * 5), 100, {0, 3}) == [1, 3, 1]


def test_with_each_failure_half_as_many_leave_together() -> None:
    assert sizes(jobs(*[1] * 100), 100) == [50, 50]
    assert sizes(jobs(*[2] * 100), 100) == [25] * 4
    assert sizes(jobs(*[7] * 3), 100) == [1] * 3
    assert sizes(jobs(*[1000] * 3), 100) == [1] * 3
    assert sizes(jobs(1, 1, 7, 1), 100) == [2, 1, 1]


def test_kinds_do_not_mix() -> None:
    calls = shared_calls([*jobs(0, 0), (9, jobs(0, kind=JobKind.PROBE)[0][1])], lambda _: 10, set())
    assert [{job.kind for _, job in call} for call in calls] == [{JobKind.CANCEL}, {JobKind.PROBE}]
