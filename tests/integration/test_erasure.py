"""Erasure and retention: personal data leaves rows and files; facts, verdicts and the rebuild stay exact."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from commits import full_disk
from integration.test_rebuild import ACCOUNT as PHOTOS
from integration.test_rebuild import World, check, derived, gather, rebuild, rows, world
from msgspec.structs import replace
from providers import until
from servers import ACCOUNT, Rescind, execute_sql, stored_in, unpacked, webhook

from app.core.erasure import EraseOrder
from app.core.event_types import OrderErased
from app.core.log_chain import erasure_digest, leaf_hash
from app.engine.erasure import PreparedErasure
from app.engine.log_verify import verify_erasures
from app.engine.retention import Eraser
from app.store import Expunged, codec
from app.workers.retention import Retention

SECRET = "Mx-Quibble"
"""A person, who must be nowhere after the erasure."""
OLD = timedelta(days=-1)
"""With this period, all that there is has been there for long enough."""
FAR = datetime(2999, 1, 1, tzinfo=UTC)
LEAVES = f"""SELECT erasures.event, position, leaf, seq, account, name, key, type, source, occurred_at, received_at,
    receipt, {codec.EVENT_BODY} FROM erasures JOIN events ON seq = position WHERE number = 1 ORDER BY event, position"""  # noqa: S608 - ours


def house(number: int) -> dict[str, Any]:
    return {"location": {"street": f"{number} {SECRET} Street", "city": "Denver"}}


class Erasing(World):
    """A random history, in which orders are erased now and then."""

    def body(self) -> bytes:
        told = msgspec.json.decode(super().body())
        if self.chance.random() < 0.7:
            told |= {"property": house(self.chance.randrange(3))}
            told |= {"metadata": {"n": self.chance.choice([1, True, SECRET])}}
        return msgspec.json.encode(told)

    async def tag(self) -> None:
        await self.pause()

    async def elapse(self) -> None:
        await super().elapse()
        await self.pause()

    async def pause(self) -> None:
        orders = rows(self.path, "SELECT account, id FROM orders ORDER BY pk")
        if not orders:
            return
        account, order = self.chance.choice(orders)
        eraser, command = Eraser(self.ledger, self.ids), EraseOrder(account, order, self.now)
        if self.chance.random() < 0.5:
            await eraser.erase(command, by="ann", reason="asked for")
        else:
            older = EraseOrder(account, order, self.now, self.now - timedelta(hours=9))
            await eraser.prune([older], Expunged(at=self.now), self.now, "rescind")


async def test_the_log_gives_what_is_stored_after_erasures(tmp_path: Path) -> None:
    erased = digests = 0
    for seed in range(4):
        async with world(tmp_path / f"{seed}.db", seed, make=Erasing) as it:
            await it.live()
            mismatches, events, _ = await gather(check(it.store, page=5))
            assert mismatches == [], f"seed {seed}"
            before = derived(it.path)
            assert await gather(rebuild(it.store, it.directory.view, page=3)) == ([], events, 0)
            assert derived(it.path) == before
            digests += await right_digests(it)
            assert [fault async for fault in verify_erasures(it.store)] == []
            erased += rows(it.path, "SELECT count(*) FROM erasures")[0][0]
    assert erased > 40
    assert digests > 10


async def right_digests(it: World) -> int:
    """Each event that records an erasure has the digest of what it changed, as long as nothing changed it again."""
    again = {position for (position,) in rows(it.path, "SELECT position FROM erasures WHERE number > 1")}
    changed: dict[str, list[tuple[int, bytes, bytes]]] = {}
    for event, position, leaf, *columns in rows(it.path, LEAVES):
        changed.setdefault(event, []).append((position, leaf, leaf_hash(*columns)))
    checked = 0
    for id, leaves in changed.items():
        event = await it.store.event(id)
        assert event is not None
        if again.isdisjoint(position for position, *_ in leaves):
            assert event.data["digest"] == erasure_digest(leaves).hex()
            checked += 1
    return checked


async def test_an_erased_log_folds_to_the_same_verdicts_and_times(tmp_path: Path) -> None:
    """Two runs of one history, one of them erased at its end, differ in personal values only."""

    async def orders(it: World) -> list[Any]:
        return [
            aggregate
            for (id,) in rows(it.path, "SELECT id FROM orders ORDER BY pk")
            if (found := await it.store.order(PHOTOS, id)) and (aggregate := found[1])
        ]

    class Plain(Erasing):
        async def pause(self) -> None: ...

    async with world(tmp_path / "a.db", 11, make=Plain) as it:
        await it.live()
        before = await orders(it)
        for aggregate in before:
            command = EraseOrder(PHOTOS, aggregate.order.id, it.now)
            await Eraser(it.ledger, it.ids).erase(command, by="ann", reason="asked for")
        after, changed = await orders(it), 0
        for old, new in zip(before, after, strict=True):
            if old.live:
                assert new == old
                continue
            changed += old.order.attributes != new.order.attributes
            assert list(new.order.attributes) == list(old.order.attributes)
            same = msgspec.structs.replace(new.order, attributes=old.order.attributes)
            assert same == old.order
            view = it.directory.view(PHOTOS)
            assert view.judge(new.order, it.now) == view.judge(old.order, it.now)
            assert SECRET not in str(new)
        assert changed > 5


async def hook(rescind: Rescind, order: str, **more: Any) -> str:
    body = webhook("order.processed", order, property=house(7), client={"name": SECRET}, **more)
    reply = await rescind.hook(body)
    assert reply.status == 200
    return str(reply.json["receipt"])


async def test_personal_data_is_in_no_file_after_an_erasure(rescind: Rescind, tmp_path: Path) -> None:
    body = webhook("order.processed", "4711", property=house(7), client={"name": SECRET})
    first = (await rescind.hook(body)).json["receipt"]
    # Other webhooks are packed by what the first one looks like.
    for number in range(30):
        other = webhook("order.processed", f"o-{number}", client={"name": "somebody else"})
        assert (await rescind.hook(other)).status == 200
    again = (await rescind.hook(body)).json
    assert again["status"] == "duplicate"
    assert (await rescind.ask("POST", "/v1/pause", {"account": ACCOUNT})).status == 200
    cancel = {"reason": "client_requested_cancelation", "note": f"{SECRET} rang"}
    reply = await rescind.ask("POST", f"/v1/accounts/{ACCOUNT}/orders/4711/cancellations", cancel)
    assert reply.status == 202
    path = f"/v1/accounts/{ACCOUNT}/orders/4711/erase"
    assert (await rescind.ask("POST", path, {})).problem(409, "cancellation-exists")
    assert (await rescind.ask("POST", f"/v1/cancellations/{reply.json['id']}/revoke", {})).status == 200
    assert SECRET.encode() in stored_in(tmp_path)

    counted = await rescind.ask("POST", path, {"dry_run": True})
    assert (counted.json["events"], counted.json["receipts"]) == (3, 2)
    assert SECRET.encode() in stored_in(tmp_path)
    done = await rescind.ask("POST", path, {"reason": "request 17"})
    assert {**done.json, "dry_run": True, "digest": None} == {**counted.json, "digest": None}
    assert SECRET.encode() not in stored_in(tmp_path)
    assert len(list(unpacked(tmp_path))) == 30

    shown = await rescind.get(f"/v1/receipts/{first}")
    assert (shown["status"], shown["size"]) == ("accepted", len(msgspec.json.encode(body)))
    assert shown["expunged_at"] is not None
    assert "body" not in shown
    for receipt in (first, again["receipt"]):
        (await rescind.ask("POST", f"/v1/receipts/{receipt}/reprocess")).problem(410, "content-expunged")
    many = await rescind.ask("POST", "/v1/receipts/reprocess", {"receipts": [first]})
    assert [(row["status"], "expunged" in row["reason"]) for row in many.json["data"]] == [("accepted", True)]
    # A late repetition brings nothing back; what is new counts.
    late = (await rescind.hook(body)).json
    assert late["status"] == "duplicate"
    assert SECRET.encode() not in stored_in(tmp_path)
    assert (await rescind.get(f"/v1/receipts/{late['receipt']}"))["size"] == shown["size"]
    assert await rescind.tell("order.delivered", "4711")
    timeline = (await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/4711/timeline"))["data"]
    kinds = [entry["event"]["type"] for entry in timeline if entry["kind"] == "event"]
    assert "order.erased" in kinds
    mismatches, _, _ = await gather(check(rescind.node.store))
    assert mismatches == []


async def test_old_data_is_pruned_in_pieces_and_young_data_stays(rescind: Rescind, tmp_path: Path) -> None:
    node, store = rescind.node, rescind.node.store
    old = [await hook(rescind, f"o-{number}") for number in range(40)]
    for number in range(0, 40, 2):
        await rescind.tell("order.delivered", f"o-{number}")
    retention = Retention(store, node.ledger, node.ids, period=None)
    await retention.start(timedelta(days=1), by="ann").wait()
    assert retention.latest is not None
    assert (retention.latest.receipts, retention.latest.orders, retention.latest.error) == (0, 0, "")
    await retention.start(OLD, by="ann", dry_run=True).wait()
    assert (retention.latest.receipts, retention.latest.orders) == (60, 20)
    assert SECRET.encode() in stored_in(tmp_path)
    await retention.start(OLD, by="ann").wait()
    assert (retention.latest.receipts, retention.latest.orders, retention.latest.error) == (60, 20, "")
    assert list(unpacked(tmp_path)) == []
    # What is still open keeps what policies may need.
    for number in range(40):
        order = await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/o-{number}")
        assert (SECRET in str(order)) == bool(number % 2), number
    assert (await rescind.get(f"/v1/receipts/{old[0]}"))["expunged_at"] is not None
    young = await hook(rescind, "o-1", metadata={"a": 1})
    await rescind.tell("order.delivered", "o-1")
    await retention.start(OLD, by="ann").wait()
    assert (retention.latest.receipts, retention.latest.orders) == (2, 1)
    assert (await rescind.get(f"/v1/receipts/{young}"))["expunged_at"] is not None
    recorded = [event["data"] for event in await rescind.pages("/v1/events?type=retention.pruned", 100)]
    assert sum(each["receipts"] for each in recorded) == 62
    assert sum(each["orders"] for each in recorded) == 21
    # All was looked at, and is not looked at again.
    last = execute_sql(tmp_path, "SELECT max(seq) FROM events WHERE order_pk > 0")[0][0]
    assert (await store.retention_positions())["events"] >= last
    # It is the transaction that decides: the order may have been opened again since it was found.
    now = datetime.now(UTC)
    reopened = EraseOrder(ACCOUNT, "o-3", now, now + timedelta(days=1))
    assert (await Eraser(node.ledger, node.ids).prune([reopened], Expunged(at=now), now, "ann")).orders == 0
    assert SECRET in str(await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/o-3"))
    mismatches, _, _ = await gather(check(store))
    assert mismatches == []


async def test_what_waits_for_a_person_is_not_pruned(rescind: Rescind) -> None:
    """A quarantined webhook is to be reprocessed after a fix, however long that takes."""
    receipt = (await rescind.hook({"event": "order.teleported", "order_id": "o-1"})).json["receipt"]
    await rescind.tell("order.processed", "o-1")
    retention = Retention(rescind.node.store, rescind.node.ledger, rescind.node.ids, period=None)
    await retention.start(OLD, by="ann").wait()
    assert retention.latest is not None
    assert retention.latest.receipts == 1
    assert "expunged_at" not in await rescind.get(f"/v1/receipts/{receipt}")
    assert (await rescind.ask("POST", f"/v1/receipts/{receipt}/reprocess")).status == 200


async def done(retention: Retention) -> bool:
    latest = retention.latest
    return not retention.is_running or (latest is not None and latest.receipts + latest.orders > 0)


def once(prune: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """It, and whoever comes again waits until it is canceled."""
    turns = iter([prune])

    async def held(*args: Any) -> Any:
        turn = next(turns, None)
        return await (asyncio.Event().wait() if turn is None else turn(*args))

    return held


async def test_pruning_goes_on_where_it_was_interrupted(rescind: Rescind, monkeypatch: pytest.MonkeyPatch) -> None:
    node = rescind.node
    for number in range(20):
        await hook(rescind, f"o-{number}")
        await rescind.tell("order.delivered", f"o-{number}")
    runs = 0
    for _ in range(100):
        retention = Retention(node.store, node.ledger, node.ids, period=None)
        if not runs:
            monkeypatch.setattr(retention._eraser, "prune", once(retention._eraser.prune))
        retention.start(OLD, by="ann")
        await until(partial(done, retention), "something to be expunged")
        await retention.stop()
        # As where a process ends: what a run gave to the ledger is recorded before the next one begins.
        await until(lambda: asyncio.sleep(0, not node.ledger.unfinished), "the ledger to have recorded all")
        assert retention.latest is not None
        if not retention.latest.receipts + retention.latest.orders:
            break
        runs += 1
    # By the log: nobody else counts a commit that was under way when its run was stopped.
    recorded = [event["data"] for event in await rescind.pages("/v1/events?type=retention.pruned", 100)]
    assert (sum(each["receipts"] for each in recorded), sum(each["orders"] for each in recorded)) == (40, 20)
    assert runs > 1


async def test_pruning_by_the_api(rescind: Rescind) -> None:
    before = datetime.now(UTC).isoformat()
    await hook(rescind, "o-1")
    assert (await rescind.get("/v1/prune"))["latest"] is None
    both = await rescind.ask("POST", "/v1/prune", {"older_than_days": 0, "older_than": before})
    both.problem(422, "invalid-request")
    future = (datetime.now(UTC) + timedelta(days=365)).isoformat()
    (await rescind.ask("POST", "/v1/prune", {"older_than": future})).problem(422, "invalid-request")
    assert (await rescind.get("/v1/prune"))["latest"] is None
    # What came after an export is not expunged with what was exported.
    assert (await rescind.ask("POST", "/v1/prune", {"older_than": before})).status == 200
    await rescind.node.retention.wait()
    assert (await rescind.get("/v1/prune"))["latest"]["receipts"] == 0
    started = await rescind.ask("POST", "/v1/prune", {"older_than_days": 0})
    assert started.status == 200
    await rescind.node.retention.wait()
    latest = (await rescind.get("/v1/prune"))["latest"]
    assert (latest["running"], latest["receipts"], latest["error"]) == (False, 1, "")


@pytest.mark.sqlite_only("its file is full")
async def test_on_a_full_disk_nothing_is_half_done_and_it_goes_on_when_there_is_space(
    rescind: Rescind, tmp_path: Path
) -> None:
    for number in range(60):
        await hook(rescind, f"o-{number}", metadata={"n": SECRET * 20})
        await rescind.tell("order.delivered", f"o-{number}")
    store, retention = rescind.node.store, rescind.node.retention
    async with full_disk(store):
        await retention.start(OLD, by="ann").wait()
        assert retention.latest is not None
        assert "full" in retention.latest.error
        assert retention.latest.orders < 60
        mismatches, _, _ = await gather(check(store))
        assert mismatches == []
    await retention.start(OLD, by="ann").wait()
    assert (retention.latest.error, retention.latest.finished_at is not None) == ("", True)
    assert SECRET.encode() not in stored_in(tmp_path)
    mismatches, _, _ = await gather(check(store))
    assert mismatches == []
    assert [fault async for fault in verify_erasures(store)] == []


async def test_an_erasure_that_an_event_overtook_is_prepared_again(
    rescind: Rescind, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is worked out before the commit holds for the log as it was; each way of changing it is noticed."""
    node = rescind.node
    eraser, prepare = Eraser(node.ledger, node.ids), node.ledger.prepare_erasure
    overtaken, is_nested = 0, False

    async def overtake(times: int, command: EraseOrder, by: str) -> PreparedErasure:
        nonlocal overtaken, is_nested
        prepared: PreparedErasure = await prepare(command, by)
        if overtaken < times and not is_nested:
            overtaken += 1
            if overtaken % 2:
                await hook(rescind, command.order, metadata={"name": f"{overtaken} {SECRET}"})
            else:
                is_nested = True
                await eraser.prune([replace(command, older_than=FAR)], Expunged(at=FAR), FAR, "ann")
                is_nested = False
        return prepared

    for times in (1, 2, 3, 100):
        order, overtaken = f"o-{times}", 0
        await hook(rescind, order, metadata={"name": SECRET})
        await rescind.tell("order.canceled", order)
        monkeypatch.setattr(node.ledger, "prepare_erasure", partial(overtake, times))
        recorded = await eraser.erase(EraseOrder(ACCOUNT, order, datetime.now(UTC)), by="ann", reason="asked for")
        monkeypatch.undo()
        assert isinstance(recorded, OrderErased)
        assert overtaken >= min(times, 3)
        assert SECRET not in str(await rescind.get(f"/v1/accounts/{ACCOUNT}/orders/{order}"))
    for event in await rescind.pages("/v1/events", 500):
        assert SECRET not in str(await rescind.get(f"/v1/events/{event['id']}"))
    mismatches, _, _ = await gather(check(node.store))
    assert mismatches == []
    assert [fault async for fault in verify_erasures(node.store)] == []
