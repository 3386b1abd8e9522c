"""A backup is verified without a change: what is wrong with it is found by the check that it belongs to."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from servers import Rescind

from app.engine.backup import BackupError, back_up, restore
from app.engine.verify import Verification, verify
from app.store import codec
from app.store.sqlite import open_sqlite
from app.store.sqlite.functions import add_functions

ORDERS = 3
OTHER_KEY = "another-key-of-32-characters-or-more"


def quietly(*_progress: object) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
async def backup(rescind: Rescind, tmp_path: Path) -> Path:
    """A backup of a server with a sealed log of three orders."""
    for n in range(ORDERS):
        await rescind.tell("order.processed", f"o-{n}")
    await rescind.node.log_sealer.seal()
    (tmp_path / "backups").mkdir()
    file = tmp_path / "backups" / "copy.db"
    database = rescind.node.settings.database_path
    await asyncio.to_thread(back_up, database, file, secret_key="", force=False, tell=quietly)
    return file


async def verified(file: Path, *, quick: bool = False) -> Verification:
    key_file = Path(f"{file}.key")
    return await asyncio.to_thread(verify, file, key_file, secret_key="", quick=quick, tell=quietly)


def spoiled(backup: Path, sql: str) -> Path:
    """A copy of the backup in which somebody changed something."""
    file = backup.with_name("spoiled.db")
    shutil.copy(backup, file)
    shutil.copy(f"{backup}.key", f"{file}.key")
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        add_functions(db)
        db.execute(sql)
    return file


def put_key(file: Path, content: bytes | None) -> None:
    """Replace the key beside a backup; None takes it away."""
    key_file = Path(f"{file}.key")
    key_file.unlink()
    if content is not None:
        key_file.write_bytes(content)


def damaged(backup: Path, content: bytes) -> Path:
    """What became of a backup: its first pages, or something else."""
    file = backup.with_name("damaged.db")
    file.write_bytes(content or backup.read_bytes()[:30_000])
    return file


def states(verification: Verification) -> dict[str, str]:
    return {check.check: check.state for check in verification.checks}


async def fault(file: Path, *, quick: bool = False) -> tuple[str, str]:
    """The one check that finds a fault, and the fault."""
    found = await verified(file, quick=quick)
    assert not found.is_sound
    (check,) = (name for name, state in states(found).items() if state == "fault")
    return check, found.faults[0]


async def test_each_fault_is_found_by_its_check(backup: Path) -> None:
    before = {path.name: path.read_bytes() for path in backup.parent.iterdir()}
    sound = await verified(backup)
    assert sound.is_sound
    assert states(sound) == dict.fromkeys(("file", "schema", "key", "log", "orders"), "ok")
    assert sound.counts == {"orders": ORDERS, "events": ORDERS, "receipts": ORDERS, "cancellations": 0}
    assert {path.name: path.read_bytes() for path in backup.parent.iterdir()} == before

    order = spoiled(backup, "UPDATE orders SET phase = 'canceled' WHERE id = 'o-1'")
    assert await fault(order) == ("orders", "order acme o-1: order different")
    assert states(await verified(order, quick=True))["orders"] == "not checked"
    changed = spoiled(backup, f"UPDATE events SET body = {codec.EVENT_BODY} || ' ' WHERE seq = 2")  # noqa: S608 - ours
    assert "was changed" in (await fault(changed))[1]
    assert (await fault(spoiled(backup, "DELETE FROM events WHERE seq = 3"), quick=True))[0] == "log"
    assert (await fault(spoiled(backup, "PRAGMA user_version = 999")))[0] == "schema"
    assert "has no schema" in (await fault(spoiled(backup, "PRAGMA user_version = 0")))[1]
    older = states(await verified(spoiled(backup, "PRAGMA user_version = 27")))
    assert (older["schema"], older["key"], older["orders"]) == ("ok", "not checked", "not checked")
    assert (await fault(spoiled(backup, "DROP TABLE receipts")))[0] == "content"


async def test_a_key_that_is_missing_or_wrong_is_a_fault(backup: Path) -> None:
    file = spoiled(backup, "SELECT 1")
    for content in (OTHER_KEY.encode(), b"\xff\xfe"):
        put_key(file, content)
        assert (await fault(file))[0] == "key"
    put_key(file, None)
    found = await verified(file)
    assert (states(found)["key"], states(found)["log"]) == ("fault", "not checked")
    assert "put" in found.faults[0]
    with pytest.raises(BackupError, match="The key that opens its secrets is not there"):
        await asyncio.to_thread(restore, file, file.with_name("elsewhere.db"), secret_key="", force=False, tell=quietly)


async def test_a_file_that_is_damaged_is_asked_nothing_more(backup: Path) -> None:
    assert states(await verified(damaged(backup, b""))) == {"file": "fault"}
    assert "cannot be opened" in (await fault(damaged(backup, b"no database, but as long as one" * 200)))[1]


async def test_a_new_database_has_nothing_to_open_or_to_prove(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    await (await open_sqlite(file)).close()
    found = await verified(file, quick=True)
    assert found.is_sound
    assert (states(found)["key"], states(found)["log"]) == ("ok", "not checked")


async def test_where_no_backup_can_be_taken_or_restored_it_says_why(backup: Path) -> None:
    gone = backup.with_name("gone.db")
    for call, message in (
        (lambda: back_up(gone, backup.with_name("b.db"), secret_key="", force=False, tell=quietly), "no database at"),
        (lambda: restore(gone, backup.with_name("r.db"), secret_key="", force=False, tell=quietly), "no backup at"),
        (lambda: restore(backup, backup, secret_key="", force=True, tell=quietly), "is the database itself"),
    ):
        with pytest.raises(BackupError, match=message):
            await asyncio.to_thread(call)
