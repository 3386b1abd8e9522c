"""The log is a hash chain: whatever is changed in it is found, and said."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from contract.store_cases import A, at, commit, event, place
from providers import until
from structlog.testing import capture_logs

from app.contract import Source
from app.core.checkpoint import Checkpoint, CheckpointKey, checkpoint_of
from app.core.event import internal_event
from app.core.log_chain import BLOCK_MAX, Block, block_root, erasure_digest, leaf_hash, tree_root
from app.engine.backup import back_up, restore
from app.engine.log_verify import Fault, verify, verify_checkpoint, verify_end, verify_erasures, verify_root
from app.store import Store, codec
from app.store.sqlite import open_sqlite
from app.store.sqlite.functions import add_functions
from app.workers import log_sealer
from app.workers.log_sealer import LogSealer

KEY, OTHER_KEY = CheckpointKey(bytes(32)), CheckpointKey(bytes([1] * 32))
SECRET_KEY = "sealed-with-this-key-0123456789-abcdef"
EVENTS = 12
"""In blocks of three: 1-3, 4-6, 7-9, 10-12."""

Tamper = Callable[[sqlite3.Connection], object]


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    store = await open_sqlite(path)
    try:
        yield store
    finally:
        await store.close()


async def make_log(path: Path, events: int = EVENTS, key: CheckpointKey = KEY) -> None:
    async with opened(path) as store:
        sealer = LogSealer(store, key, clock=lambda: 99)
        for n in range(1, events + 1):
            await place(store, n, f"o-{n}", event(f"o-{n}", n, data={"note": "x"}))
            if n % 3 == 0:
                await sealer.seal()


async def faults_of(path: Path, kept: Checkpoint | None = None) -> list[Fault]:
    async with opened(path) as store:
        _, last = await store.block_numbers()
        faults = [fault async for step in verify(store, KEY.public, 1, last) for fault in step.faults]
        faults += [fault async for fault in verify_erasures(store)]
        faults += await verify_end(store)
        return faults + (await verify_checkpoint(store, kept, KEY.public) if kept else [])


async def existing(block: Awaitable[Block | None]) -> Block:
    stored = await block
    assert stored is not None
    return stored


BODY = codec.EVENT_BODY


def sql(*statements: str) -> Tamper:
    return lambda db: [db.execute(statement) for statement in statements]


def swap(db: sqlite3.Connection) -> None:
    """Two events exchange their places in the log."""
    for old, new in ((4, 99), (6, 4), (99, 6)):
        db.execute("UPDATE events SET seq = ? WHERE seq = ?", (new, old))


def forge(db: sqlite3.Connection, key: CheckpointKey = OTHER_KEY) -> None:
    """An event is changed, and its block made anew, by somebody without the key."""
    db.execute("UPDATE events SET body = '{}' WHERE seq = 5")
    rows = db.execute(f"SELECT seq, {codec.EVENT_COLUMNS} FROM events WHERE seq BETWEEN 4 AND 6 ORDER BY seq")  # noqa: S608
    leaves = [leaf_hash(*row) for row in rows]
    (previous,) = db.execute("SELECT root FROM log_blocks WHERE number = 1").fetchone()
    times = db.execute("SELECT received_from, received_until FROM log_blocks WHERE number = 2").fetchone()
    root = block_root(previous, 2, 4, 6, times, tree_root(leaves))
    signature = key.sign(Block(2, 4, 6, *times, b"", root, 99))
    marks = b"".join(leaf[:4] for leaf in leaves)
    sql = "UPDATE log_blocks SET root = ?, signature = ?, marks = ? WHERE number = 2"
    db.execute(sql, (root, signature, marks))


TAMPERED: dict[str, tuple[Tamper, list[str]]] = {
    "nothing": (lambda _: None, []),
    "body": (sql("UPDATE events SET body = '{}' WHERE seq = 5"), ["changed 5"]),
    "one character": (
        sql(f"UPDATE events SET body = replace({BODY}, 'x', 'y') WHERE seq = 12"),  # noqa: S608 - ours
        ["changed 12"],
    ),
    "time": (sql("UPDATE events SET occurred_at = occurred_at + 1 WHERE seq = 1"), ["changed 1"]),
    "receipt": (sql("UPDATE events SET receipt = 5 WHERE seq = 1"), ["changed 1"]),
    "account": (sql("UPDATE events SET account = 'other' WHERE seq = 2"), ["changed 2"]),
    "merged order": (sql("UPDATE events SET order_pk = 1 WHERE seq = 5"), []),
    "delete": (sql("DELETE FROM events WHERE seq = 5"), ["removed 5"]),
    "delete a whole block": (sql("DELETE FROM events WHERE seq BETWEEN 4 AND 6"), [f"removed {n}" for n in (4, 5, 6)]),
    "insert before all": (
        sql(
            """INSERT INTO events SELECT 0, 99, key, account, 'o-0', type, source, 1, 1, NULL, body, policy, dictionary
               FROM events WHERE seq = 1"""
        ),
        ["inserted 0"],
    ),
    "replace by a copy": (
        sql("DELETE FROM events WHERE seq = 5", "UPDATE events SET seq = 5 WHERE seq = 8"),
        ["changed 5", "removed 8"],
    ),
    "swap": (swap, ["moved 4", "moved 6"]),
    "truncate": (sql("DELETE FROM events WHERE seq > 10"), ["removed 11", "removed 12", "truncated 10"]),
    "truncate with its blocks": (
        sql("DELETE FROM events WHERE seq > 9", "DELETE FROM log_blocks WHERE number > 3"),
        ["truncated 9"],
    ),
    "truncate blocks only": (sql("DELETE FROM log_blocks WHERE number > 3"), []),
    "drop a block": (sql("DELETE FROM log_blocks WHERE number = 2"), ["block None"]),
    "drop blocks and an event": (
        sql("DELETE FROM log_blocks WHERE number IN (1, 2)", "UPDATE events SET body = '{}' WHERE seq = 8"),
        ["block None", "changed 8"],
    ),
    "a root": (
        sql("UPDATE log_blocks SET root = zeroblob(32) WHERE number = 3"),
        ["forged None", "block None", "block None"],
    ),
    "bounds": (sql("UPDATE log_blocks SET received_from = 7 WHERE number = 3"), ["block None"]),
    "a wider block": (
        sql("UPDATE log_blocks SET last_position = 900000000000 WHERE number = 4"),
        ["forged None", "block None", "truncated 12"],
    ),
    "sealed at": (sql("UPDATE log_blocks SET sealed_at = 1 WHERE number = 3"), ["forged None"]),
    "signature": (sql("UPDATE log_blocks SET signature = x'00' WHERE number = 3"), ["forged None"]),
    "forged block": (forge, ["forged None", "block None"]),
    "an erasure that is not recorded": (
        sql("INSERT INTO erasures SELECT 5, 1, 'evt_1', zeroblob(32)"),
        ["changed 5", "erasure 5"],
    ),
}


async def test_every_change_is_found_and_said_where_it_is(tmp_path: Path) -> None:
    await make_log(tmp_path / "log.db")
    for name, (tamper, expected) in TAMPERED.items():
        path = tmp_path / f"{name}.db"
        shutil.copy(tmp_path / "log.db", path)
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            add_functions(db)
            tamper(db)
        faults = await faults_of(path)
        assert [f"{fault.problem} {fault.position}" for fault in faults] == expected, (name, faults)


async def test_who_has_the_key_is_found_by_a_checkpoint_that_was_kept(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path)
    async with opened(path) as store:
        kept = {number: checkpoint_of(await existing(store.block(number)), KEY.public) for number in (1, 4)}
    assert await faults_of(path, kept[4]) == []
    # Everything is sealed anew, over a log in which an event was changed.
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        add_functions(db)
        db.execute("DELETE FROM log_blocks")
        db.execute("UPDATE events SET body = '{}' WHERE seq = 5")
    async with opened(path) as store:
        await LogSealer(store, KEY).seal()
    assert await faults_of(path) == []
    [fault] = await faults_of(path, kept[1])
    assert "has another root than block 1 of this log" in fault.detail
    [fault] = await faults_of(path, kept[4])
    assert "the chain ends at block 1, but the kept checkpoint of block 4 was sealed at 1970-01-01" in fault.detail
    async with opened(path) as store:
        assert await verify_root(store, (await existing(store.last_block())).root) == []
        [fault] = await verify_root(store, bytes.fromhex(kept[4].root))
        assert "no block has the kept root" in fault.detail


async def test_a_checkpoint_that_was_edited_or_is_of_another_log_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path)
    async with opened(path) as store:
        block = await existing(store.block(4))
    kept = checkpoint_of(block, KEY.public)
    edited = Checkpoint(**{**{name: getattr(kept, name) for name in kept.__struct_fields__}, "block": 3})
    assert "was changed" in (await faults_of(path, edited))[0].detail
    signed = Block(4, 10, 12, 0, 0, b"", block.root, 99, OTHER_KEY.sign(block))
    assert "another key" in (await faults_of(path, checkpoint_of(signed, OTHER_KEY.public)))[0].detail
    misnamed = checkpoint_of(block, OTHER_KEY.public)
    assert "not signed" in (await faults_of(path, misnamed))[0].detail
    assert b64encode(KEY.public).decode() == kept.public_key


async def erase(store: Store, positions: list[int], digest: str | None = None) -> str:
    """Erase the content of events as recorded, as pruning does; returns the id of the event that records it."""
    before = {row.position: row for row in await store.leaf_rows(0, 1000)}
    with closing(sqlite3.connect(store._files._path, isolation_level=None)) as db:  # type: ignore[attr-defined]
        add_functions(db)
        for position in positions:
            db.execute(f"UPDATE events SET body = {BODY} || ' ' WHERE seq = ?", (position,))  # noqa: S608 - ours
        after = {row.position: row.present for row in await store.leaf_rows(0, 1000)}
        changed = [(position, before[position].present, after[position]) for position in positions]
        data = {"digest": digest or erasure_digest(changed).hex()}
        recorded = internal_event(A, "", "data.erased", str(positions), at(500), Source.OPERATOR, data)
        for position in positions:
            sql = "INSERT INTO erasures SELECT ?, count(*) + 1, ?, ? FROM erasures WHERE position = ?"
            db.execute(sql, (position, recorded.id, before[position].present, position))
    await commit(store, events=[(0, recorded)])
    return recorded.id


async def test_what_was_erased_as_recorded_is_in_order_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    await make_log(path, events=11)
    async with opened(path) as store:
        await erase(store, [2, 5, 6, 11])  # one of them is not sealed yet
        await LogSealer(store, KEY).seal()
        second = await erase(store, [5])
    assert await faults_of(path) == []
    for name, tamper, expected in (
        ("event", sql("UPDATE events SET body = '{}' WHERE seq = 6"), ["erasure 2"]),
        ("event erased twice", sql("UPDATE events SET body = '{}' WHERE seq = 5"), ["erasure 5"]),
        ("leaf", sql("UPDATE erasures SET leaf = zeroblob(32) WHERE position = 6"), ["changed 6", "erasure 2"]),
        ("row", sql("DELETE FROM erasures WHERE position = 6"), ["changed 6", "erasure 2"]),
        ("all rows", sql("DELETE FROM erasures"), ["changed 2", "changed 5", "changed 6", "changed 11"]),
        ("recorded event", sql("DELETE FROM events WHERE seq = 12"), ["removed 12", "erasure 2"]),
        (
            "one more",
            sql(
                f"INSERT INTO erasures SELECT 8, 1, '{second}', leaf FROM erasures WHERE position = 2",  # noqa: S608
                "UPDATE events SET body = '{}' WHERE seq = 8",
            ),
            ["changed 8", "erasure 5"],
        ),
    ):
        copy = tmp_path / f"{name}.db"
        shutil.copy(path, copy)
        with closing(sqlite3.connect(copy, isolation_level=None)) as db:
            add_functions(db)
            tamper(db)
        assert [f"{fault.problem} {fault.position}" for fault in await faults_of(copy)] == expected, name


async def test_a_log_of_an_earlier_release_is_sealed_from_its_start(tmp_path: Path) -> None:
    async with opened(tmp_path / "log.db") as store:
        events = [event("o-1", n) for n in range(BLOCK_MAX * 10 + 5)]
        await place(store, 1, "o-1", *events)
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as db:
            add_functions(db)
            db.execute("DELETE FROM events WHERE seq = 7")  # before it was sealed: a gap that stays one
        sealer = LogSealer(store, KEY)
        await sealer.seal(blocks_max=2)
        assert [(block.first, block.last) for block in await store.blocks_between(1, 9, 9)] == [(1, 6), (8, 1007)]
        await sealer.seal()
        assert (await existing(store.last_block())).last == len(events)
    assert await faults_of(tmp_path / "log.db") == []
    with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as db:
        add_functions(db)
        db.execute("UPDATE events SET seq = 7 WHERE seq = 500")
    faults = await faults_of(tmp_path / "log.db")
    assert [f"{fault.problem} {fault.position}" for fault in faults] == ["inserted 7", "removed 500"]


async def test_the_sealer_seals_while_events_come_and_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_sealer, "SEAL_S", 0.001)
    async with opened(tmp_path / "log.db") as store:
        running = asyncio.create_task(LogSealer(store, KEY).run())

        async def is_sealed() -> bool:
            block = await store.last_block()
            return block is not None and block.last == n

        for n in range(1, 40):
            await place(store, n, f"o-{n}", event(f"o-{n}", n))
            if n % 10 == 0:
                await until(is_sealed, f"{n} events sealed")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        last = await existing(store.last_block())
        assert last.last == 39
        assert last.number > 3
    assert await faults_of(tmp_path / "log.db") == []


async def test_nothing_is_sealed_over_a_log_that_was_cut_off(tmp_path: Path) -> None:
    await make_log(tmp_path / "log.db")
    async with opened(tmp_path / "log.db") as store:
        with closing(sqlite3.connect(tmp_path / "log.db", isolation_level=None)) as db:
            add_functions(db)
            db.execute("DELETE FROM events WHERE seq > 10")
        with capture_logs() as logged:
            await LogSealer(store, KEY).seal()
        assert [line["event"] for line in logged] == ["log_shorter_than_its_chain"]
        assert (await store.block_numbers())[1] == 4


async def test_a_restored_log_is_sealed_on_from_where_the_backup_ends(tmp_path: Path) -> None:
    """What follows in the restored log is sealed anew; a checkpoint of what the restore lost says that it is gone."""
    live, safe, restored = (tmp_path / name / "rescind.db" for name in ("live", "safe", "restored"))
    safe.parent.mkdir()
    await make_log(live, 6)
    await asyncio.to_thread(back_up, live, safe, secret_key=SECRET_KEY, force=False, tell=lambda *_: None)
    async with opened(live) as store:
        kept = checkpoint_of(await existing(store.last_block()), KEY.public)
        await place(store, 7, "o-7", event("o-7", 7))
        await LogSealer(store, KEY).seal()
        lost = checkpoint_of(await existing(store.last_block()), KEY.public)
    await asyncio.to_thread(restore, safe, restored, secret_key=SECRET_KEY, force=False, tell=lambda *_: None)
    async with opened(restored) as store:
        await place(store, 8, "o-8", event("o-8", 8, data={"note": "another"}))
        await LogSealer(store, KEY).seal()
        assert (await existing(store.last_block())).number == 3
    assert await faults_of(restored, kept) == []
    assert await faults_of(restored, lost) != []
