"""The log tells everything of calls that several orders share, of polls, and of webhooks that outrun a snapshot."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from integration.test_rebuild import ACCOUNT, STATUSES, World, derived, gather, rows, world

from app.contract import CancelOutcome, CancelResult, Facts, Phase
from app.core import order as orders
from app.core.aggregate import Job, JobKind, is_fact
from app.core.attempt import Attempt
from app.core.commands import CheckFence, ClaimJob, Command, ReleaseClaim
from app.core.pauses import Pause
from app.core.results import RecordProbe, RecordResult
from app.engine.rebuild import check, rebuild
from app.runtime import ids
from app.store import Window
from app.store.filters import OrderFilter

PHASES = [*[Phase.OPEN] * 9, *Phase]
STEPS = 160


async def claimed(it: World, jobs: list[tuple[int, Job]]) -> list[tuple[Attempt, Job]]:
    """Claim all of them in one transaction; those that were granted."""
    numbers = [it.ids.next() for _ in jobs]
    attempts = [
        Attempt(number, pk, ACCOUNT, job.order, job.kind, job.cancellation, it.now)
        for number, (pk, job) in zip(numbers, jobs, strict=True)
    ]
    claims = []
    for row, (_, job) in zip(attempts, jobs, strict=True):
        asked = job.order, it.now, ids.show(ids.ATTEMPT, row.id), job.kind, job.cancellation, 60.0, job.poll
        claims.append(ClaimJob(ACCOUNT, *asked, record=row))
    results = await it.ledger.execute_all(claims)
    return [(row, job) for row, (_, job), granted in zip(attempts, jobs, results, strict=True) if granted is not None]


def racing(it: World, order: str) -> bytes:
    """A webhook about an order that a call is out about; by its own time it may be older than the call."""
    event = it.chance.choice(["order.processed"] * 3 + ["appointment.scheduled", "order.delivered"])
    at = it.now - timedelta(seconds=it.chance.choice([0, 1, 60, 110, 150]))
    body: dict[str, Any] = {"event": event, "status": STATUSES[event], "occurred_at": at.isoformat()}
    return msgspec.json.encode(
        body | ({"request_id": order[8:]} if order.startswith("request:") else {"order_id": order})
    )


async def share(it: World, kind: JobKind) -> None:
    """What is due of one kind leaves as one call; webhooks come in while it is out."""
    due = [each for each in await it.store.jobs(ACCOUNT, it.now, 10) if each[1].kind is kind]
    if kind is JobKind.PROBE:
        quiet = await it.store.quiet_orders(ACCOUNT, it.now - timedelta(seconds=1000), 4)
        busy = {pk for pk, _ in due}
        due += [(pk, Job(ACCOUNT, id, kind, it.now, poll=True)) for pk, id in quiet if pk not in busy]
    out, asked_at = await claimed(it, due), it.now
    for _ in range(it.chance.randrange(4)):
        it.now += timedelta(seconds=it.chance.choice([0, 1, 50, 130]))
        await it.webhook(racing(it, it.chance.choice(out)[1].order) if out else None)
    if not out:
        return
    entries: list[Command[Any]] = []
    if kind is JobKind.CANCEL:
        names = [ids.show(ids.ATTEMPT, row.id) for row, _ in out]
        each = [(name, job) for name, (_, job) in zip(names, out, strict=True)]
        checks = [CheckFence(ACCOUNT, job.order, it.now, name, str(job.cancellation)) for name, job in each]
        if not all(await it.ledger.execute_all(checks)):
            entries = [ReleaseClaim(ACCOUNT, job.order, it.now, name, str(job.cancellation)) for name, job in each]
            await it.record(*entries)
            return
    for row, job in out:
        name, now = ids.show(ids.ATTEMPT, row.id), it.now
        outcome = it.chance.choice(list(CancelOutcome))
        if kind is JobKind.CANCEL:
            result = CancelResult(outcome, "as it says", may_have_applied=it.chance.random() < 0.3)
            entries.append(RecordResult(ACCOUNT, job.order, now, name, str(job.cancellation), result))
        elif outcome in (CancelOutcome.SUCCEEDED, CancelOutcome.ACCEPTED):
            snapshot = Facts(phase=it.chance.choice(PHASES), attributes={"as_of": name})
            entries.append(RecordProbe(ACCOUNT, job.order, now, name, asked_at, snapshot))
        else:
            entries.append(RecordProbe(ACCOUNT, job.order, now, name, asked_at, failure="no luck", outcome=outcome))
    await it.record(*entries)


async def live(it: World) -> None:
    doing: list[Any] = [it.webhook] * 5 + [it.repeat, *[it.request_cancel] * 12, it.elapse, it.restart, it.settle]
    for _ in range(STEPS):
        if it.chance.random() < 0.4:
            await share(it, it.chance.choice([JobKind.CANCEL, JobKind.PROBE]))
        else:
            await it.chance.choice(doing)()
        for scope in list(it.ledger.pauses):
            await it.ledger.resume(Pause(scope, "go on", it.now, "ann"))
        it.now += timedelta(seconds=it.chance.choice([0.001, 1, 20, 400]))


async def test_the_log_gives_what_is_stored_of_calls_that_were_shared(tmp_path: Path) -> None:
    types, outran = set[str](), 0
    for seed in range(8):
        async with world(tmp_path / f"{seed}.db", seed) as it:
            await live(it)
            mismatches, events, _ = await gather(check(it.store, page=7))
            assert mismatches == [], f"seed {seed}"
            before = derived(it.path)
            assert await gather(rebuild(it.store, it.directory.view, page=3)) == ([], events, 0)
            assert derived(it.path) == before
            for stored in await it.store.orders(Window(1000), OrderFilter(account=ACCOUNT)):
                facts = [each for each in await it.store.order_events(stored[0]) if is_fact(each)]
                it.chance.shuffle(facts)
                folded, _ = orders.fold(ACCOUNT, stored[1].order.id, facts)
                assert folded == stored[1].order, f"seed {seed}: any order of arrival gives the same order"
                in_turn = sorted(facts, key=orders.fold_key)
                outran += orders.placed(in_turn) != in_turn
            types |= {type for (type,) in rows(it.path, "SELECT DISTINCT type FROM events")}
    assert types >= {"order.probed", "probe.abandoned", "cancellation.indeterminate", "cancellation.accepted"}
    assert outran > 5, "some webhooks must have outrun a snapshot, or this says little"
