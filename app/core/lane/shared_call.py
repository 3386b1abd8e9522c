"""Which jobs leave together as one call. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from app.core.aggregate import Job, JobKind

SharedCall = Sequence[tuple[int, Job]]
"""(order number, job) of all jobs that leave as one call."""


def shared_calls(
    jobs: Sequence[tuple[int, Job]], batch_max: Callable[[JobKind], int], retry_alone: Collection[int]
) -> list[SharedCall]:
    """Group jobs into calls: of one kind, as many as the handler takes, in the order given.

    Each failure of a job halves how many leave with it: an order that fails the call for all is soon sent alone.

    Args:
        jobs: (order number, job), the most urgent first.
        batch_max: how many jobs of a kind the handler takes in one call.
        retry_alone: numbers of orders whose next call is about no other order.
    """
    open_calls: dict[JobKind, tuple[list[tuple[int, Job]], int]] = {}
    calls: list[SharedCall] = []
    for pk, job in jobs:
        if pk in retry_alone:
            calls.append([(pk, job)])
            continue
        fits = max(1, batch_max(job.kind) >> min(job.failures, 30))
        call, room = open_calls.get(job.kind, ([], 0))
        if len(call) >= min(room, fits):
            call, room = [], fits
            calls.append(call)
        call.append((pk, job))
        open_calls[job.kind] = call, min(room, fits)
    return calls
