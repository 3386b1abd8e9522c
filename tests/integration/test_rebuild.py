"""The log tells everything (guarantee I8): random histories through the real door, rebuilt and compared.

The history is made by the ledger on a SQLite file: webhooks of PlanOmatic's, late, repeated and under
several names; cancel requests, claims, results, probes, deadlines and restarts. Its clock is the test's.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from event_schemas import fault

from app.config.secrets import Vault
from app.config.store import ConfigStore
from app.contract import Appointment, CancelOutcome, CancelResult, Facts, InboundRequest, Phase
from app.core.aggregate import JobKind
from app.core.attempt import Attempt
from app.core.cancellation import FINAL, Cancellation
from app.core.commands import Approve, ChangeTags, ClaimJob, Command, FireTimer, RequestCancel, Resolve, Revoke
from app.core.pauses import Pause
from app.core.results import Interrupted, RecordProbe, RecordResult
from app.engine.ledger import Ledger
from app.engine.rebuild import DIFFERENT, MISSING, SURPLUS, Mismatch, Progress, check, rebuild
from app.runtime import ids
from app.runtime.ids import Ids
from app.runtime.redaction import Redactor
from app.store import Window, codec
from app.store.filters import CancellationFilter
from app.store.sqlite import SqliteStore, open_sqlite
from app.store.sqlite.functions import add_functions
from app.web.parsing import parse_webhook

T0 = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
ACCOUNT = "acme-photos"
BODY_MAX = 1_048_576
STEPS = 400
ORDERS = 40
STATUSES = {
    "order.processed": "ordered",
    "appointment.awaiting_availability": "scheduling",
    "appointment.scheduled": "scheduled",
    "appointment.awaiting_reschedule": "hold",
    "appointment.unable_to_complete": "hold",
    "order.post_processing": "assembly",
    "order.delivered": "completed",
    "order.canceled": "canceled",
}
EARLY = [*list(STATUSES)[:2]] * 4 + [*list(STATUSES)[:5]]
"""Most orders stay cancelable for a while, or else nothing would ever be sent."""


WORDS = {"reason": "duplicate_order", "note": "by policy"}
POLICIES = [
    {"id": id, "accounts": [ACCOUNT], "cancel": WORDS, **policy}
    for id, policy in {
        "late": {"when": "!('vip' in order.tags)", "wait": "20h since order.opened_at", "mode": "enforce"},
        "asks": {"when": "order.version > 3 && order.phase == 'open'", "wait": "1h", "mode": "approve"},
        "same": {"when": "size(order.duplicates) > 2 && event.type != 'x'", "mode": "enforce"},
    }.items()
]


class Numbers(Ids):
    """Ids that are the same in every run of the same history."""

    def next(self) -> int:
        self._last += 1
        return self._last


@dataclass
class World:
    """A ledger at work, and all that a random history needs to know of it."""

    store: SqliteStore
    directory: ConfigStore
    ledger: Ledger
    ids: Ids
    path: Path
    chance: random.Random
    now: datetime = T0
    bodies: list[bytes] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    committed: Callable[[], None] = lambda: None
    """Called after every transaction."""

    async def record(self, *commands: Command[Any]) -> list[Any]:
        return await self.ledger.execute_all(commands)

    def order(self) -> int:
        return self.chance.randrange(ORDERS)

    def body(self) -> bytes:
        """A webhook about some order, under one of its names or several."""
        number = self.order()
        event = self.chance.choice(EARLY if self.chance.random() < 0.8 else list(STATUSES))
        late_s = self.chance.choice([0, 0, 0, 1, 60, 4000, 100_000])
        told: dict[str, Any] = {"event": event, "occurred_at": (self.now - timedelta(seconds=late_s)).isoformat()}
        told |= {"external_property_id": f"p-{number % 9}", "services": [{"slug": "photos"}]}
        names = self.chance.choice([("order_id",), ("request_id",), ("order_id", "request_id")])
        told |= {name: f"{name[0]}-{number}" for name in names}
        if self.chance.random() < 0.7:
            told["status"] = STATUSES[event]
        if event == "appointment.scheduled":
            told["appointment"] = {"id": 1, "start_datetime": (self.now + timedelta(days=2)).isoformat()}
        return msgspec.json.encode(told)

    async def webhook(self, body: bytes | None = None) -> None:
        body = body or self.body()
        self.bodies.append(body)
        inbound = InboundRequest({}, {}, body)
        receipt = ids.show(ids.RECEIPT, self.ids.next())
        parsed = parse_webhook(self.directory.accounts[ACCOUNT], inbound, self.now, receipt, BODY_MAX)
        assert parsed.status == "accepted", parsed.reason
        await self.record(*parsed.commands)

    async def repeat(self) -> None:
        await self.webhook(self.chance.choice(self.bodies) if self.bodies else None)

    async def request_cancel(self) -> None:
        number = self.order()
        name = self.chance.choice([f"o-{number}", f"request:r-{number}"])
        id = ids.show(ids.CANCELLATION, self.ids.next())
        deadline: datetime | None = self.now + timedelta(seconds=self.chance.choice([30, 5000, 300_000]))
        if hopeless(name):
            deadline = None  # with one, it would be tried until then
        asked = Cancellation(id, ACCOUNT, name, "duplicate_order", self.now, self.now, "twice", "ann", deadline)
        await self.record(RequestCancel(ACCOUNT, name, self.now, asked, force=self.chance.random() < 0.2))
        self.requested.append(id)

    async def send(self) -> None:
        """Claim what is due, and answer most of it."""
        for pk, job in await self.store.jobs(ACCOUNT, self.now, 3):
            number = self.ids.next()
            name = ids.show(ids.ATTEMPT, number)
            attempt = Attempt(number, pk, ACCOUNT, job.order, job.kind, job.cancellation, self.now)
            claim = ClaimJob(ACCOUNT, job.order, self.now, name, job.kind, job.cancellation, 60.0, record=attempt)
            granted = await self.ledger.execute(claim)
            asked_at = self.now
            self.now += timedelta(seconds=1)
            if granted is None or self.chance.random() < 0.15:
                continue
            if job.kind is JobKind.PROBE:
                await self.record(self.probed(job.order, name, asked_at))
            else:
                outcome = CancelOutcome.RETRY if hopeless(job.order) else self.chance.choice(list(CancelOutcome))
                may_have_applied = self.chance.random() < 0.5
                ambiguous = may_have_applied and not hopeless(job.order)
                result = CancelResult(outcome, "as it says", may_have_applied=may_have_applied, ambiguous=ambiguous)
                await self.record(RecordResult(ACCOUNT, job.order, self.now, name, str(job.cancellation), result))

    def probed(self, order: str, attempt: str, asked_at: datetime) -> RecordProbe:
        if hopeless(order) or self.chance.random() < 0.3:
            return RecordProbe(ACCOUNT, order, self.now, attempt, asked_at, failure="no luck")
        phase = self.chance.choice([Phase.OPEN, Phase.OPEN, Phase.IN_PROGRESS, Phase.UNKNOWN, Phase.CANCELED])
        appointments = (Appointment("1", "scheduled", self.now),) if phase is Phase.IN_PROGRESS else ()
        snapshot = Facts(phase=phase, appointments=appointments, appointments_complete=True)
        return RecordProbe(ACCOUNT, order, self.now, attempt, asked_at, snapshot)

    async def settle(self) -> None:
        """A person revokes a cancellation, or resolves it."""
        known = await self.store.cancellation(self.chance.choice(self.requested)) if self.requested else None
        if known is None:
            return
        revocation: Command[Any] = Revoke(ACCOUNT, known.order, self.now, known.id, "ann")
        resolution = Resolve(ACCOUNT, known.order, self.now, known.id, succeeded=True, by="ann", note="they rang")
        await self.record(self.chance.choice([revocation, resolution]))

    async def tag(self) -> None:
        """A person tags an order, or takes the tag off."""
        order = f"o-{self.order()}"
        if await self.store.order(ACCOUNT, order) is not None:
            add, remove = self.chance.choice([(("vip",), ()), ((), ("vip",))])
            await self.record(ChangeTags(ACCOUNT, order, self.now, add, remove, "ann", str(self.ids.next())))

    async def approve(self) -> None:
        """A person approves what a policy proposes."""
        waiting = await self.store.cancellations(Window(2), CancellationFilter(waiting="approval"))
        await self.record(*(Approve(ACCOUNT, each.order, self.now, each.id, "ann") for _, each in waiting))

    async def elapse(self) -> None:
        for account, order in await self.store.overdue(self.now, 5):
            await self.record(FireTimer(account, order, self.now))

    async def restart(self) -> None:
        for account, order in await self.store.interrupted_calls():
            await self.record(Interrupted(account, order, self.now))

    async def pause(self) -> None:
        await self.ledger.pause(Pause("all", "a break", self.now, "ann"))
        await self.ledger.resume(Pause("all", "go on", self.now, "ann"))

    async def live(self) -> None:
        """Live through a random history. Some steps come together, and share a transaction."""
        inbound = [self.webhook] * 8 + [self.repeat] * 2 + [self.request_cancel] * 4
        others = [self.send] * 8 + [self.settle, self.elapse, self.restart, self.pause, self.tag, self.approve]
        for _ in range(STEPS):
            doing = self.chance.choice(inbound + others)
            together = [doing]
            while doing in inbound and self.chance.random() < 0.4:
                together.append(self.chance.choice(inbound))
            await asyncio.gather(*(each() for each in together))
            self.now += timedelta(seconds=self.chance.choice([0.001, 1, 20, 400, 9000]))


def hopeless(order: str) -> bool:
    """At some orders every call fails, until the attempts are used up."""
    return order.endswith(("3", "7"))


@asynccontextmanager
async def world(
    path: Path, seed: int, *, make: type[World] | None = None, store: Any = None, **resources: Any
) -> AsyncIterator[World]:
    """A world with the random history of `seed`, in a new file or in `store`; `resources` are added to its own."""
    store = store or await open_sqlite(path)
    directory = ConfigStore(store, Vault(["k" * 32]), Redactor())
    accounts = [{"id": ACCOUNT, "provider": "planomatic", "config": {"api_key": "a-key"}}]
    given = {"accounts": accounts, "policies": POLICIES, **resources}
    await directory.apply(given, by="test", now=T0, confirm=True)
    random.seed(seed)  # of which the ledger draws the randomness of retries
    numbers = Numbers()
    ledger = Ledger(
        store,
        directory.view,
        numbers,
        accounts_of=directory.accounts_of,
        router=lambda: directory.router,
        on_commit=lambda _: made.committed(),
    )
    chance = random.Random(seed)  # noqa: S311 - a test, repeatable
    made = (make or World)(store, directory, ledger, numbers, path, chance)
    running = asyncio.create_task(ledger.run())
    try:
        yield made
    finally:
        ledger.close()
        await running
        await store.close()


async def gather(pages: AsyncIterator[Progress]) -> tuple[list[Mismatch], int, int]:
    """(what does not match, events, mended) of all pages."""
    progress = [page async for page in pages]
    mismatches = [mismatch for page in progress for mismatch in page.mismatches]
    return mismatches, sum(page.events for page in progress), sum(page.repaired for page in progress)


def rows(path: Path, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db, db:
        add_functions(db)
        return db.execute(sql, values).fetchall()


def derived(path: Path) -> list[list[tuple[Any, ...]]]:
    """Everything that a rebuild derives, as it is on disk."""
    order = f"""pk, account, id, phase, cancelable, last_event_at, {codec.ORDER_STATE}, next_check_at,
        fingerprint, reason, closes_at, closing_notice, opened_at"""
    columns = {"orders": order, "jobs": "*", "cancellations": "id, order_pk, account, state, body"}
    return [rows(path, f"SELECT {what} FROM {table} ORDER BY 1") for table, what in columns.items()]  # noqa: S608


async def test_the_log_gives_what_is_stored(tmp_path: Path):
    types, states, merged, jobs = set[str](), set[str](), 0, 0
    for seed in range(8):
        async with world(tmp_path / f"{seed}.db", seed) as it:
            await it.live()
            mismatches, events, _ = await gather(check(it.store, page=5))
            assert mismatches == [], f"seed {seed}"
            async for page in it.store.log():
                assert [fault(event) for _, _, event in page if fault(event)] == []
            assert events == rows(it.path, "SELECT count(*) FROM events WHERE order_pk > 0")[0][0]
            before = derived(it.path)
            assert await gather(rebuild(it.store, it.directory.view, page=3)) == ([], events, 0)
            assert derived(it.path) == before
            types |= {type for (type,) in rows(it.path, "SELECT DISTINCT type FROM events")}
            states |= {state for (state,) in rows(it.path, "SELECT DISTINCT state FROM cancellations")}
            merged += len(rows(it.path, "SELECT 1 FROM names GROUP BY order_pk HAVING count(*) > 1"))
            jobs += rows(it.path, "SELECT count(*) FROM jobs")[0][0]
    # All kinds of things must have happened, or the above would say little.
    assert types >= {
        *STATUSES,
        "order.probed",
        "probe.failed",
        "sending.paused",
        "cancellation.sending",
        "tags.changed",
    }
    assert types >= {f"policy.{outcome}" for outcome in ("acted", "proposed", "waiting", "unmatched", "joined")}
    assert states >= FINAL
    assert merged > 20
    assert jobs > 20


async def test_orders_that_turn_out_to_be_one(tmp_path: Path):
    """What each of two orders had under way (a cancellation, a pending probe) is under way for the one they are."""

    def told(event: str, at_s: float, **names: str) -> bytes:
        at = (T0 + timedelta(seconds=at_s)).isoformat()
        return msgspec.json.encode({"event": event, "occurred_at": at, **names})

    for event, joint_at_s in (("order.processed", 60.0), ("appointment.awaiting_reschedule", 5.0)):
        async with world(tmp_path / f"{event}.db", seed=0) as it:
            for number, names in enumerate(({"order_id": "a"}, {"request_id": "b"})):
                it.now = T0 + timedelta(seconds=10 + number)
                await it.webhook(told(event, 10 + number, **names))
            for number, name in enumerate(("request:b", "a")):
                it.now = T0 + timedelta(seconds=20 + number)
                id, deadline = f"can_{number}", it.now + timedelta(days=1)
                asked = Cancellation(id, ACCOUNT, name, "duplicate_order", it.now, it.now, "twice", "ann", deadline)
                await it.record(RequestCancel(ACCOUNT, name, it.now, asked))
            it.now = T0 + timedelta(seconds=60)
            await it.webhook(told("order.processed", joint_at_s, order_id="a", request_id="b"))
            assert len(rows(it.path, "SELECT pk FROM orders")) == 1
            assert (await gather(check(it.store)))[0] == []


async def test_it_finds_and_mends_exactly_what_is_wrong(tmp_path: Path):
    async with world(tmp_path / "rescind.db", seed=3) as it:
        await it.live()
        before = derived(it.path)
        wrong = spoil(it.path)
        found, _, _ = await gather(check(it.store, page=4))
        assert {(each.order_pk, each.what, each.problem) for each in found} == wrong
        assert all(each.account == ACCOUNT and each.order for each in found)
        found_again, _, mended = await gather(rebuild(it.store, it.directory.view, page=4))
        assert (found_again, mended) == (found, len(wrong))
        assert derived(it.path) == before
        assert (await gather(check(it.store)))[0] == []


async def test_what_the_log_does_not_know_is_reported_and_left_alone(tmp_path: Path):
    async with world(tmp_path / "rescind.db", seed=4) as it:
        await it.live()
        rows(
            it.path,
            """INSERT INTO orders (pk, account, id, phase, cancelable, state)
               VALUES (7000000, ?, 'nobody', 'open', 'yes', '{}')""",
            ACCOUNT,
        )
        rows(
            it.path,
            "INSERT INTO cancellations VALUES (NULL, 'can_x', 9000000, ?, 'failed', '{}', NULL, 0, NULL)",
            ACCOUNT,
        )
        expected = {(7_000_000, "order", SURPLUS), (9_000_000, "cancellation can_x", SURPLUS)}
        for pages in (check(it.store, page=2), rebuild(it.store, it.directory.view, page=2)):
            found, _, mended = await gather(pages)
            assert {(each.order_pk, each.what, each.problem) for each in found} == expected
            assert mended == 0


async def test_a_damaged_log_spoils_no_other_order(tmp_path: Path):
    async with world(tmp_path / "rescind.db", seed=5) as it:
        await it.live()
        (pk, seq), *_ = rows(it.path, "SELECT order_pk, min(seq) FROM events WHERE order_pk > 0 GROUP BY order_pk")
        rows(it.path, "UPDATE events SET body = '{\"facts\":' WHERE seq = ?", seq)
        other = rows(it.path, "SELECT max(pk) FROM orders")[0][0]
        rows(it.path, "UPDATE orders SET state = '{}' WHERE pk = ?", other)
        found, _, mended = await gather(rebuild(it.store, it.directory.view))
        assert [(each.order_pk, each.what) for each in found] == [(pk, "log"), (other, "order")]
        assert "DecodeError" in found[0].problem
        assert mended == 1


def spoil(path: Path) -> set[tuple[int, str, str]]:
    """Damage rows of different orders in different ways; returns what must be found."""
    wrong = set()
    pks = [pk for (pk,) in rows(path, "SELECT pk FROM orders ORDER BY pk")]
    state = f"replace({codec.ORDER_STATE}, '\"version\":', '\"version\":1')"
    rows(path, f"UPDATE orders SET state = {state} WHERE pk = ?", pks[0])  # noqa: S608 - ours
    rows(path, "UPDATE orders SET phase = 'completed!' WHERE pk = ?", pks[1])
    rows(path, "DELETE FROM orders WHERE pk = ?", pks[2])
    rows(path, "UPDATE orders SET last_event_at = last_event_at + 1 WHERE pk = ?", pks[3])
    wrong |= {(pk, "order", DIFFERENT) for pk in (pks[0], pks[1], pks[3])} | {(pks[2], "order", MISSING)}
    jobs = [pk for (pk,) in rows(path, "SELECT order_pk FROM jobs ORDER BY order_pk")]
    rows(path, "UPDATE jobs SET due_at = due_at + 1 WHERE order_pk = ?", jobs[0])
    rows(path, "DELETE FROM jobs WHERE order_pk = ?", jobs[1])
    jobless = next(pk for pk in pks if pk not in jobs)
    rows(path, "INSERT INTO jobs VALUES (?, ?, 'x', 'cancel', NULL, 0, NULL, 0, NULL, NULL, 0)", jobless, ACCOUNT)
    wrong |= {(jobs[0], "job", DIFFERENT), (jobs[1], "job", MISSING), (jobless, "job", SURPLUS)}
    sql = "SELECT order_pk, id FROM cancellations GROUP BY order_pk ORDER BY order_pk"
    (first, one), (second, two), (third, three), *_ = rows(path, sql)
    rows(path, "UPDATE cancellations SET state = 'succeeded!' WHERE id = ?", one)
    rows(path, "DELETE FROM cancellations WHERE id = ?", two)
    rows(path, "UPDATE cancellations SET body = '' WHERE id = ?", three)
    wrong |= {(first, f"cancellation {one}", DIFFERENT), (second, f"cancellation {two}", MISSING)}
    return wrong | {(third, f"cancellation {three}", DIFFERENT)}
