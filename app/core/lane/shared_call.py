"""Which jobs leave together as one call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from app.core.aggregate import Job, JobKind

Batch = Sequence[tuple[int, Job]]
"""(order number, job) of what leaves as one call."""


def shared_calls(jobs: Batch, most: Callable[[JobKind], int], apart: Collection[int]) -> list[Batch]:
    """Jobs in the calls that they leave in: of one kind, as many as the handler takes, in the order given.

    With each failure of a job half as many leave with it: where one order spoils the call for all, it is soon alone.

    Args:
        jobs: the most urgent first.
        most: how many of a kind the handler takes in one call.
        apart: numbers of orders whose next call is about nothing else.
    """
    open_calls: dict[JobKind, tuple[list[tuple[int, Job]], int]] = {}
    calls: list[Batch] = []
    for pk, job in jobs:
        if pk in apart:
            calls.append([(pk, job)])
            continue
        fits = max(1, most(job.kind) >> min(job.failures, 30))
        call, room = open_calls.get(job.kind, ([], 0))
        if len(call) >= min(room, fits):
            call, room = [], fits
            calls.append(call)
        call.append((pk, job))
        open_calls[job.kind] = call, min(room, fits)
    return calls
